"""Whether the units of a model can be integrated out one by one."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck.laplace.unit_blocks import BlockShape, block_of, rows_by_unit
from scalecheck.laplace.unit_model import UnitBlock, UnitModel, hidden_sites, unit_model_of
from scalecheck.model import density, sites
from scalecheck.model.batches import Batch
from scalecheck.model.sites import ROWS, Site

# Units on which is tried whether the density is a sum over units.
_FEW_UNITS = 8
# Draws of the prior at which a finite density is looked for.
_TRIES = 10
_TOLERANCE = 1e-6


def why_not_by_unit(batch: Batch) -> str:
    """Say why the units of a model cannot be integrated out one by one; empty where they can."""
    hidden = hidden_sites(batch)
    if not hidden:
        return "the model has no latent sites of units"
    if batch.unit is None:
        return f"the latent site {hidden[0].name} belongs to no unit: data.unit names none that the model takes"
    for site in hidden:
        if reason := _why_not_of_unit(site, batch.unit):
            return reason
    if batch.bound.n_rows:
        return "the model takes n_rows, the number of all rows"
    if factors := [site.name for site in batch.sites if site.kind == "factor"]:
        return f"the model adds to its density by numpyro.factor ({factors[0]})"
    observed = sites.observed_site(batch.bound, batch.sites).name
    if not density.has_row_likelihood(batch.function, observed, batch.arrays_of()):
        return "the model gives its rows no log likelihood one by one"
    if not batch.vector.names:
        return "no latent site is shared by its units"
    sums = _adds_up(batch)
    if sums is None:
        return f"its density is finite at none of {_TRIES} draws from the prior"
    return "" if sums else f"its density is no sum over the levels of {batch.unit}"


def _why_not_of_unit(site: Site, unit: str) -> str:
    if ROWS in site.indexed_by:
        return f"the latent site {site.name} is indexed by rows"
    if not site.indexed_by:
        return f"all rows share the latent site {site.name}, and model.compare leaves it out"
    if site.indexed_by != (unit,):
        where = " and ".join(site.indexed_by)
        return f"the latent site {site.name} is indexed by {where}, not by {unit} alone"
    if len(site.plates) != 1:
        return f"the latent site {site.name} stands in no plate over the levels of {unit}"
    return ""


def _adds_up(batch: Batch) -> bool | None:
    """Whether the density of some units is that of each by itself: in float64, near a draw from the prior.

    None where it is finite at no draw that is tried.
    """
    with jax.enable_x64(True):
        model, arrays = unit_model_of(batch), density.in_double(batch.arrays_of())
        order = rows_by_unit(arrays, model.code_names, arrays.get("row_mask"))
        n_units = min(_FEW_UNITS, order.n_units)
        whole = block_of(model, arrays, order, 0, n_units)
        shape = BlockShape(int(np.diff(order.ends[: n_units + 1]).max()), 1)
        each = [block_of(model, arrays, order, i, i + 1, shape) for i in range(n_units)]
        several = jax.tree.map(lambda *parts: np.stack(parts), *each)
        three = _three_ways(model, n_units)
        tried = (three(whole, several, jax.random.PRNGKey(i)) for i in range(_TRIES))
        finite = (ways for ways in tried if np.isfinite(ways).all())
        ways = next(finite, None)
    if ways is None:
        return None
    full, summed, apart, size = map(float, ways)
    return max(abs(full - summed), abs(apart - summed)) <= _TOLERANCE * size


@functools.lru_cache(maxsize=8)
def _three_ways(model: UnitModel, n_units: int) -> Any:
    """Compile the density of some units: as the model has it, as a sum over them, and one by one; and its size."""
    function = model.function_of(n_units)
    latent = [*model.vector.shapes, *(site.name for site in model.own)]

    @jax.jit
    def three(whole: UnitBlock, several: UnitBlock, key: jax.Array) -> jax.Array:
        drawn = density.prior_draws(function, latent, whole.arrays, jax.random.split(key, 1))
        z = density.unconstrain(function, {n: v[0] for n, v in drawn.items()}, whole.arrays)
        theta, u = jnp.nan_to_num(model.vector.pack(z)), jnp.nan_to_num(model.pack(z))
        # At draws of a prior that is a point, no unit could be told from another.
        u += 0.1 * jax.random.normal(jax.random.PRNGKey(1), u.shape)
        by_unit, prior = model.log_density(theta, u, whole), model.log_prior(theta, whole)
        z = {**model.vector.unpack(theta), **model.unpack(u)}
        full = -density.potential(function)(**whole.arrays)(z)
        one = jax.vmap(lambda part, own: model.log_density(theta, own[None], part).sum())
        apart = one(several, u).sum()
        return jnp.stack([full, by_unit.sum() + prior, apart + prior, jnp.abs(by_unit).sum()])

    return three
