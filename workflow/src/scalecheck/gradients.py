"""What one gradient of a fit costs."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from scalecheck import density, sampler
from scalecheck.batches import Batch


def time_gradient(batch: Batch, number: int, draws: sampler.Draws, least: float = 0.02) -> float:
    """Seconds of one gradient of one chain, the chains together as in sampling; the best of three runs.

    Parameters
    ----------
    least
        Seconds that a timed run takes at least: a single call would measure the dispatch.
    """
    if not draws.z[number]:
        return 0.0  # no parameters, no gradient
    arrays = {name: jnp.asarray(values) for name, values in batch.own[number].items()}
    z = {name: jnp.asarray(values[:, -1]) for name, values in draws.z[number].items()}
    n_chains = len(next(iter(z.values())))
    repeat = _repeat_gradient(batch.function)
    n_times, seconds = 8, 0.0
    jax.block_until_ready(repeat(z, arrays, n_times))
    while seconds < least:
        n_times *= 4
        began = time.perf_counter()
        jax.block_until_ready(repeat(z, arrays, n_times))
        seconds = time.perf_counter() - began
    best = seconds
    for _ in range(2):
        began = time.perf_counter()
        jax.block_until_ready(repeat(z, arrays, n_times))
        best = min(best, time.perf_counter() - began)
    return best / n_times / n_chains


def _repeat_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    if function not in _repeaters:

        def repeat(z: Any, arrays: dict[str, jax.Array], n_times: jax.Array) -> Any:
            gradient = jax.vmap(jax.grad(density.potential(function)(**arrays)))
            # Each gradient needs the one before, or the loop would be hoisted; the step is too small to move.
            step = lambda _, z: jax.tree.map(lambda x, g: x - 1e-30 * g, z, gradient(z))  # noqa: E731
            return jax.lax.fori_loop(0, n_times, step, z)

        _repeaters[function] = jax.jit(repeat)
    return _repeaters[function]


_repeaters: dict[Callable[..., Any], Callable[..., Any]] = {}
