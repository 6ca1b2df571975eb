"""Problems on which samplers are compared: fits of one shape, data `(fit, rows, ...)` by model argument."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

GROUPS = 50


class Problem(NamedTuple):
    """A model, its data, and how many parameters it has."""

    model: Callable[..., None]
    arrays: dict[str, np.ndarray]
    d: int


def regression(x: Any, y: Any) -> None:
    """Logistic regression."""
    b = numpyro.sample("b", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=x @ b), obs=y)


def intercepts(x: Any, group: Any, y: Any) -> None:
    """Logistic regression with an intercept for each of `GROUPS`, non-centred."""
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    b = numpyro.sample("b", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    with numpyro.plate("groups", GROUPS):
        u = numpyro.sample("u", dist.Normal(0, 1))
    numpyro.sample("y", dist.Bernoulli(logits=mu + tau * u[group] + x @ b), obs=y)


def shrinkage(x: Any, y: Any) -> None:
    """Logistic regression whose slopes share a scale: what it looks like depends on the data."""
    log_tau = numpyro.sample("log_tau", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, jnp.exp(log_tau)).expand([x.shape[-1]]).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=x @ b), obs=y)


def _bernoulli(rng: np.random.Generator, eta: np.ndarray) -> np.ndarray:
    return (rng.random(eta.shape) < 1 / (1 + np.exp(-eta))).astype("float32")


def logistic(n_fits: int = 16, n: int = 500, d: int = 20) -> Problem:
    """Homogeneous and easy."""
    rng = np.random.default_rng(1)
    x, b = rng.normal(size=(n_fits, n, d)), rng.normal(size=(n_fits, d)) / 2
    y = _bernoulli(rng, np.einsum("knd,kd->kn", x, b))
    return Problem(regression, {"x": x.astype("float32"), "y": y}, d)


def hierarchical(n_fits: int = 8, n: int = 1000, d: int = 5) -> Problem:
    """Homogeneous, with longer trajectories."""
    rng = np.random.default_rng(2)
    x, b = rng.normal(size=(n_fits, n, d)), rng.normal(size=(n_fits, d)) / 2
    group = np.sort(rng.integers(0, GROUPS, (n_fits, n)), axis=1)
    u = 0.7 * rng.normal(size=(n_fits, GROUPS))
    eta = 0.3 + np.take_along_axis(u, group, 1) + np.einsum("knd,kd->kn", x, b)
    arrays = {"x": x.astype("float32"), "group": group.astype("int32"), "y": _bernoulli(rng, eta)}
    return Problem(intercepts, arrays, d + 2 + GROUPS)


def mixed(n_fits: int = 16, n: int = 500, d: int = 20) -> Problem:
    """One fit of four has a design so ill conditioned that its trajectories are many times longer."""
    rng = np.random.default_rng(3)
    x, b = rng.normal(size=(n_fits, n, d)), rng.normal(size=(n_fits, d)) / 2
    for k in range(3 * n_fits // 4, n_fits):
        axes, _ = np.linalg.qr(rng.normal(size=(d, d)))
        x[k] = 12 * x[k] @ (axes * np.sqrt(np.logspace(0, -4, d))) @ axes.T
        b[k] /= 12
    y = _bernoulli(rng, np.einsum("knd,kd->kn", x, b))
    return Problem(regression, {"x": x.astype("float32"), "y": y}, d)


PROBLEMS = {"logistic": logistic, "hierarchical": hierarchical, "mixed": mixed}
