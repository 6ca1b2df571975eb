"""Models with random effects as batches of one fit; their marginal densities in closed form and by quadrature."""

import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy.special import gammaln, logsumexp
from scipy.stats import halfnorm, multivariate_normal, norm

from scalecheck.laplace.marginal_density import MarginalDensity
from scalecheck.laplace.unit_integrals import integrate_units
from scalecheck.laplace.unit_modes import find_modes
from scalecheck.model.batches import make_batches
from scalecheck.model.binding import Argument, Model
from scalecheck.study.plan import PlannedFit, Slice

# Points of standard normals at which quadrature sums; of what all rows of a unit of 50 say, a step is a tenth of an sd.
GRID = np.linspace(-9.0, 9.0, 1201)


def batch_of(function, values, *, unit="unit", compare=None, precision="float32", n_fits=1):
    """All rows of a table as a batch of one fit; integers are codes. Fit number i of several leaves i units out."""
    named = list(inspect.signature(function).parameters)
    counts = {name: name[2:] for name in named if name.startswith("n_") and name != "n_rows"}
    arguments = {
        name: Argument((name,), matrix=False)
        for name in named
        if name not in counts and name != "n_rows"
    }
    bound = Model(function, "model.py", "y", arguments, counts, "n_rows" in named)
    labels = {
        name: [f"{name}-{code}" for code in range(v.max() + 1)] if v.dtype.kind == "i" else None
        for name, v in values.items()
    }
    fits = [{n: v[values["unit"] >= i] for n, v in values.items()} for i in range(n_fits)]
    tasks = [
        PlannedFit(
            f"fit-{i}", "all", "", "", len(one["y"]), 0, (Slice("random", 0, len(one["y"])),)
        )
        for i, one in enumerate(fits)
    ]
    (batch,) = make_batches(bound, tasks, fits, labels, unit, compare, precision)
    return batch


# ---- a linear mixed model: the marginal density is a normal


def slopes(x, unit, n_unit, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 2).expand([2]).to_event(1))
    tau = numpyro.sample("tau", dist.HalfNormal(2).expand([2]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(mean, tau).to_event(1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(own[unit, 0] + own[unit, 1] * x, sigma), obs=y)


def simulate_slopes(rng, sizes):
    """Units of these sizes; the data say nothing of the slope of every fourth."""
    unit = np.repeat(np.arange(len(sizes)), sizes)
    x = np.where(unit % 4 == 0, 0.0, rng.standard_normal(len(unit)))
    own = np.array([0.5, -1.0]) + np.array([1.0, 0.5]) * rng.standard_normal((len(sizes), 2))
    y = own[unit, 0] + own[unit, 1] * x + 0.7 * rng.standard_normal(len(unit))
    return {"x": x, "unit": unit, "y": y}


class Normals(NamedTuple):
    """What is known of the slopes' model given theta, by unit: log density `(unit,)`, means and sds `(unit, 2)`."""

    log_density: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def normals_of_slopes(theta, values):
    """The closed form, with theta as sampled: means, logs of tau, log of sigma."""
    mean, tau, sigma = theta[:2], np.exp(theta[2:4]), np.exp(theta[4])
    found = []
    for code in range(values["unit"].max() + 1):
        x, y = (values[name][values["unit"] == code] for name in ("x", "y"))
        design = np.stack([np.ones_like(x), x], axis=1)
        covariance = design * tau**2 @ design.T + sigma**2 * np.eye(len(y))
        gain = (design * tau**2).T @ np.linalg.inv(covariance)
        posterior = np.diag(tau**2) - gain @ design * tau**2
        found.append(
            (
                multivariate_normal(design @ mean, covariance).logpdf(y),
                mean + gain @ (y - design @ mean),
                np.sqrt(np.diag(posterior)),
            )
        )
    return Normals(*map(np.array, zip(*found, strict=True)))


def log_prior_of_slopes(theta):
    """Log prior density of theta as sampled, by draw where there are several: `(..., 5)`."""
    scales = halfnorm.logpdf(np.exp(theta[..., 2:]), scale=2) + theta[..., 2:]
    return norm.logpdf(theta[..., :2], scale=2).sum(axis=-1) + scales.sum(axis=-1)


def log_density_of_slopes(theta, x, unit, y):
    """Log density of all rows given theta, as JAX can differentiate it."""
    mean, tau, sigma = theta[:2], jnp.exp(theta[2:4]), jnp.exp(theta[4])
    covariance = (unit[:, None] == unit) * (tau[0] ** 2 + tau[1] ** 2 * jnp.outer(x, x))
    covariance += sigma**2 * jnp.eye(len(y))
    return jax.scipy.stats.multivariate_normal.logpdf(y, mean[0] + mean[1] * x, covariance)


# ---- random intercepts: the marginal density by quadrature


def counted(unit, n_unit, y=None):
    mu = numpyro.sample("mu", dist.Normal(1, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(0, 1))
    with numpyro.plate("rows", unit.shape[0]):
        numpyro.sample("y", dist.Poisson(jnp.exp(mu + tau * own[unit])), obs=y)


def yes_or_no(unit, n_unit, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1.5))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(mu, tau))
    with numpyro.plate("rows", unit.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=own[unit]), obs=y)


