"""Survival times that are censored, and normal approximations of the posteriors of their models."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr
from recorded import recorded

from scalecheck.checks.moments import Prior
from scalecheck.diagnostics import Health
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.study_data import StudyData
from scalecheck.model import density
from scalecheck.model.binding import Argument, Model
from scalecheck.results.study_fits import FitResult
from scalecheck.study.plan import PlannedFit, Slice
from scalecheck.study.settings import DataSettings

SETTINGS = DataSettings("data.csv", "time", None, None, None, (), (), "error")
SHAPE = 1.4


def weibull(x, lost, time=None):
    level, slope = (numpyro.sample(name, dist.Normal(0, 2)) for name in ("level", "slope"))
    shape = numpyro.sample("shape", dist.LogNormal(0, 0.5))
    life = dist.Weibull(jnp.exp(level + slope * x), shape)
    with numpyro.plate("patients", x.shape[0]):
        numpyro.sample("T", dist.RightCensoredDistribution(life, lost), obs=time)


def exponential(x, lost, time=None):
    level, slope = (numpyro.sample(name, dist.Normal(0, 2)) for name in ("level", "slope"))
    life = dist.Exponential(jnp.exp(-level - slope * x))
    with numpyro.plate("patients", x.shape[0]):
        numpyro.sample("T", dist.RightCensoredDistribution(life, lost), obs=time)


def assay(x, lost, time=None):
    """Concentrations below a detection limit."""
    level, slope = (numpyro.sample(name, dist.Normal(0, 2)) for name in ("level", "slope"))
    sd = numpyro.sample("sd", dist.HalfNormal(2))
    with numpyro.plate("samples", x.shape[0]):
        concentration = dist.LogNormal(level + slope * x, sd)
        numpyro.sample("T", dist.LeftCensoredDistribution(concentration, lost), obs=time)


class Censored(NamedTuple):
    """Rows in the order of arrival; all `(n,)`."""

    x: np.ndarray
    lost: np.ndarray
    time: np.ndarray

    def values(self):
        return self._asdict()

    def first(self, n):
        return Censored(*(column[:n] for column in self))


def lives(rng, n, shape=SHAPE):
    """A covariate, and survival times of mean scale 2."""
    x = rng.standard_normal(n)
    return x, 2 * np.exp(0.3 * x) * rng.weibull(shape, n)


def ended(x, life, end):
    return Censored(x, (life > end).astype(float), np.minimum(life, end))


def censored_at_random(rng, n, shape=SHAPE):
    """About 30 % are."""
    x, life = lives(rng, n, shape)
    return ended(x, life, rng.exponential(4.5, n))


def censored_by_covariate(rng, n):
    x, life = lives(rng, n)
    return ended(x, life, rng.exponential(4.5, n) * np.exp(-0.8 * x))


def censored_by_entry(rng, n):
    """The study ends for all on one day: who came late was watched for a short time."""
    x, life = lives(rng, n)
    return ended(x, life, np.linspace(6, 0.3, n))


def below_detection(rng, n):
    """Concentrations of which about 30 % are below a limit that differs by sample."""
    x = rng.standard_normal(n)
    concentration = np.exp(0.5 + 0.4 * x + 0.8 * rng.standard_normal(n))
    limit = rng.uniform(0.3, 2.0, n)
    return Censored(x, (concentration < limit).astype(float), np.maximum(concentration, limit))


def likelihood_of(function, *, few=None):
    arguments = {name: Argument((name,), matrix=False) for name in Censored._fields}
    bound = Model(function, "model.py", "time", arguments, {}, n_rows=False)
    labels = dict.fromkeys(Censored._fields)
    few = few or {name: np.ones(2) for name in Censored._fields}
    return Likelihood(bound, labels, None, None, few)


def posterior(likelihood, data, rng, n_draws=1000):
    """Draws `(draw, d)` of the normal approximation at the mode, unconstrained."""
    arrays, vector = likelihood.rows(data.values()).arrays, likelihood.vector

    def build():
        function = likelihood.function({})

        def energy(z, arrays):
            return density.potential(function)(**arrays)(vector.unpack(z))

        return jax.jit(
            lambda z, arrays: (jax.grad(energy)(z, arrays), jax.hessian(energy)(z, arrays))
        )

    newton = likelihood.program(("newton",), build)
    z = np.zeros(len(vector.names))
    for _ in range(30):
        gradient, hessian = map(np.asarray, newton(z, arrays))
        values, vectors = np.linalg.eigh(hessian)
        move = vectors @ ((vectors.T @ gradient) / np.maximum(np.abs(values), 1.0))
        z = z - np.clip(move, -0.5, 0.5)
    assert np.abs(gradient).max() < 1e-3
    return rng.multivariate_normal(z, np.linalg.inv(hessian), n_draws)


def fit_of(name, n, z, **hidden):
    """A fit to the first rows with these draws `(draw, d)`, and those of hidden sites `(1, draw, entry)`."""
    dims = ("chain", "draw", "parameter")
    sites = {site: (("chain", "draw", f"{site}_dim"), draws) for site, draws in hidden.items()}
    groups = {"posterior": sites, "unconstrained_posterior": {"z": (dims, np.asarray(z)[None])}}
    tree = xr.DataTree.from_dict({k: xr.Dataset(group) for k, group in groups.items()})
    task = PlannedFit(name, "increment", "", "", n, 0, (Slice("arrival", 0, n),))
    return FitResult(task, recorded(name), tree, Health(1.0, 1000.0, 1.0, ""))


def step_of(likelihood, data, n_before, rng, seed=1):
    """A study of two increments: its data, and the fits to the first rows and to all."""
    values = data.values()

    def read(slices, names):
        return {n: np.concatenate([values[n][s.start : s.stop] for s in slices]) for n in names}

    n = len(data.time)
    fits = [
        fit_of(f"increment-0{i}", k, posterior(likelihood, data.first(k), rng))
        for i, k in ((1, n_before), (2, n))
    ]
    return StudyData(likelihood, read, Prior(np.zeros(3), np.eye(3)), seed), *fits
