"""Scores of a model whose units have latent sites of their own, by Fisher's identity.

The gradient of the marginal log likelihood of a unit is the posterior mean of the gradient of
`log p(y_g | u_g, theta) + log p(u_g | theta)` with the latent sites u_g held fixed. It is averaged over
joint draws of the pooled fit: the mean of u_g put in their place would lose power.

What is held fixed is a choice of coordinates, and the sum over a unit is the same in all of them, as
long as their range does not depend on theta. But not the part of each row: in a model written with
u ~ Normal(mu, tau) no row depends on mu once u is fixed, and mu could never be seen to change from one
period to the next. For an axis that crosses units, coordinates that are located and scaled are
therefore standardised first, after which the rows carry the whole score.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.distributions.transforms import AffineTransform, LowerCholeskyAffine, Transform
from numpyro.util import not_jax_tracer

from scalecheck.columns import local_codes
from scalecheck.density import Vector
from scalecheck.likelihood import Likelihood
from scalecheck.results import FitResult
from scalecheck.sites import Site, by_entry, traced
from scalecheck.structure import structure

NDArray = np.ndarray
Function = Callable[..., Any]

# STATISTICS.md, section 2: 60-200 effective draws suffice.
N_DRAWS = 200
LOCATED = (dist.Normal, dist.StudentT, dist.Laplace, dist.Cauchy, dist.Logistic, dist.Gumbel)


class UnitScores(NamedTuple):
    """Scores by row of a model with latent sites.

    Attributes
    ----------
    score
        `(rows, d)`; over the rows of a unit they sum to the unit's score. What belongs to the unit as
        a whole is spread evenly over its rows: any fixed split has mean zero under the model.
    unit
        `(rows,)` codes from zero: of `data.unit`, or of the rows themselves.
    """

    score: NDArray
    unit: NDArray


class Parts(NamedTuple):
    """What the parts of a log density are computed for.

    Attributes
    ----------
    function
        The model as a function of its arrays.
    observed
        Name of the observed site.
    vector
        Layout of the compared parameters.
    hidden
        Latent sites of units or rows.
    unit
        `data.unit`.
    n_units
        Units of these rows.
    standardised
        Whether located and scaled coordinates of latent sites are held fixed.
    """

    function: Function
    observed: str
    vector: Vector
    hidden: tuple[Site, ...]
    unit: str | None
    n_units: int
    standardised: bool


def no_unit_scores(likelihood: Likelihood) -> str | None:
    """Say why scores by whole units cannot be had from this model, or None."""
    return likelihood.no_rows() or structure(likelihood.hidden, likelihood.unit).reason or None


def unit_scores(
    likelihood: Likelihood, pooled: FitResult, values: Mapping[str, NDArray], *, crossed: bool
) -> UnitScores | str:
    """Average the scores over joint draws of parameters and latent sites; or say why not.

    Parameters
    ----------
    likelihood
        With hidden latent sites, for which `no_unit_scores` has no reason.
    pooled
        The fit to these rows.
    values
        Columns `(rows,)`.
    crossed
        Whether the parts of single rows matter, for an axis that crosses units.
    """
    rows = likelihood.rows(values)
    unit = unit_codes(likelihood, values)
    draws = _draws(likelihood, pooled, unit)
    if isinstance(draws, str):
        return draws
    shape = Parts(
        likelihood.function(rows.counts),
        likelihood.observed,
        likelihood.vector,
        likelihood.hidden,
        likelihood.unit,
        int(unit.max()) + 1,
        crossed,
    )
    key = ("unit scores", *sorted(rows.counts.items()), shape.n_units, crossed)
    program = likelihood.program(key, lambda: _program(shape))
    # Half of the units, at random, are moved to see whether another one follows.
    moved = np.random.default_rng(0).permutation(shape.n_units) < shape.n_units // 2
    score, followed = program(*draws, rows.arrays, unit, moved)
    if followed:
        return _not_independent(likelihood)
    return UnitScores(np.asarray(score), unit)


def unit_codes(likelihood: Likelihood, values: Mapping[str, NDArray]) -> NDArray:
    """Give the units `(rows,)` as codes in order of appearance; rows are their own where no unit is set."""
    if likelihood.unit is None:
        return np.arange(len(next(iter(values.values()))))
    return local_codes(values[likelihood.unit])[0]


def _not_independent(likelihood: Likelihood) -> str:
    names = ", ".join(site.name for site in likelihood.hidden)
    what = f"one {likelihood.unit}" if likelihood.unit else "one row"
    return f"the density of {what} depends on latent sites of another ({names})"


def _draws(
    likelihood: Likelihood, pooled: FitResult, unit: NDArray
) -> tuple[NDArray, dict[str, NDArray]] | str:
    """Thin the joint draws: parameters `(draw, d)` unconstrained, latent sites `(draw, ...)` as they are."""
    theta = pooled.z.reshape(-1, pooled.z.shape[-1])
    chosen = np.linspace(0, len(theta) - 1, min(N_DRAWS, len(theta))).round().astype(int)
    stored = pooled.tree["posterior"]
    latent: dict[str, NDArray] = {}
    for site in likelihood.hidden:
        if site.name not in stored:
            return (
                f"the draws of the latent site {site.name} are not stored: name it in sampler.keep"
            )
        draws = stored[site.name].to_numpy()
        draws = draws.reshape(-1, *draws.shape[2:])[chosen].astype("float64")
        ((column, axis),) = site.plates
        n_entries = len(unit) if column == "row" else int(unit.max()) + 1
        # The batch of the fit may have had more units than this fit: its own come first.
        latent[site.name] = draws.take(range(n_entries), axis=axis + 1)
    return theta[chosen], latent


def _program(shape: Parts) -> Function:
    """Compile `(draws, arrays, unit, moved) -> scores (rows, d), whether a unit that stands still follows`."""

    def total(theta: Any, latent: Any, arrays: Any, unit: Any) -> Any:
        def add(total: Any, draw: Any) -> Any:
            parts = jax.jacfwd(lambda theta: log_density_parts(shape, theta, draw[1], arrays))(
                draw[0]
            )
            return jax.tree.map(jnp.add, total, parts), None

        n_rows, d = len(unit), theta.shape[1]
        zeros = jnp.zeros((n_rows, d)), jnp.zeros((shape.n_units, d))
        return jax.lax.scan(add, zeros, (theta, latent))[0]

    @jax.jit
    def program(theta: Any, latent: Any, arrays: Any, unit: Any, moved: Any) -> Any:
        of_row, of_unit = total(theta, latent, arrays, unit)
        size = jnp.bincount(unit, length=shape.n_units)
        score = (of_row + (of_unit / size[:, None])[unit]) / len(theta)
        first = jax.tree.map(lambda draws: draws[0], latent)
        return score, _followed(shape, theta[0], first, arrays, unit, moved)

    return program


def log_density_parts(
    shape: Parts,
    theta: jax.Array,
    latent: Mapping[str, jax.Array],
    arrays: Any,
    *,
    held: bool = True,
) -> tuple[jax.Array, jax.Array]:
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
    z = shape.vector.unpack(theta)

    def value(site: dict[str, Any]) -> jax.Array | None:
        name = site["name"]
        if name in z:
            return biject_to(site["fn"].support)(z[name])
        if name in latent and held:
            held_value, coordinates[name] = _hold(site["fn"], latent[name], shape.standardised)
            return held_value
        return latent.get(name)

    substituted = handlers.substitute(shape.function, substitute_fn=value)
    trace = traced(substituted, arrays, jax.random.key(0))
    of_row = _sum_but(_log_prob(trace[shape.observed]), 0)
    of_unit = jnp.zeros(shape.n_units)
    for site in shape.hidden:
        ((column, axis),) = site.plates
        part = _sum_but(_log_prob(trace[site.name], coordinates.get(site.name, 0.0)), axis)
        if column == "row":
            of_row += part
        else:
            of_unit += part
    return of_row, of_unit


def _log_prob(site: Mapping[str, Any], coordinates: Any = 0.0) -> jax.Array:
    """Log density of each entry, scaled where a handler or a subsampling plate scales it.

    `coordinates` is the log determinant of what was held fixed.
    """
    values = by_entry(site["fn"]).log_prob(site["value"])
    extra = jnp.ndim(coordinates) - jnp.ndim(values)
    if extra > 0:
        coordinates = coordinates.sum(axis=tuple(range(-extra, 0)))
    scale = site.get("scale")
    return (values + coordinates) * (1.0 if scale is None else scale)


def _sum_but(values: jax.Array, axis: int) -> jax.Array:
    return values.sum(axis=tuple(i for i in range(values.ndim) if i != axis))


def _hold(
    distribution: dist.Distribution, value: jax.Array, standardised: bool
) -> tuple[jax.Array, Any]:
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


def _followed(
    shape: Parts, theta: Any, latent: Any, arrays: Any, unit: Any, moved: Any
) -> jax.Array:
    """Whether the density of a unit changes as only others' latent sites do."""
    columns = {site.name: site.plates[0] for site in shape.hidden}
    tangent = {}
    for name, values in latent.items():
        column, axis = columns[name]
        mask = moved[unit] if column == "row" else moved
        direction = jax.random.normal(jax.random.key(1), values.shape)
        tangent[name] = direction * mask.reshape(*mask.shape, *(1,) * (values.ndim - axis - 1))
    of_row, of_unit = jax.jvp(
        lambda latent: log_density_parts(shape, theta, latent, arrays, held=False),
        (latent,),
        (tangent,),
    )[1]
    still = (
        jnp.abs(jnp.where(moved[unit], 0, of_row)).max(),
        jnp.abs(jnp.where(moved, 0, of_unit)).max(),
    )
    size = jnp.abs(of_row).max() + jnp.abs(of_unit).max()
    return jnp.maximum(*still) > 1e-9 * size
