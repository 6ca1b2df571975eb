"""A normal model with a random intercept per unit, of which everything is known in closed form."""

import inspect
from typing import NamedTuple

import numpy as np
import numpyro
import numpyro.distributions as dist
import xarray as xr
from recorded import recorded

from scalecheck import diagnostics
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.model.binding import Argument, Model
from scalecheck.results.study_fits import FitResult
from scalecheck.study.plan import PlannedFit, Slice

NAMES = ("mu", "beta", "tau", "sigma")
ARGUMENTS = {name: Argument((name,), matrix=False) for name in ("x", "clinic", "y")}
LABELS = {"x": None, "y": None, "clinic": [f"c{code}" for code in range(4000)]}


def centred(x, clinic, n_clinic, y=None):
    mu, beta, tau, sigma = _shared()
    with numpyro.plate("clinics", n_clinic):
        u = numpyro.sample("u", dist.Normal(mu, tau))
    _rows(u[clinic] + beta * x, sigma, y)


def not_centred(x, clinic, n_clinic, y=None):
    mu, beta, tau, sigma = _shared()
    with numpyro.plate("clinics", n_clinic):
        u = numpyro.sample("u", dist.Normal(0, 1))
    _rows(mu + tau * u[clinic] + beta * x, sigma, y)


def _shared():
    mu = numpyro.sample("mu", dist.Normal(0, 3))
    beta = numpyro.sample("beta", dist.Normal(0, 3))
    return mu, beta, *(numpyro.sample(name, dist.HalfNormal(3)) for name in ("tau", "sigma"))


def _rows(mean, sigma, y):
    with numpyro.plate("rows", mean.shape[0]):
        numpyro.sample("y", dist.Normal(mean, sigma), obs=y)


class Data(NamedTuple):
    """Rows of units of one size, one unit after the other; `x`, `y` are `(unit, row)`."""

    x: np.ndarray
    y: np.ndarray

    @property
    def unit(self):
        return np.repeat(np.arange(len(self.y)), self.y.shape[1])

    def values(self):
        return {"x": self.x.ravel(), "y": self.y.ravel(), "clinic": self.unit}


def simulate(rng, n_units, n_rows, *, intercept=None, slope=0.5, noise=1.0):
    """Data with unit sd of the intercepts, or with these; slopes by unit or for all."""
    x = rng.standard_normal((n_units, n_rows))
    u = rng.standard_normal(n_units) if intercept is None else intercept
    errors = noise * rng.standard_normal((n_units, n_rows))
    return Data(x, 0.3 + np.reshape(slope, (-1, 1)) * x + u[:, None] + errors)


def conditional(data, theta):
    """Mean `(unit,)` and variance of the intercepts, less mu, given the rows of their unit."""
    mu, beta, log_tau, log_sigma = theta
    residual = data.y - mu - beta * data.x
    n_rows, tau2, sigma2 = data.y.shape[1], np.exp(2 * log_tau), np.exp(2 * log_sigma)
    variance = 1 / (1 / tau2 + n_rows / sigma2)
    return variance * residual.sum(axis=1) / sigma2, variance, residual


def row_scores(data, theta):
    """Scores `(unit, row, 4)` given the standardised intercepts, averaged over these; theta as sampled."""
    mean, variance, residual = conditional(data, theta)
    sigma2 = np.exp(2 * theta[3])
    left, square = residual - mean[:, None], (mean**2 + variance)[:, None]
    of_tau = residual * mean[:, None] - square
    of_sigma = residual**2 - 2 * residual * mean[:, None] + square - sigma2
    return np.stack([left, left * data.x, of_tau, of_sigma], axis=-1) / sigma2


def scores(data, theta):
    """Gradient of the marginal log likelihood of each unit, `(unit, 4)`."""
    mu, beta, log_tau, log_sigma = theta
    residual = data.y - mu - beta * data.x
    n_rows, tau2, sigma2 = data.y.shape[1], np.exp(2 * log_tau), np.exp(2 * log_sigma)
    mean = residual.mean(axis=1)
    of_mean = sigma2 + n_rows * tau2  # n times the variance of the mean of a unit
    within = residual - mean[:, None]
    centre = data.x.mean(axis=1)
    by_mean = n_rows * mean**2 / of_mean - 1
    return np.stack(
        [
            n_rows * mean / of_mean,
            n_rows * mean * centre / of_mean + (within * data.x).sum(axis=1) / sigma2,
            by_mean * n_rows * tau2 / of_mean,
            by_mean * sigma2 / of_mean + (within**2).sum(axis=1) / sigma2 - (n_rows - 1),
        ],
        axis=-1,
    )


def estimate(data, n_steps=25):
    """The maximum of the marginal likelihood, and the inverse of its information."""
    theta = np.array([0.3, 0.5, 0.0, np.log(data.y.std() / 2)])
    for _ in range(n_steps):
        score = scores(data, theta)
        covariance = np.linalg.inv(information(data, theta))
        theta = theta + np.clip(covariance @ score.sum(axis=0), -1, 1)
    return theta, covariance


def information(data, theta):
    """The expected information of all units, `(4, 4)`."""
    n_units, n_rows = data.y.shape
    tau2, sigma2 = np.exp(2 * theta[2:])
    of_mean = sigma2 + n_rows * tau2
    weight = n_rows * tau2 / of_mean
    x = np.stack([np.ones_like(data.x), data.x], axis=-1)
    total = x.sum(axis=1)
    found = np.zeros((4, 4))
    found[:2, :2] = np.einsum("gnd,gne->de", x, x) - weight / n_rows * total.T @ total
    found[:2, :2] /= sigma2
    share = np.array([weight, 1 - weight])
    found[2:, 2:] = 2 * n_units * (np.outer(share, share) + np.diag([0, n_rows - 1]))
    return found


def likelihood(function, data, **changes):
    """The model of the checks, of one of the two functions."""
    named = inspect.signature(function).parameters
    arguments = {name: argument for name, argument in ARGUMENTS.items() if name in named}
    counts = {"n_clinic": "clinic"} if "n_clinic" in named else {}
    bound = Model(function, "model.py", "y", arguments, counts, n_rows=False)
    few = data.values()
    settings = {"unit": "clinic", "compare": None} | changes
    return Likelihood(bound, LABELS, settings["unit"], settings["compare"], few)


def fit(rng, data, theta, *, standardised):
    """A fit with these draws of the parameters, `(draw, 4)`, and exact ones of the intercepts given them."""
    latent = []
    for one in theta:
        mean, variance, _ = conditional(data, one)
        u = mean + np.sqrt(variance) * rng.standard_normal(len(mean))
        latent.append(u / np.exp(one[2]) if standardised else u + one[0])
    groups = {
        "posterior": {"u": (("chain", "draw", "clinic"), np.array(latent)[None])},
        "unconstrained_posterior": {"z": (("chain", "draw", "parameter"), theta[None])},
    }
    tree = xr.DataTree.from_dict({name: xr.Dataset(group) for name, group in groups.items()})
    task = PlannedFit(
        "increment-01", "increment", "", "", data.y.size, 0, (Slice("arrival", 0, data.y.size),)
    )
    return FitResult(task, recorded(task.fit), tree, diagnostics.Health(1.0, 1000.0, 1.0, ""))


def around(rng, data, n_draws):
    """Draws `(draw, 4)` near the estimate, as a posterior would have them."""
    theta, covariance = estimate(data)
    return rng.multivariate_normal(theta, covariance, n_draws), covariance
