"""What one gradient of a fit costs."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from scalecheck import sampler
from scalecheck.model.batches import Batch
from scalecheck.model.reparam import Reparameterisation


def time_gradient(
    batch: Batch, moved: Reparameterisation, number: int, draws: sampler.Draws
) -> float:
    """Seconds of one gradient of one chain of a fit, the chains together and the rows padded as in sampling.

    NaN without draws.
    """
    held = draws.z[number]
    if held and not next(iter(held.values())).shape[1]:
        return float("nan")  # ended without a draw to take it at
    last = draws.last(number)
    if not last:
        return 0.0  # no parameters, no gradient
    arrays = jax.device_put(batch.arrays_of(number))
    return time_gradients(moved.potential, last, arrays) / len(next(iter(last.values())))


def time_gradients(
    potential: Callable[..., Any],
    z: Mapping[str, Any],
    arrays: Mapping[str, Any],
    least: float = 0.02,
    n_runs: int = 3,
) -> float:
    """Seconds that one gradient of every chain takes, all chains together; the best of some runs.

    Parameters
    ----------
    potential
        `arrays -> (sites -> potential energy)`.
    z
        Sites `(chain, ...)`.
    arrays
        Model argument -> `(rows, ...)`, which the chains share.
    least
        Seconds that a timed run takes at least: a single call would measure the dispatch.
    n_runs
        Runs that are timed: more of them find a moment without other work on the machine.
    """
    evaluate = sampler.evaluator(potential)

    def seconds_of(n_times: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready(evaluate(dict(z), dict(arrays), np.int32(n_times)))
        return time.perf_counter() - began

    n_times = 1
    seconds_of(n_times)  # compiles
    while (seconds := seconds_of(n_times)) < least:
        n_times *= 4
    return min(seconds, *(seconds_of(n_times) for _ in range(n_runs - 1))) / n_times


def gradient(moved: Reparameterisation) -> Callable[..., Any]:
    """Give `(z, arrays) -> gradient` of the potential, for all chains `(chain, ...)` of `z`."""
    return lambda z, arrays: jax.vmap(jax.grad(moved.potential(**arrays)))(z)
