"""Draws of units given draws of what they share: with these they are draws of the joint posterior."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, UInt32

from scalecheck.laplace.marginal_density import DRAWS_AT_ONCE, MarginalDensity
from scalecheck.laplace.unit_integrals import integrate_units
from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_modes import find_modes
from scalecheck.laplace.unit_start import UnitStart


def draw_sites(
    marginal: MarginalDensity,
    thetas: Float[np.ndarray, "chain draw d"],
    key: PRNGKeyArray | UInt32[np.ndarray, "2"],
) -> dict[str, Float[np.ndarray, "draw chain ..."]]:
    """Draw the units at thetas; give all latent sites, unconstrained.

    Parameters
    ----------
    key
        `(2,)`.
    """
    turned = thetas.swapaxes(0, 1)
    flat = turned.reshape(-1, thetas.shape[-1])
    u = draw_units(marginal, flat, jnp.asarray(key))
    found = _unpack(marginal.model, marginal.theta(flat), jnp.asarray(u))
    return {
        name: np.asarray(v).reshape(*turned.shape[:2], *v.shape[1:]) for name, v in found.items()
    }


@functools.partial(jax.jit, static_argnums=0)
def _unpack(model: UnitModel, thetas: jax.Array, u: jax.Array) -> dict[str, jax.Array]:
    return jax.vmap(lambda theta, own: model.vector.unpack(theta) | model.unpack(own))(thetas, u)


def draw_units(
    marginal: MarginalDensity, thetas: Float[np.ndarray, "draw d"], key: PRNGKeyArray
) -> Float[np.ndarray, "draw unit k"]:
    """Draw the latent values of all units at each of some thetas, unconstrained.

    They are importance draws of each unit's mixture, chosen by their weights; of units without rows draws from their
    prior. Each theta has random numbers of its own.

    Parameters
    ----------
    key
        `(2,)`.
    """
    # Calls of one shape.
    n = len(thetas)
    padded = np.concatenate([thetas, np.repeat(thetas[-1:], -n % DRAWS_AT_ONCE, axis=0)])

    def one(number: int) -> np.ndarray:
        of_block = jax.random.fold_in(key, number)
        size = marginal.runs[number][1] - marginal.runs[number][0]
        found = [
            _draw_block(
                marginal.model,
                marginal.theta(padded[start : start + DRAWS_AT_ONCE]),
                marginal.starts[number],
                marginal.blocks[number],
                jax.random.fold_in(of_block, start),
            )[:, :size]
            for start in range(0, len(padded), DRAWS_AT_ONCE)
        ]
        return np.concatenate(found)[:n]

    return np.concatenate(marginal.each(one, range(len(marginal.blocks))), axis=1)


@functools.partial(jax.jit, static_argnums=0)
def _draw_block(
    model: UnitModel, thetas: jax.Array, start: UnitStart, block: UnitBlock, key: PRNGKeyArray
) -> jax.Array:
    """One draw `(draw, unit, k)` of each unit of a block at each theta `(draw, d)`."""

    def one(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        theta, number = pair
        modes = find_modes(model, theta, start.u, block)
        for_integrals, for_choice, for_prior = jax.random.split(jax.random.fold_in(key, number), 3)
        integrals = integrate_units(model, theta, modes, start, block, for_integrals)
        chosen = integrals.choose(for_choice, 1)[..., None]
        drawn = jnp.take_along_axis(integrals.u, chosen, axis=0)[0]
        prior = model.prior_draw(theta, block, for_prior)
        return jnp.where(block.is_unit[:, None], drawn, prior)

    return jax.lax.map(one, (thetas, jnp.arange(len(thetas))))
