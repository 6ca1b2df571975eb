"""A block of loop steps of many lanes, as one compiled program."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from scalecheck.sampler import lane_state, nuts_step, warmup_adaptation
from scalecheck.sampler.lane_state import Ended, Lane, ValueAndGrad
from scalecheck.sampler.metric import Layout
from scalecheck.sampler.place_lanes import State
from scalecheck.sampler.streamed_draws import Flow
from scalecheck.sampler.types import Count, Flag, Potential
from scalecheck.sampler.warmup_adaptation import EndedIteration, Warmup, where


class Carry(NamedTuple):
    """What the loop of a block carries.

    Attributes
    ----------
    state
        All lanes.
    seen
        Iterations that ended in this block, `(fit, chain, room, n)`, filled from the front: one row of
        numbers each, for writing many small arrays takes longer than one. After the block only the
        coordinates that are held.
    n_steps
        Steps of the loop so far.
    n_useful
        Leapfrogs of lanes that had something to do.
    """

    state: State
    seen: Float[Array, "fit chain room n"]
    n_steps: Count
    n_useful: Count


class Plan(NamedTuple):
    """What a program is compiled for.

    Attributes
    ----------
    potential
        `arrays -> (z -> potential energy)`.
    flow
        How flat vectors are split into sites, and what becomes of draws.
    max_tree_depth, fisher
        As of `Settings`.
    layout
        Of the metric.
    room, steps
        Iterations of a lane, and steps of the loop, that a block has room for.
    """

    potential: Potential
    flow: Flow
    max_tree_depth: int
    fisher: bool
    layout: Layout
    room: int
    steps: int

    def at(self, arrays: Mapping[str, Any]) -> ValueAndGrad:
        """Give potential and gradient of a flat vector."""
        potential = self.potential(**arrays)
        return jax.value_and_grad(lambda flat: potential(self.flow.unravel(flat)))


def advance(
    plan: Plan,
    warmup: Warmup,
    state: State,
    totals: Int[Array, " fit"],
    limits: Int[Array, "fit chain"],
    most_steps: Count,
    arrays: Mapping[str, Any],
) -> Carry:
    """Step all lanes until the block is full, of steps or of one lane's iterations, or until a fit is done.

    What the host does when a fit is done it then does at the same step however steps are cut into
    blocks: fewer lanes make another program, which may round otherwise.

    Parameters
    ----------
    totals
        `(fit,)` iterations after which the chains of a fit rest.
    limits
        `(fit, chain)` leapfrogs after which a chain does, in the middle of a trajectory.
    most_steps
        Steps of the loop, up to those that there is room for.
    arrays
        Data `(fit, ...)`.
    """
    first = state.lane.iteration
    normals, coins = jax.vmap(jax.vmap(lambda lane: _momenta(plan, lane)))(state.lane)
    uniforms = _uniforms(plan, state.lane)

    def is_live(lane: Lane) -> Bool[Array, "fit chain"]:
        return (lane.iteration < totals[:, None]) & (lane.leapfrogs < limits)

    running = is_live(state.lane).any(axis=1)
    most_steps = jnp.minimum(most_steps, plan.steps)

    def goes_on(carry: Carry) -> Flag:
        lane = carry.state.lane
        is_full = lane.is_fresh & (lane.iteration - first >= plan.room)
        live = is_live(lane)
        none_ended = (live.any(axis=1) == running).all() & running.any()
        return (carry.n_steps < most_steps) & none_ended & ~(live & is_full).any()

    def one(
        lane: Lane,
        live: Flag,
        first: Count,
        normals: Float[Array, "room d"],
        coins: UInt32[Array, " room"],
        uniforms: Float[Array, "2"],
        arrays: Any,
    ) -> tuple[Lane, Ended]:
        room = jnp.clip(lane.iteration - first, 0, plan.room - 1)
        moved, ended = nuts_step.step(
            lane,
            nuts_step.Randomness(normals[room], coins[room], uniforms[0], uniforms[1]),
            plan.at(arrays),
            plan.layout,
            symmetric=plan.fisher,
        )
        # A lane at rest keeps where its next iteration begins; all else is renewed when that does.
        kept = moved._replace(
            iteration=jnp.where(live, moved.iteration, lane.iteration),
            leapfrogs=jnp.where(live, moved.leapfrogs, lane.leapfrogs),
            is_fresh=jnp.where(live, moved.is_fresh, lane.is_fresh),
            tree=where(live, moved.tree, lane.tree),
        )
        return kept, Ended(ended.iteration & live, ended.diverging & live)

    def body(carry: Carry) -> Carry:
        live = is_live(carry.state.lane)
        lane, ended = _over_lanes(one, 6)(
            carry.state.lane, live, first, normals, coins, uniforms[carry.n_steps], dict(arrays)
        )
        state = _learn(plan, warmup, carry.state._replace(lane=lane), ended)
        room = jnp.where(ended.iteration, lane.iteration - 1 - first, plan.room)
        ends = jax.vmap(jax.vmap(lane_state.see))(state.lane, ended)
        seen = jax.vmap(jax.vmap(lane_state.write))(carry.seen, ends, room)
        return Carry(state, seen, carry.n_steps + 1, carry.n_useful + live.sum(dtype=jnp.int32))

    zero, z = jnp.zeros((), jnp.int32), state.lane.front.z
    empty = jnp.zeros((*z.shape[:2], plan.room, lane_state.NUMBERS + z.shape[2]), z.dtype)
    done = lax.while_loop(goes_on, body, Carry(state, empty, zero, zero))
    return _stream(plan, warmup, done, first, arrays)


def _stream(
    plan: Plan,
    warmup: Warmup,
    done: Carry,
    first: Int[Array, "fit chain"],
    arrays: Mapping[str, Any],
) -> Carry:
    """Fold the draws of a block, which began with the iterations `(fit, chain)`, into the moments."""
    if done.state.streamed is None:
        return done
    begins = jnp.maximum(jnp.asarray(warmup.stops)[-1] - first, 0)
    stop = done.state.lane.iteration - first
    seen, flow = done.seen, plan.flow
    streamed = flow.fold(done.state.streamed, seen[..., lane_state.NUMBERS :], begins, stop, arrays)
    held = jnp.concatenate([np.arange(lane_state.NUMBERS), lane_state.NUMBERS + flow.places])
    return done._replace(state=done.state._replace(streamed=streamed), seen=seen[..., held])


def _over_lanes(function: Callable[..., Any], n_own: int) -> Callable[..., Any]:
    """Map over fits and chains; the last argument, the data, over fits only: chains share it."""
    chains = jax.vmap(function, (0,) * n_own + (None,))
    return jax.vmap(chains)


def _momenta(plan: Plan, lane: Lane) -> tuple[Float[Array, "room d"], UInt32[Array, " room"]]:
    d, dtype = len(lane.front.z), lane.front.z.dtype
    iterations = lane.iteration + jnp.arange(plan.room, dtype=jnp.int32)
    return jax.vmap(lambda i: nuts_step.draw_momenta(lane.key, i, d, dtype))(iterations)


def _uniforms(plan: Plan, lane: Lane) -> Float[Array, "step fit chain 2"]:
    """`(step, fit, chain, 2)`: lanes that are live at a step were so at all before."""
    draw = jax.vmap(jax.vmap(lambda key, n: nuts_step.draw_uniforms(key, n, lane.front.z.dtype)))
    leapfrogs = lane.leapfrogs[..., None] + jnp.arange(plan.steps, dtype=jnp.int32)
    return jnp.moveaxis(draw(lane.key, leapfrogs), 2, 0)


def _learn(plan: Plan, warmup: Warmup, state: State, ended: Ended) -> State:
    """Adapt the lanes that ended an iteration of warmup; most steps, none did."""
    learns = ended.iteration & (state.lane.iteration <= jnp.asarray(warmup.stops)[-1])

    def one(state: State, learns: Flag) -> State:
        lane = state.lane
        here = lane.tree.candidate
        rate = lane.accept / jnp.maximum(lane.n_steps, 1)
        seen = EndedIteration(lane.iteration - 1, rate, here.z, here.gradient)
        size, metric, learned = warmup_adaptation.update(
            plan.layout, warmup, seen, lane.metric, state.adaptation, fisher=plan.fisher
        )
        adapted = lane._replace(
            step_size=jnp.where(learns, size, lane.step_size),
            metric=where(learns, metric, lane.metric),
        )
        return state._replace(lane=adapted, adaptation=where(learns, learned, state.adaptation))

    every = lambda state: jax.vmap(jax.vmap(one))(state, learns)  # noqa: E731
    return lax.cond(learns.any(), every, lambda state: state, state)