class Family(NamedTuple):
    """A model of random intercepts; means and scales of the priors of mu and tau."""

    model: object
    centre: float
    scale_mu: float
    scale_tau: float
    is_counted: bool
    is_centred: bool

    def draw_rows(self, rng, eta):
        """Outcomes at linear predictors `(rows,)`."""
        if self.is_counted:
            return rng.poisson(np.exp(eta)).astype("float64")
        return (rng.random(len(eta)) < 1 / (1 + np.exp(-eta))).astype("float64")

    def simulate(self, rng, sizes, mu, tau):
        """Values by column, and the latent of each unit as the model samples it, `(unit,)`."""
        unit, own = np.repeat(np.arange(len(sizes)), sizes), rng.standard_normal(len(sizes))
        y = self.draw_rows(rng, (mu + tau * own)[unit])
        return {"unit": unit, "y": y}, mu + tau * own if self.is_centred else own

    def draw_prior(self, rng):
        """Mu and tau."""
        return (
            self.centre + self.scale_mu * rng.standard_normal(),
            self.scale_tau * abs(rng.standard_normal()),
        )

    def log_joint(self, theta, values):
        """Log densities `(unit, point)` of each unit's rows and its latent, at the points of the grid."""
        n = np.bincount(values["unit"])[:, None]
        total = np.bincount(values["unit"], values["y"])[:, None]
        eta = theta[0] + np.exp(theta[1]) * GRID
        constant = 0.0
        if self.is_counted:
            constant = np.bincount(values["unit"], gammaln(values["y"] + 1))[:, None]
        of_row = np.exp(eta) if self.is_counted else np.logaddexp(0.0, eta)
        return total * eta - n * of_row - constant + norm.logpdf(GRID)

    def log_marginal(self, theta, values):
        """Log marginal density of each unit, `(unit,)`; theta is mu and the log of tau."""
        return logsumexp(self.log_joint(theta, values), axis=1) + np.log(GRID[1] - GRID[0])

    def log_prior(self, theta):
        """Log prior density of theta as sampled."""
        tau = np.exp(theta[1])
        return (
            norm.logpdf(theta[0], self.centre, self.scale_mu)
            + halfnorm.logpdf(tau, scale=self.scale_tau)
            + theta[1]
        )

    def posterior(self, values, around, root, n=41):
        """Mean and sd `(2,)` of theta by its density on a lattice of five sds around a place."""
        step = np.linspace(-5, 5, n)
        places = np.stack(np.meshgrid(step, step), axis=-1).reshape(-1, 2) @ root.T + around
        log_p = [self.log_marginal(one, values).sum() + self.log_prior(one) for one in places]
        weight = np.exp(np.array(log_p) - max(log_p))
        weight /= weight.sum()
        mean = weight @ places
        return mean, np.sqrt(weight @ (places - mean) ** 2)


FAMILIES = {
    "poisson": Family(counted, 1.0, 1.0, 1.0, is_counted=True, is_centred=False),
    "logistic": Family(yes_or_no, 0.0, 1.0, 1.5, is_counted=False, is_centred=True),
}


# ---- counts whose density overflows at some draws, and is skew


def steep(unit, n_unit, y=None):
    tau = numpyro.sample("tau", dist.HalfNormal(5))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(0, 1))
    with numpyro.plate("rows", unit.shape[0]):
        numpyro.sample("y", dist.Poisson(jnp.exp(tau * own[unit])), obs=y)


# ---- both marginals


class BothMarginals(NamedTuple):
    """By unit: by Laplace's method `(unit,)`, and corrected, for each of some keys, `(key, unit)`."""

    plain: np.ndarray
    corrected: np.ndarray


def both_marginals(marginal: MarginalDensity, theta, keys):
    """Marginal densities of the units of the first block, with the shapes that were measured, if they were."""
    model, block, start = marginal.model, marginal.blocks[0], marginal.starts[0]

    @jax.jit
    def of_keys(theta, block, keys):
        modes = find_modes(model, theta, start.u, block)
        of = jax.lax.map(
            lambda key: integrate_units(model, theta, modes, start, block, key).by_unit, keys
        )
        return modes.energy, jnp.einsum("uii->ui", modes.root), of

    energy, diagonal, corrected = map(np.asarray, of_keys(marginal.theta(theta), block, keys))
    k = diagonal.shape[1]
    plain = k / 2 * np.log(2 * np.pi) - energy - np.log(diagonal).sum(axis=1)
    return BothMarginals(plain, corrected)
