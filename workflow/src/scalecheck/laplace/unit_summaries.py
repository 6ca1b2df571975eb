"""What is known of each unit: mean, sd, quantiles and draws of its latent sites, over draws of what all share."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from scalecheck.laplace.log_marginal import laplace_by_unit
from scalecheck.laplace.marginal_density import MarginalDensity, Theta
from scalecheck.laplace.unit_integrals import integrate_units
from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_modes import LEAST_MASS, Vectors, find_modes, lie_apart
from scalecheck.laplace.unit_proposals import mixture_of, n_draws_near, other_starts
from scalecheck.laplace.unit_start import UnitStart

STATISTICS = ("mean", "sd", "low", "median", "high")
# Of the interval from low to high.
_PROBABILITIES = (0.055, 0.5, 0.945)
# Where fewer draws than this are expected around another mode, integrals leave it out.
_REACHED = 2.0


class BlockSummary(NamedTuple):
    """The units of a block, those that only fill its shape too.

    Attributes
    ----------
    statistics
        `(unit, k, statistic)` on the model's scale.
    draws
        `(draw, unit, k)` unconstrained, as many for each theta.
    second_mass
        `(unit,)` largest share of the mass that another mode has.
    missed_mass
        `(unit,)` the same of modes that the draws of the integrals hardly reach.
    """

    statistics: Float[np.ndarray, "unit k statistic"]
    draws: Float[np.ndarray, "draw unit k"]
    second_mass: Float[np.ndarray, " unit"]
    missed_mass: Float[np.ndarray, " unit"]


def summarise_block(
    model: UnitModel,
    thetas: jax.Array,
    at: jax.Array,
    start: UnitStart,
    block: UnitBlock,
    key: PRNGKeyArray,
    n_each: int,
) -> BlockSummary:
    """Summarise a block's units at thetas `(draw, d)`, with so many draws of the units at each.

    Parameters
    ----------
    at, start
        The population's mode `(d,)`, at which other modes are looked for, and what is known of the units there.
    key
        Of the integrals, and of what is chosen from them.
    """
    mean, variance, values, draws = _moments(model, n_each, thetas, start, block, key)
    quantiles = np.quantile(np.asarray(values), _PROBABILITIES, axis=0)
    statistics = np.stack([mean, np.sqrt(variance), *quantiles], axis=-1)
    masses = map(np.asarray, _masses_of_others(model, at, start, block, key))
    return BlockSummary(statistics, np.asarray(draws), *masses)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _moments(
    model: UnitModel,
    n_each: int,
    thetas: jax.Array,
    start: UnitStart,
    block: UnitBlock,
    for_units: PRNGKeyArray,
) -> tuple[jax.Array, ...]:
    """Mean and variance `(unit, k)` over thetas; draws `(draw, unit, k)` on the model's scale and unconstrained.

    Each theta has random numbers of its own, unlike in the marginal density: their errors are averaged over thetas.
    """

    def one(pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        theta, number = pair
        modes = find_modes(model, theta, start.u, block)
        for_integrals, key = jax.random.split(jax.random.fold_in(for_units, number))
        integrals = integrate_units(model, theta, modes, start, block, for_integrals)
        values = jax.vmap(lambda u: _on_scale(model, theta, u, block))(integrals.u)
        weight = integrals.weight[..., None]
        chosen = integrals.choose(key, n_each)[..., None]
        mean = (weight * values).sum(axis=0)
        # Around the mean: the square of a large mean has no digits left for a small variance.
        spread = (weight * (values - mean) ** 2).sum(axis=0)
        take = functools.partial(jnp.take_along_axis, indices=chosen, axis=0)
        return mean, spread, take(values), take(integrals.u)

    means, spreads, values, draws = jax.lax.map(one, (thetas, jnp.arange(len(thetas))))
    # A theta at which no draw of a unit has a finite density says nothing of it.
    mean = jnp.nanmean(means, axis=0)
    variance = jnp.nanmean(spreads, axis=0) + jnp.nanmean((means - mean) ** 2, axis=0)
    flat = [part.reshape(-1, *part.shape[2:]) for part in (values, draws)]
    return mean, variance, *flat


def _on_scale(model: UnitModel, theta: jax.Array, u: jax.Array, block: UnitBlock) -> jax.Array:
    """Values of a unit's sites on the model's scale, `(unit, k)`."""
    found = model.values(theta, u, block)
    return jnp.concatenate([v.reshape(len(u), -1) for v in found.values()], axis=1)


@functools.partial(jax.jit, static_argnums=0)
def _masses_of_others(
    model: UnitModel, theta: jax.Array, start: UnitStart, block: UnitBlock, key: PRNGKeyArray
) -> tuple[jax.Array, jax.Array]:
    """Largest shares `(unit,)` of a unit's mass around another mode, of any and of those that draws hardly reach.

    Masses are those of Laplace's method at both modes.
    """
    first = find_modes(model, theta, start.u, block)
    mixture = mixture_of(model, theta, first, start, block)
    mass = laplace_by_unit(first, block)

    def one(u: Vectors) -> tuple[jax.Array, jax.Array]:
        other = find_modes(model, theta, u, block)
        is_other = other.found & lie_apart(first, other) & block.is_unit
        share = jax.nn.sigmoid(laplace_by_unit(other, block) - mass)
        share = jnp.where(is_other, share, 0.0)
        return share, jnp.where(n_draws_near(mixture, other) < _REACHED, share, 0.0)

    any_, missed = jax.lax.map(one, other_starts(model, theta, start, block, key))
    return any_.max(axis=0), missed.max(axis=0)


def missed_masses(marginal: MarginalDensity, at: Theta) -> Float[np.ndarray, " unit"]:
    """Largest share of each unit's mass at `at` `(d,)` around a mode that the draws of its integral hardly reach."""

    def one(number: int) -> np.ndarray:
        size = marginal.runs[number][1] - marginal.runs[number][0]
        where = marginal.theta(at), marginal.starts[number], marginal.blocks[number]
        key = jax.random.fold_in(jax.random.PRNGKey(0), number)
        return np.asarray(_masses_of_others(marginal.model, *where, key)[1])[:size]

    return np.concatenate(marginal.each(one, range(len(marginal.blocks))))


def has_other_mode(mass_of_others: Float[np.ndarray, " unit"]) -> np.ndarray:
    """Tell which units `(unit,)` have another mode with so much of their mass that it counts."""
    return mass_of_others > LEAST_MASS


def site_statistics(
    model: UnitModel, statistics: Float[np.ndarray, "unit k statistic"], shapes: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Split statistics into sites, `(unit, ..., statistic)` each, given the shape of a unit's part of each."""
    found: dict[str, np.ndarray] = {}
    start = 0
    for site in model.own:
        size = int(np.prod(shapes[site.name]))
        part = statistics[:, start : start + size]
        found[site.name] = part.reshape(len(part), *shapes[site.name], len(STATISTICS))
        start += size
    return found
