"""Potential and gradient of the chains of one fit: one program for starts, for placing lanes, and for timing."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool

from scalecheck.sampler.types import Potential


@functools.lru_cache(maxsize=16)
def evaluator(potential: Potential) -> Callable[..., Any]:
    """Give `(z, arrays, n_times) -> (potentials, gradients)`, compiled once for all fits of a shape.

    `z` has the sites `(chain, ...)`, `arrays` the data of one fit; the result has dims `(chain,)` and
    `(chain, ...)`. What is timed is evaluated many times, elsewhere `n_times` is 1.
    """

    def evaluate(z: Any, arrays: Any, n_times: jax.Array) -> Any:
        at = jax.vmap(jax.value_and_grad(potential(**arrays)))

        def again(_: Any, seen: Any) -> Any:
            # Each gradient needs the one before, or the loop would be hoisted; the step is too small to move.
            z = jax.tree.map(lambda x, g: x - 1e-30 * g, seen[0], seen[2])
            return z, *at(z)

        value, gradient = jax.eval_shape(at, z)
        nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (value, gradient))
        return lax.fori_loop(0, n_times, again, (z, *nothing))[1:]

    return jax.jit(evaluate)


def is_finite(
    potential: Potential, w: Mapping[str, Any], arrays: Mapping[str, Any]
) -> Bool[np.ndarray, " start"]:
    """Whether energy and gradient are finite at starts `(start, ...)` in the coordinates of the sampler."""
    found = evaluator(potential)(dict(w), dict(arrays), np.int32(1))
    parts = [np.isfinite(x).reshape(len(x), -1).all(1) for x in jax.tree.leaves(found)]
    return np.stack(parts).all(0)
