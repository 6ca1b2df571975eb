"""How each unit's density lies around its mode: the mean and covariance that most draws of its integral are made with.

Weighted draws measure them in two passes. The second pass draws from what the first one found.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, UInt32

from scalecheck.laplace.unit_integrals import log_ratios
from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_modes import Matrices, UnitModes, UnitNormal, Vectors, best_modes
from scalecheck.laplace.unit_proposals import (
    N_INNER,
    UnitMixture,
    around,
    mixture_of,
    other_starts,
)
from scalecheck.laplace.unit_start import SecondModes, UnitStart, first_start

# Passes, and draws of a pass over those of an integral. These are drawn by turns: no more is held than by an integral.
_PASSES, _TURNS = 2, 12


@functools.partial(jax.jit, static_argnums=0)
def measure_shapes(
    model: UnitModel,
    theta: Float[Array, " d"],
    before: UnitStart,
    block: UnitBlock,
    key: PRNGKeyArray,
) -> UnitStart:
    """Find the modes of a block's units at `theta`, and measure the shapes of their densities around the first.

    Parameters
    ----------
    before
        What was known: modes are looked for from both of its modes, too.
    key
        `(2,)`, another one than that of the integrals: what is drawn from must not depend on the draws.
    """
    key, for_starts = jax.random.split(key)
    starts = other_starts(model, theta, before, block, for_starts)
    modes, second = best_modes(model, theta, starts, block)
    first = first_start(modes.u)._replace(second=SecondModes(second.u, second.root, second.found))

    def one_pass(shape: UnitNormal, key: PRNGKeyArray) -> tuple[UnitNormal, None]:
        start = first._replace(shape=shape)
        mixture, keys = mixture_of(model, theta, modes, start, block), jax.random.split(key, _TURNS)

        def ratios(key: PRNGKeyArray) -> Float[Array, "draw unit"]:
            drawn = mixture.draw(key)
            found = log_ratios(model, theta, modes, drawn, mixture.log_density(drawn), block)
            # What belongs to a second mode has draws of its own.
            return found + _log_share(modes, second, drawn)

        weight = _weights(jax.lax.map(ratios, keys))
        mean, covariance = _moments(modes, mixture, keys, weight)
        root = jnp.linalg.cholesky(jnp.linalg.inv(covariance))
        good = jnp.isfinite(root).all(axis=(1, 2)) & jnp.isfinite(mean).all(axis=1) & block.is_unit
        return UnitNormal(
            jnp.where(good[:, None], mean, first.shape.mean),
            jnp.where(good[:, None, None], root, first.shape.root),
        ), None

    shape, _ = jax.lax.scan(one_pass, first.shape, jax.random.split(key, _PASSES))
    return first._replace(shape=shape)


def _log_share(
    modes: UnitModes, second: UnitModes, u: Float[Array, "draw unit k"]
) -> Float[Array, "draw unit"]:
    """Log share `(draw, unit)` that the normal at a unit's first mode has of both; 0 where no second was found."""
    each = [-one.energy - (around(one).standard(u) ** 2).sum(axis=2) / 2 for one in (modes, second)]
    return jnp.where(second.found, jax.nn.log_sigmoid(each[0] - each[1]), 0.0)


def _weights(log_ratio: Float[Array, "turn draw unit"]) -> Float[Array, "turn draw unit"]:
    """Give weights of sum one, which are cut: else one draw far out may be all that counts.

    E. Ionides, "Truncated importance sampling", JCGS 17 (2008): the cut is the mean times the root of their number.
    """
    weight = jnp.minimum(jax.nn.softmax(log_ratio, axis=(0, 1)), 1 / math.sqrt(_TURNS * N_INNER))
    return weight / weight.sum(axis=(0, 1))


def _moments(
    modes: UnitModes,
    mixture: UnitMixture,
    keys: UInt32[Array, "turn 2"],
    weight: Float[Array, "turn draw unit"],
) -> tuple[Vectors, Matrices]:
    """Mean and covariance of weighted draws, which are drawn anew; k + 2 further ones count for the normal."""
    near, k = around(modes), modes.u.shape[1]

    def add(
        sums: tuple[Vectors, Matrices], turn: tuple[PRNGKeyArray, Float[Array, "draw unit"]]
    ) -> tuple[tuple[Vectors, Matrices], None]:
        key, part = turn
        standard = near.standard(mixture.draw(key))
        weighted = part[..., None] * standard
        squares = jnp.einsum("sui,suj->uij", weighted, standard)
        return (sums[0] + weighted.sum(axis=0), sums[1] + squares), None

    zeros = jnp.zeros_like(modes.u), jnp.zeros_like(modes.root)
    (mean, square), _ = jax.lax.scan(add, zeros, (keys, weight))
    effective = 1 / (weight**2).sum(axis=(0, 1))
    known = (effective / (effective + k + 2))[:, None]
    covariance = square - mean[:, :, None] * mean[:, None, :]
    eye = jnp.eye(k, dtype=mean.dtype)
    return known * mean, known[..., None] * covariance + (1 - known[..., None]) * eye
