"""PSIS k-hat of the population parameters.

The ratio is that of marginals: p(theta, y) / q(theta), where theta are the compared parameters. The joint ratio with
the latent sites of all units would say nothing: in thousands of dimensions its k-hat is above any threshold however
good each margin is. Given theta the units are independent, hence p(theta, y) is the prior of theta times an integral of
few dimensions for each unit. Each is estimated by importance sampling from a multivariate t with the mean and
covariance that NUTS found for the unit's latent sites. The estimate is unbiased, so that the ratio is right on the
extended space (as in pseudo-marginal Monte Carlo); its noise makes k-hat rather too large than too small, and is
reported.

Y. Yao et al., "Yes, but did it work?", arXiv:1802.02538; A. Vehtari et al., arXiv:1507.02646.
"""

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from numpyro import distributions as dist
from numpyro.distributions import biject_to

from scalecheck.evaluation import unit_density, unit_scores
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.laplace import importance_draws
from scalecheck.model.density import traced_at
from scalecheck.model.sites import ROWS, traced

# Draws of theta whose ratios are looked at, and draws of each unit for each of them.
N_RATIOS, N_INNER = 400, 64
_DF = 7.0  # of the t: tails heavier than those of what it stands for


class Khat(NamedTuple):
    """How well the tails of an approximation cover the posterior.

    Attributes
    ----------
    value
        The shape of the generalised Pareto tail; None where it cannot be had.
    noise
        Standard deviation of the log ratio that is the Monte Carlo error of the integrals; 0 without any.
    reason
        Why there is none.
    """

    value: float | None
    noise: float = 0.0
    reason: str = ""


def khat_of(
    likelihood: Likelihood,
    values: Mapping[str, np.ndarray],
    own: Mapping[str, np.ndarray],
    theta: np.ndarray,
    log_q: np.ndarray,
    key: jax.Array,
) -> Khat:
    """Give k-hat of an approximation of the compared parameters.

    Parameters
    ----------
    values
        Columns `(rows,)` of the fit.
    own
        NUTS draws `(draw, ...)` of the sites of units, on the model's scale; empty where they were not kept.
    theta
        Draws `(n, n_shared)` from the approximation, unconstrained.
    log_q
        Their log density `(n,)`.
    key
        Of the integrals.
    """
    if reason := reason_against(likelihood, own):
        return Khat(None, reason=reason)
    log_p, noise = log_marginal(likelihood, values, own, theta[:N_RATIOS], key)
    return Khat(importance_draws.smooth(log_p - log_q[:N_RATIOS]).khat, noise)


def reason_against(likelihood: Likelihood, stored: Container[str]) -> str:
    """Why units cannot be taken one by one, given the sites whose draws are stored; empty where they can."""
    if reason := unit_scores.no_unit_scores(likelihood):
        return reason
    if aside := [site.name for site in likelihood.hidden if site not in likelihood.between]:
        return f"model.compare leaves out {aside[0]}, which the prior of others depends on"
    missing = [site.name for site in likelihood.hidden if site.name not in stored]
    by_row = [site.name for site in likelihood.hidden if ROWS in site.indexed_by]
    if by_row:
        return f"the latent site {by_row[0]} is indexed by rows"
    return f"the draws of the latent site {missing[0]} are not stored" if missing else ""


def log_marginal(
    likelihood: Likelihood,
    values: Mapping[str, np.ndarray],
    own: Mapping[str, np.ndarray],
    theta: np.ndarray,
    key: jax.Array,
) -> tuple[np.ndarray, float]:
    """Log p(theta, y) `(n,)` up to a constant, and the standard deviation of its Monte Carlo error.

    Parameters
    ----------
    values, own, theta, key
        As of `khat_of`.
    """
    rows = likelihood.rows(values)
    unit = unit_scores.unit_codes(likelihood, values)
    n_units = int(unit.max()) + 1 if likelihood.hidden else 1
    parts = unit_density.DensityOptions(likelihood, likelihood.function(rows.counts), n_units)
    transforms = transforms_of(likelihood, parts.function, rows.arrays)
    flat, shapes = _by_unit(likelihood, own, transforms, n_units)
    codes = jnp.asarray(unit if likelihood.hidden else np.zeros(rows.n_rows, int))

    @jax.jit
    def log_joint(theta: jax.Array, key: jax.Array, arrays: Any) -> tuple[jax.Array, jax.Array]:
        prior = _log_prior(likelihood, parts.function, theta, arrays)

        def inner(key: jax.Array) -> jax.Array:
            """Log ratio of each unit's density to that of its proposal, `(unit,)`."""
            drawn, log_t = _propose(flat, key)
            latent, log_det = _to_sites(drawn, shapes, transforms)
            of_row, of_unit = unit_density.log_density(parts, theta, latent, arrays)
            return jax.ops.segment_sum(of_row, codes, n_units) + of_unit + log_det - log_t

        if not likelihood.hidden:
            of_row, _ = unit_density.log_density(parts, theta, {}, arrays)
            return prior + of_row.sum(), jnp.zeros(())
        ratios = jax.lax.map(inner, jax.random.split(key, N_INNER))
        weights = jax.nn.softmax(ratios, axis=0)
        # Delta method: the relative variance of a mean of weights.
        variance = (N_INNER * (weights**2).sum(axis=0) - 1) / N_INNER
        return prior + (logsumexp(ratios, axis=0)).sum(), variance.sum()

    keys = jax.random.split(key, len(theta))
    every = jax.jit(lambda t, k, a: jax.lax.map(lambda one: log_joint(*one, a), (t, k)))
    found, variance = every(jnp.asarray(theta), keys, rows.arrays)
    return np.asarray(found), float(np.sqrt(np.mean(variance)))


