"""How fast a device moves memory: the bound of a gradient that does nothing but read its data."""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp

# Larger than the caches of any device, small enough for its memory.
_BYTES = 512 * 2**20
_RUNS = 10


def measure_bandwidth(device: Any, size: int = _BYTES) -> float:
    """Bytes that a device reads and writes per second; the best of ten runs.

    An array is copied onto itself, negated: every element is read once and written once. Copied elsewhere, a
    processor would also wait for fresh pages, and read each line of the target before it is written.

    Parameters
    ----------
    device
        One of `jax.devices()`.
    size
        Bytes of the array.
    """
    values = _negate(jax.device_put(jnp.ones(size // 4, "float32"), device))
    seconds = []
    for _ in range(_RUNS):
        jax.block_until_ready(values)
        began = time.perf_counter()
        values = jax.block_until_ready(_negate(values))
        seconds.append(time.perf_counter() - began)
    return 2 * size / min(seconds)


@functools.partial(jax.jit, donate_argnums=0)
def _negate(values: jax.Array) -> jax.Array:
    return -values
