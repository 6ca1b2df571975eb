"""Density of the outcome and of latent sites of units, by row and by unit.

A gradient by what all units share holds the latent sites fixed. What is held fixed is a choice of
coordinates, and the sum over a unit is the same in all of them, as
long as their range does not depend on theta. But not the part of each row: in a model written with
u ~ Normal(mu, tau) no row depends on mu once u is fixed, and mu could never be seen to change from one
period to the next. For an axis that crosses units, coordinates that are located and scaled are
therefore standardised first, after which the rows carry the whole score.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, Shaped
from numpyro.distributions import biject_to
from numpyro.distributions.transforms import AffineTransform, LowerCholeskyAffine, Transform
from numpyro.util import not_jax_tracer

from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.model.density import log_prob_by_row, scaled, traced_at
from scalecheck.model.sites import ROWS, by_entry

Function = Callable[..., Any]

LOCATED = (dist.Normal, dist.StudentT, dist.Laplace, dist.Cauchy, dist.Logistic, dist.Gumbel)


class DensityOptions(NamedTuple):
    """What the parts of a log density are computed for.

    Attributes
    ----------
    likelihood
        Of the model: its latent sites that are not compared belong to units or rows.
    function
        The model as a function of its arrays.
    n_units
        Units of these rows.
    standardised
        Whether located and scaled coordinates of latent sites are held fixed.
    """

    likelihood: Likelihood
    function: Function
    n_units: int
    standardised: bool = False


def log_density(
    parts: DensityOptions,
    theta: Float[Array, " d"],
    latent: Mapping[str, jax.Array],
    arrays: Any,
    *,
    held: bool = True,
) -> tuple[Float[Array, " row"], Float[Array, " unit"]]:
    """Log density of the outcome and the latent sites: what belongs to each row, and to each unit.

    Parameters
    ----------
    theta
        `(d,)` the compared parameters, unconstrained; their own density is left out.
    latent
        Value `(...)` of each hidden site.
    held
        Whether coordinates of latent sites are held fixed, for a gradient.

    Returns
    -------
    tuple
        Scalars of rows, `(rows,)`, and of units, `(unit,)`.
    """
    coordinates: dict[str, jax.Array] = {}

    def value(site: dict[str, Any]) -> jax.Array | None:
        name = site["name"]
        if name in latent and held:
            held_value, coordinates[name] = _hold(site["fn"], latent[name], parts.standardised)
            return held_value
        return latent.get(name)

    z = parts.likelihood.vector.unpack(theta)
    trace = traced_at(parts.function, z, arrays, others=value)
    of_row = log_prob_by_row(trace[parts.likelihood.observed])
    of_unit = jnp.zeros(parts.n_units)
    for site in parts.likelihood.between:
        ((column, axis),) = site.plates
        part = _sum_but(_log_prob(trace[site.name], coordinates.get(site.name, 0.0)), axis)
        if column == ROWS:
            of_row += part
        else:
            of_unit += part
    return of_row, of_unit


def _log_prob(site: Mapping[str, Any], coordinates: Any) -> jax.Array:
    """Log density of each entry; `coordinates` is the log determinant of what was held fixed."""
    values = by_entry(site["fn"]).log_prob(site["value"])
    extra = jnp.ndim(coordinates) - jnp.ndim(values)
    if extra > 0:
        coordinates = coordinates.sum(axis=tuple(range(-extra, 0)))
    return scaled(site, values + coordinates)


def _sum_but(values: Float[Array, "..."], axis: int) -> Float[Array, " entry"]:
    return values.sum(axis=tuple(i for i in range(values.ndim) if i != axis))


def _hold(
    distribution: dist.Distribution, value: Shaped[Array, "*entry"], standardised: bool
) -> tuple[Shaped[Array, "*entry"], Any]:
    """Give a latent value as a function of theta whose coordinates are constant, and its log determinant.

    A support with fixed bounds needs no coordinates: those of its bijection do not depend on theta.
    """
    change = _located(distribution) if standardised else None
    if change is None and not all(map(not_jax_tracer, jax.tree.leaves(distribution.support))):
        change = biject_to(distribution.support)
    if change is None:
        return value, 0.0
    fixed = jax.lax.stop_gradient(change.inv(value))
    moved = change(fixed)
    return moved, change.log_abs_det_jacobian(fixed, moved)


def _located(distribution: dist.Distribution) -> Transform | None:
    """Give the transform from standardised values of a family of locations and scales."""
    while isinstance(distribution, (dist.Independent, dist.ExpandedDistribution)):
        distribution = distribution.base_dist
    if isinstance(distribution, LOCATED):
        return AffineTransform(distribution.loc, distribution.scale)
    if isinstance(distribution, dist.MultivariateNormal) and distribution.scale_tril.ndim == 2:
        return LowerCholeskyAffine(distribution.loc, distribution.scale_tril)
    return None