def _log_prior(likelihood: Likelihood, function: Any, theta: jax.Array, arrays: Any) -> jax.Array:
    """Density of the compared sites alone at `theta` `(d,)`, unconstrained."""
    z = likelihood.vector.unpack(theta)
    trace = traced_at(function, z, arrays)
    total = jnp.zeros(())
    for site in likelihood.compared:
        distribution, value = trace[site.name]["fn"], trace[site.name]["value"]
        total += distribution.log_prob(value).sum()
        change = biject_to(distribution.support)
        total += change.log_abs_det_jacobian(z[site.name], value).sum()
    return total


def transforms_of(likelihood: Likelihood, function: Any, arrays: Any) -> dict[str, Any]:
    """Give the bijection of each site of units from the unconstrained scale."""
    trace = traced(function, arrays, jax.random.key(0))
    return {site.name: biject_to(trace[site.name]["fn"].support) for site in likelihood.hidden}


def _by_unit(
    likelihood: Likelihood,
    own: Mapping[str, np.ndarray],
    transforms: Mapping[str, Any],
    n_units: int,
) -> tuple[tuple[jax.Array, jax.Array], dict[str, tuple[tuple[int, ...], int]]]:
    """Mean `(unit, k)` and Cholesky factor `(unit, k, k)` of each unit's latent sites; shape and axis by site."""
    parts: list[np.ndarray] = []
    shapes: dict[str, tuple[tuple[int, ...], int]] = {}
    for site in likelihood.hidden:
        axis = site.plates[0][1]
        values = np.asarray(own[site.name], "float64").take(range(n_units), axis=axis + 1)
        z = np.moveaxis(np.asarray(transforms[site.name].inv(values)), axis + 1, 1)
        shapes[site.name] = (z.shape[2:], axis)
        parts.append(z.reshape(*z.shape[:2], -1))
    if not parts:
        return (jnp.zeros((1, 0)), jnp.zeros((1, 0, 0))), {}
    z = np.concatenate(parts, axis=-1)
    centred = z - z.mean(axis=0)
    covariance = np.einsum("dui,duj->uij", centred, centred) / (len(z) - 1)
    # Of few draws a covariance may be singular.
    covariance += 1e-6 * np.einsum("uii->u", covariance)[:, None, None] * np.eye(z.shape[-1])
    return (jnp.asarray(z.mean(axis=0)), jnp.asarray(np.linalg.cholesky(covariance))), shapes


def _propose(flat: tuple[jax.Array, jax.Array], key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draw each unit's latent sites `(unit, k)`, and their log density `(unit,)`."""
    # One for each unit: of a scalar NumPyro draws one chi-square for all of them.
    proposal = dist.MultivariateStudentT(jnp.full(len(flat[0]), _DF), *flat)
    drawn = proposal.sample(key)
    return drawn, proposal.log_prob(drawn)


def _to_sites(
    drawn: jax.Array,
    shapes: Mapping[str, tuple[tuple[int, ...], int]],
    transforms: Mapping[str, Any],
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Values of sites on the model's scale, and the log determinant of each unit, `(unit,)`."""
    latent: dict[str, jax.Array] = {}
    log_det = jnp.zeros(len(drawn))
    start = 0
    for name, (shape, axis) in shapes.items():
        size = int(np.prod(shape))
        z = drawn[:, start : start + size].reshape(-1, *shape)
        value = transforms[name](z)
        det = transforms[name].log_abs_det_jacobian(z, value)
        log_det += det.reshape(len(drawn), -1).sum(axis=1)
        latent[name] = jnp.moveaxis(value, 0, axis)
        start += size
    return latent, log_det
