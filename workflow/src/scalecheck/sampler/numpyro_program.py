"""NumPyro's own NUTS transition, compiled once per shape and driven in blocks.

The draws of a fit are those of `MCMC.run` with the same key and starts, bit for bit: `hmc()` gives
the two functions that `NUTS.init` and `NUTS.sample` call. (Starts with their potential: `MCMC`
computes that op by op, and one compiled program can differ from it in the last bit.) What differs is that the data are
arguments of the program, so that every data set of a shape runs in the same one, and that the host
sees the chains between blocks.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int, UInt32
from numpyro.infer.hmc import HMCState, hmc

from scalecheck.sampler.types import Iterations, Potential, Settings


class Program(NamedTuple):
    """Two compiled functions for one shape of data.

    Attributes
    ----------
    init
        `(keys (fit, chain), starts (fit, chain, ...), arrays (fit, ...)) -> state`.
    advance
        `(state, arrays, n (fit,)) -> state, Iterations`, of which the first n of each fit are filled.
    """

    init: Callable[..., Any]
    advance: Callable[..., Any]


def build(
    potential: Potential, settings: Settings, block: int, fits_at_once: int | None
) -> tuple[Callable[..., HMCState], Callable[..., Any]]:
    """Write the two functions that `compile_program` compiles.

    Parameters
    ----------
    potential
        `arrays -> (z -> potential energy)`.
    block
        Iterations that the buffers of a block hold.
    fits_at_once
        Fits that advance together under `vmap`; None for all. One at a time, the chains of a fit
        wait only for each other, and its draws do not depend on what else is in the batch.
    """
    init_kernel, sample_kernel = hmc(potential_fn_gen=potential, algo="NUTS")

    def start(key: UInt32[Array, "2"], z: Any, arrays: Mapping[str, Any]) -> HMCState:
        return init_kernel(
            z,
            settings.warmup,
            dense_mass=list(settings.dense),
            target_accept_prob=settings.target_accept,
            max_tree_depth=settings.max_tree_depth,
            model_kwargs=dict(arrays),
            # NUTS.init splits the key first; its other half finds starts, which are given here.
            rng_key=jax.random.split(key)[0],
        )

    def start_fit(fit: tuple[UInt32[Array, "chain 2"], Any, Any]) -> HMCState:
        keys, starts, arrays = fit
        return jax.vmap(start, (0, 0, None))(keys, starts, arrays)

    def init(keys: UInt32[Array, "fit chain 2"], starts: Any, arrays: Any) -> HMCState:
        return lax.map(start_fit, (keys, starts, arrays))

    def advance_fit(
        state: HMCState, arrays: Any, n_iterations: Int[Array, ""]
    ) -> tuple[HMCState, Iterations]:
        transition = jax.vmap(lambda one: sample_kernel(one, (), dict(arrays)))
        buffers = jax.tree.map(
            lambda seen: jnp.zeros((block, *seen.shape), seen.dtype), _see(state)
        )

        def iterate(
            i: Int[Array, ""], carry: tuple[HMCState, Iterations]
        ) -> tuple[HMCState, Iterations]:
            state = transition(carry[0])
            write = lambda buffer, seen: lax.dynamic_update_index_in_dim(buffer, seen, i, 0)  # noqa: E731
            return state, jax.tree.map(write, carry[1], _see(state))

        return lax.fori_loop(0, n_iterations, iterate, (state, buffers))

    def advance(
        state: HMCState, arrays: Any, n_iterations: Int[Array, " fit"]
    ) -> tuple[HMCState, Iterations]:
        if fits_at_once is None:
            return jax.vmap(advance_fit)(state, arrays, n_iterations)
        batch_size = None if fits_at_once == 1 else fits_at_once
        one = lambda fit: advance_fit(*fit)  # noqa: E731
        return lax.map(one, (state, arrays, n_iterations), batch_size=batch_size)

    return init, advance


def _see(state: HMCState) -> Iterations:
    return Iterations(
        state.z,
        state.num_steps,
        state.accept_prob,
        state.energy,
        state.potential_energy,
        state.diverging,
        state.adapt_state.step_size,
    )


def compile_program(
    potential: Potential,
    settings: Settings,
    keys: UInt32[Array, "fit chain 2"],
    starts: Any,
    arrays: Any,
    *,
    block: int,
    fits_at_once: int | None = None,
) -> Program:
    """Compile for one shape of data: once per shape, also across processes by JAX's persistent cache."""
    init, advance = build(potential, settings, block, fits_at_once)
    compiled_init = jax.jit(init).lower(keys, starts, arrays).compile()
    state = jax.eval_shape(init, keys, starts, arrays)
    n_iterations = jax.ShapeDtypeStruct((len(keys),), jnp.int32)
    # The state is not donated: the next block starts from the very arrays that a checkpoint keeps.
    return Program(compiled_init, jax.jit(advance).lower(state, arrays, n_iterations).compile())
