"""An iteration of a lane as one row of numbers: a block writes, and copies, one array instead of many."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck.sampler.lane import Ended, Lane
from scalecheck.sampler.nuts import Iterations

NUMBERS = 6  # of an iteration, before its position


def see(lane: Lane, ended: Ended) -> jax.Array:
    """Give the row `(n,)` of an iteration that a lane has just ended."""
    here = lane.tree.candidate
    rate = lane.accept / jnp.maximum(lane.n_steps, 1)
    numbers = (lane.n_steps, rate, here.energy, here.potential, ended.diverging, lane.step_size)
    return jnp.concatenate([jnp.stack([x.astype(here.z.dtype) for x in numbers]), here.z])


def write(buffer: jax.Array, row: jax.Array, room: jax.Array) -> jax.Array:
    """Write the row `(n,)` of one lane to a place, a scalar, of its buffer `(room, n)`; nowhere if there is none."""
    return buffer.at[room].set(row, mode="drop")


def unpack(rows: Any) -> Iterations:
    """Give rows `(..., n)` of a block the names that they have elsewhere."""
    n_steps, rate, energy, potential, diverging, size = np.moveaxis(rows[..., :NUMBERS], -1, 0)
    z = rows[..., NUMBERS:]
    return Iterations(
        z, n_steps.astype("int32"), rate, energy, potential, diverging.astype(bool), size
    )


def nothing(n_held: int, dtype: Any) -> Iterations:
    """Give no iterations of a lane of which so many coordinates are held, in their shapes: `(0, ...)`."""
    return unpack(np.zeros((0, NUMBERS + n_held), dtype))
