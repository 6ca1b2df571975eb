"""Scores of a model whose units have latent sites of their own, by Fisher's identity.

The gradient of the marginal log likelihood of a unit is the posterior mean of the gradient of
`log p(y_g | u_g, theta) + log p(u_g | theta)` with the latent sites u_g held fixed. It is averaged over
joint draws of the pooled fit: the mean of u_g put in their place would lose power.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.unit_density import DensityOptions, log_density
from scalecheck.model.rows import ByRow, local_codes
from scalecheck.model.sites import ROWS, Site
from scalecheck.results.study_fits import FitResult

Function = Callable[..., Any]

# docs/statistics.md, section 2: 60-200 effective draws suffice.
N_DRAWS = 200


def why_dependent(hidden: Sequence[Site], unit: str | None) -> str:
    """Say why neither rows nor units are independent given the compared parameters, or nothing.

    They are where latent sites belong to one row each, or to one unit or one of its rows.

    Parameters
    ----------
    hidden
        Latent sites that are not compared.
    unit
        `data.unit`.
    """
    return next(filter(None, (_reason(site, unit) for site in hidden)), "")


def _reason(site: Site, unit: str | None) -> str:
    """Say why a latent site belongs to no single unit or row, or nothing."""
    columns = " and ".join(site.indexed_by)
    if not site.indexed_by:
        return f"model.compare leaves out the latent site {site.name}, which all rows share"
    if len(site.indexed_by) > 1:
        return f"the latent site {site.name} is indexed by {columns}, so that no unit has its own part of it"
    if columns not in (ROWS, unit):
        return _foreign(site.name, columns, unit)
    if columns not in dict(site.plates):
        entries = "rows" if columns == ROWS else f"levels of {columns}"
        return (
            f"the latent site {site.name} stands in no plate over the {entries}: as for a time series or a"
            " Gaussian process, no part of its density belongs to one of them"
        )
    return ""


def _foreign(name: str, column: str, unit: str | None) -> str:
    if unit is None:
        return (
            f"the latent site {name} is a group, indexed by {column}: set data.unit to {column} if its levels have"
            f" fewer rows than a subset, or name {name} in model.compare if they have more"
        )
    return (
        f"the latent site {name} is indexed by {column} but data.unit is {unit}: with crossed or nested"
        f" latent sites no unit is independent of the others; name {name} in model.compare if each fit has its levels"
    )


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

    score: Float[np.ndarray, "row d"]
    unit: Int[np.ndarray, " row"]


def no_unit_scores(likelihood: Likelihood) -> str | None:
    """Say why scores by whole units cannot be had from this model, or None."""
    return likelihood.no_rows() or why_dependent(likelihood.between, likelihood.unit) or None


def unit_scores(
    likelihood: Likelihood, pooled: FitResult, values: Mapping[str, ByRow], *, crossed: bool
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
    parts = DensityOptions(
        likelihood, likelihood.function(rows.counts), int(unit.max()) + 1, crossed
    )
    key = ("unit scores", *sorted(rows.counts.items()), parts.n_units, crossed)
    program = likelihood.program(key, lambda: _program(parts))
    # Half of the units, at random, are moved to see whether another one follows.
    moved = np.random.default_rng(0).permutation(parts.n_units) < parts.n_units // 2
    score, followed = program(*draws, rows.arrays, unit, moved)
    if followed:
        of, names = likelihood.unit or "row", ", ".join(site.name for site in likelihood.between)
        return f"the density of one {of} depends on latent sites of another ({names})"
    return UnitScores(np.asarray(score), unit)


def unit_codes(likelihood: Likelihood, values: Mapping[str, ByRow]) -> Int[np.ndarray, " row"]:
    """Give the units `(rows,)` as codes in order of appearance; rows are their own where no unit is set."""
    if likelihood.unit is None:
        return np.arange(len(next(iter(values.values()))))
    return local_codes(values[likelihood.unit])[0]


def _draws(
    likelihood: Likelihood, pooled: FitResult, unit: Int[np.ndarray, " row"]
) -> tuple[Float[np.ndarray, "draw d"], dict[str, np.ndarray]] | str:
    """Thin the joint draws: parameters `(draw, d)` unconstrained, latent sites `(draw, ...)` as they are."""
    theta = pooled.z.reshape(-1, pooled.z.shape[-1])
    chosen = np.linspace(0, len(theta) - 1, min(N_DRAWS, len(theta))).round().astype(int)
    stored = pooled.tree["posterior"]
    latent: dict[str, np.ndarray] = {}
    for site in likelihood.between:
        if site.name not in stored:
            return (
                f"the draws of the latent site {site.name} are not stored: name it in sampler.keep"
            )
        draws = stored[site.name].to_numpy()
        draws = draws.reshape(-1, *draws.shape[2:])[chosen].astype("float64")
        ((column, axis),) = site.plates
        n_entries = len(unit) if column == ROWS else int(unit.max()) + 1
        # The batch of the fit may have had more units than this fit: its own come first.
        latent[site.name] = draws.take(range(n_entries), axis=axis + 1)
    return theta[chosen], latent


def _program(parts: DensityOptions) -> Function:
    """Compile `(draws, arrays, unit, moved) -> scores (rows, d), whether a unit that stands still follows`."""

    def total(theta: Any, latent: Any, arrays: Any, unit: Any) -> Any:
        def add(total: Any, draw: Any) -> Any:
            gradients = jax.jacfwd(lambda theta: log_density(parts, theta, draw[1], arrays))(
                draw[0]
            )
            return jax.tree.map(jnp.add, total, gradients), None

        n_rows, d = len(unit), theta.shape[1]
        zeros = jnp.zeros((n_rows, d)), jnp.zeros((parts.n_units, d))
        return jax.lax.scan(add, zeros, (theta, latent))[0]

    @jax.jit
    def program(theta: Any, latent: Any, arrays: Any, unit: Any, moved: Any) -> Any:
        of_row, of_unit = total(theta, latent, arrays, unit)
        size = jnp.bincount(unit, length=parts.n_units)
        score = (of_row + (of_unit / size[:, None])[unit]) / len(theta)
        first = jax.tree.map(lambda draws: draws[0], latent)
        return score, _followed(parts, theta[0], first, arrays, unit, moved)

    return program


def _followed(
    parts: DensityOptions, theta: Any, latent: Any, arrays: Any, unit: Any, moved: Any
) -> Bool[Array, ""]:
    """Whether the density of a unit changes as only others' latent sites do."""
    columns = {site.name: site.plates[0] for site in parts.likelihood.between}
    tangent = {}
    for name, values in latent.items():
        column, axis = columns[name]
        mask = moved[unit] if column == ROWS else moved
        direction = jax.random.normal(jax.random.key(1), values.shape)
        tangent[name] = direction * mask.reshape(*mask.shape, *(1,) * (values.ndim - axis - 1))
    of_row, of_unit = jax.jvp(
        lambda latent: log_density(parts, theta, latent, arrays, held=False),
        (latent,),
        (tangent,),
    )[1]
    still = (
        jnp.abs(jnp.where(moved[unit], 0, of_row)).max(),
        jnp.abs(jnp.where(moved, 0, of_unit)).max(),
    )
    size = jnp.abs(of_row).max() + jnp.abs(of_unit).max()
    return jnp.maximum(*still) > 1e-9 * size
