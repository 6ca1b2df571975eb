"""The log marginal density as a potential energy that a sampler takes: all blocks in one program."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck.laplace.marginal_density import MarginalDensity, Theta
from scalecheck.laplace.population import Matrix
from scalecheck.laplace.unit_integrals import corrected_and_gradient, integrate_units, key_of_block
from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_modes import find_modes

# The one site: theta in posterior sds from its mode.
SITE = "from_mode"
_CODES, _IS_UNIT, _START, _BASE = "codes", "is_unit", "start", "base"
_CENTRE, _ROOT, _KEYS = "centre", "root", "keys"
_ARGUMENT = "argument:"


def arrays_of(marginal: MarginalDensity, centre: Theta, root: Matrix) -> dict[str, np.ndarray]:
    """What the potential takes: blocks `(block, ...)`, the modes at `centre` `(d,)`, and coordinates."""
    blocks = [jax.tree.map(np.asarray, block) for block in marginal.blocks]
    theta = marginal.theta(centre)

    @jax.jit
    def at(start: jax.Array, block: UnitBlock, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        modes = find_modes(marginal.model, theta, start, block)
        return modes.u, integrate_units(marginal.model, theta, modes, block, key).by_unit

    keys = [key_of_block(number) for number in range(len(blocks))]
    found = [at(*each) for each in zip(marginal.modes, marginal.blocks, keys, strict=True)]
    arrays = {
        _ARGUMENT + name: np.stack([block.arrays[name] for block in blocks])
        for name in blocks[0].arrays
    }
    return arrays | {
        _CODES: np.stack([block.codes for block in blocks]),
        _IS_UNIT: np.stack([block.is_unit for block in blocks]),
        _START: np.stack([np.asarray(u) for u, _ in found]),
        _BASE: np.stack([np.asarray(base) for _, base in found]),
        _CENTRE: np.asarray(theta),
        _ROOT: np.asarray(root, theta.dtype),
        _KEYS: np.stack([np.asarray(key) for key in keys]),
    }


def potential_of(model: UnitModel) -> Callable[..., Callable[[Mapping[str, jax.Array]], jax.Array]]:
    """Give `arrays -> (sites -> potential energy)`: what is added up is the difference to the centre, unit by unit.

    Arrays are those of `arrays_of`, `(block, ...)`; the energy is a scalar.
    """

    def of_arrays(**arrays: Any) -> Callable[[Mapping[str, jax.Array]], jax.Array]:
        blocks = UnitBlock(
            {
                name.removeprefix(_ARGUMENT): values
                for name, values in arrays.items()
                if name.startswith(_ARGUMENT)
            },
            arrays[_CODES],
            arrays[_IS_UNIT],
        )
        parts = blocks, arrays[_START], arrays[_BASE], arrays[_KEYS]
        total = _total_of(model, parts)
        first = jax.tree.map(lambda values: values[0], blocks)

        def energy(z: Mapping[str, jax.Array]) -> jax.Array:
            theta = arrays[_CENTRE] + arrays[_ROOT] @ z[SITE]
            return -total(theta) - model.log_prior(theta, first)

        return energy

    return of_arrays


def _total_of(model: UnitModel, parts: Any) -> Callable[[jax.Array], jax.Array]:
    """Give a function of theta with a derivative of its own: found beside the value, not through the iteration."""

    @jax.custom_jvp
    def total(theta: jax.Array) -> jax.Array:
        return both(theta)[0]

    def both(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        def one(sums: Any, part: Any) -> tuple[Any, None]:
            block, start, base, key = part
            found = corrected_and_gradient(model, theta, start, block, key)
            # Where an integral is no number is out of what can be sampled.
            value = (found.by_unit - base).sum()
            value = jnp.where(jnp.isfinite(value), value, -jnp.inf)
            gradient = found.gradient
            return jax.tree.map(jnp.add, sums, (value, gradient)), None

        zeros = jnp.zeros((), theta.dtype), jnp.zeros_like(theta)
        return jax.lax.scan(one, zeros, parts)[0]

    @total.defjvp
    def derivative(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        value, gradient = both(primals[0])
        return value, gradient @ tangents[0]

    return total
