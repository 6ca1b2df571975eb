"""The log marginal density as a potential energy that a sampler takes: all blocks in one program."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck.laplace.coordinates import Coordinates
from scalecheck.laplace.marginal_density import MarginalDensity
from scalecheck.laplace.population import PopulationMode
from scalecheck.laplace.unit_integrals import corrected_and_gradient
from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_start import stack_parts, start_of

# The one site: coordinates of theta in posterior sds from its mode.
SITE = "from_mode"
_CODES, _IS_UNIT, _BASE = "codes", "is_unit", "base"
_CENTRE, _ROOT, _SCALE, _KEYS = "centre", "root", "scale", "keys"
_ARGUMENT, _PART = "argument:", "start:"


def arrays_of(marginal: MarginalDensity, mode: PopulationMode) -> dict[str, np.ndarray]:
    """What the potential takes: blocks `(block, ...)`, what is known of units at the mode, and coordinates."""
    blocks = [jax.tree.map(np.asarray, block) for block in marginal.blocks]
    theta = marginal.theta(mode.theta)
    keys = [marginal.key_of(number) for number in range(len(blocks))]
    found = [
        corrected_and_gradient(marginal.model, theta, *each)
        for each in zip(marginal.starts, marginal.blocks, keys, strict=True)
    ]
    arrays = {
        _ARGUMENT + name: np.stack([block.arrays[name] for block in blocks])
        for name in blocks[0].arrays
    }
    starts = [start.moved(one.modes.u) for start, one in zip(marginal.starts, found, strict=True)]
    arrays |= {_PART + name: values for name, values in stack_parts(starts).items()}
    return arrays | {
        _CODES: np.stack([block.codes for block in blocks]),
        _IS_UNIT: np.stack([block.is_unit for block in blocks]),
        _BASE: np.stack([np.asarray(one.by_unit) for one in found]),
        _CENTRE: np.asarray(mode.place, theta.dtype),
        _ROOT: np.asarray(mode.root, theta.dtype),
        _SCALE: np.asarray(mode.scale, theta.dtype),
        _KEYS: np.stack([np.asarray(key) for key in keys]),
    }


def shapes_of(marginal: MarginalDensity) -> dict[str, np.ndarray]:
    """Give arrays of the shapes of `arrays_of`, which hold zeros and take no memory."""
    block = jax.tree.map(np.asarray, marginal.blocks[0])
    n_blocks, n_units, d = len(marginal.blocks), marginal.shape.n_units, marginal.size

    def zeros(*shape: int, dtype: str = marginal.dtype) -> np.ndarray:
        return np.broadcast_to(np.zeros((), dtype), shape)

    like = {_ARGUMENT + name: values for name, values in block.arrays.items()}
    like |= {_CODES: block.codes, _IS_UNIT: block.is_unit}
    like |= {_PART + name: one[0] for name, one in stack_parts(marginal.starts[:1]).items()}
    return {
        name: np.broadcast_to(np.zeros((), one.dtype), (n_blocks, *one.shape))
        for name, one in like.items()
    } | {
        _BASE: zeros(n_blocks, n_units),
        _CENTRE: zeros(d),
        _ROOT: zeros(d, d),
        _SCALE: zeros(d),
        _KEYS: zeros(n_blocks, 2, dtype="uint32"),
    }


@functools.lru_cache(maxsize=8)
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
        named = {n.removeprefix(_PART): v for n, v in arrays.items() if n.startswith(_PART)}
        starts = start_of(named)
        parts = blocks, starts, arrays[_BASE], arrays[_KEYS]
        total = _total_of(model, parts)
        first = jax.tree.map(lambda values: values[0], blocks)
        coordinates = Coordinates(arrays[_SCALE])

        def energy(z: Mapping[str, jax.Array]) -> jax.Array:
            place = arrays[_CENTRE] + arrays[_ROOT] @ z[SITE]
            theta = coordinates.thetas(place)
            return -total(theta) - model.log_prior(theta, first) - coordinates.log_volume(place)

        return energy

    return of_arrays


def _total_of(model: UnitModel, parts: Any) -> Callable[[jax.Array], jax.Array]:
    """Give a function of theta with a derivative of its own: found beside the value, not through the iteration."""
    both = _value_and_gradient(model)

    @jax.custom_jvp
    def total(theta: jax.Array) -> jax.Array:
        return both(theta, parts)[0]

    @total.defjvp
    def derivative(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        value, gradient = both(primals[0], parts)
        return value, gradient @ tangents[0]

    return total


def _value_and_gradient(
    model: UnitModel,
) -> Callable[[jax.Array, Any], tuple[jax.Array, jax.Array]]:
    """Give a function of theta and the blocks: the log marginal density beside that at the centre, and its gradient.

    On a processor chains that step together take their turns. Units and their draws fill it, and together all chains
    would wait for the longest Newton iteration and take both sides of every condition: 1.6 times as long.
    """

    def both(theta: jax.Array, parts: Any) -> tuple[jax.Array, jax.Array]:
        def one(sums: Any, part: Any) -> tuple[Any, None]:
            block, start, base, key = part
            found = corrected_and_gradient(model, theta, start, block, key)
            # Where an integral is no number is out of what can be sampled.
            value = (found.by_unit - base).sum()
            value = jnp.where(jnp.isfinite(value), value, -jnp.inf)
            return jax.tree.map(jnp.add, sums, (value, found.gradient)), None

        zeros = jnp.zeros((), theta.dtype), jnp.zeros_like(theta)
        return jax.lax.scan(one, zeros, parts)[0]

    on_processor = jax.default_backend() == "cpu"
    return jax.custom_batching.sequential_vmap(both) if on_processor else both
