"""A block of loop steps of many lanes, as one compiled program."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from scalecheck.sampler import adaptation, lanes
from scalecheck.sampler.adaptation import Adaptation, Seen, Windows, where
from scalecheck.sampler.lanes import Ended, Lane
from scalecheck.sampler.metric import Layout, identity
from scalecheck.sampler.nuts import Iterations, Potential, Settings


class State(NamedTuple):
    """All lanes between two blocks; leading dims `(fit, chain)`."""

    lane: Lane
    adaptation: Adaptation


class Carry(NamedTuple):
    """What the loop of a block carries.

    Attributes
    ----------
    state
        All lanes.
    seen
        Iterations that ended in this block, `(fit, chain, room, ...)`, filled from the front.
    n_steps
        Steps of the loop so far.
    n_useful
        Leapfrogs of lanes that had something to do.
    """

    state: State
    seen: Iterations
    n_steps: jax.Array
    n_useful: jax.Array


class Plan(NamedTuple):
    """What a program is compiled for.

    Attributes
    ----------
    potential
        `arrays -> (z -> potential energy)`.
    unravel
        Flat vector -> sites.
    settings
        Of NUTS.
    layout
        Of the metric.
    windows
        Of warmup.
    room
        Iterations of a lane that a block has room for.
    """

    potential: Potential
    unravel: Callable[[jax.Array], Any]
    settings: Settings
    layout: Layout
    windows: Windows
    room: int

    def at(self, arrays: Mapping[str, Any]) -> lanes.ValueAndGrad:
        """Give potential and gradient of a flat vector."""
        potential = self.potential(**arrays)
        return jax.value_and_grad(lambda flat: potential(self.unravel(flat)))


def init(plan: Plan, keys: jax.Array, starts: Any, arrays: Mapping[str, Any]) -> State:
    """Place every lane at its start.

    Parameters
    ----------
    keys
        `(fit, chain, 2)`.
    starts
        Sites `(fit, chain, ...)`.
    arrays
        Data `(fit, ...)`.
    """

    def one(key: jax.Array, z: Any, arrays: Mapping[str, Any]) -> State:
        flat, _ = ravel_pytree(z)
        metric = identity(plan.layout, flat.dtype)
        lane = lanes.rest(key, flat, plan.at(arrays), metric, plan.settings.max_tree_depth)
        begun = adaptation.start(plan.layout, plan.windows, lane.step_size, len(flat))
        return State(lane, begun)

    return _over_lanes(one, 2)(keys, starts, dict(arrays))


def advance(
    plan: Plan, state: State, totals: jax.Array, most_steps: jax.Array, arrays: Mapping[str, Any]
) -> Carry:
    """Step all lanes until the block is full: so many steps, or one lane's room for iterations.

    Parameters
    ----------
    totals
        `(fit,)` iterations after which the chains of a fit rest.
    most_steps
        Steps of the loop.
    arrays
        Data `(fit, ...)`.
    """
    first = state.lane.iteration
    normals, coins = jax.vmap(jax.vmap(lambda lane: _momenta(plan, lane)))(state.lane)

    def is_live(lane: Lane) -> jax.Array:
        return lane.iteration < totals[:, None]

    def goes_on(carry: Carry) -> jax.Array:
        lane = carry.state.lane
        is_full = lane.is_fresh & (lane.iteration - first >= plan.room)
        live = is_live(lane)
        return (carry.n_steps < most_steps) & live.any() & ~(live & is_full).any()

    def one(
        lane: Lane,
        live: jax.Array,
        first: jax.Array,
        normals: jax.Array,
        coins: jax.Array,
        arrays: Any,
    ) -> tuple[Lane, Ended]:
        room = jnp.clip(lane.iteration - first, 0, plan.room - 1)
        moved, ended = lanes.step(
            lane, normals[room], coins[room], plan.at(arrays), plan.layout, symmetric=False
        )
        # A lane at rest keeps where its next iteration begins; all else is renewed when that does.
        kept = moved._replace(
            iteration=jnp.where(live, moved.iteration, lane.iteration),
            is_fresh=jnp.where(live, moved.is_fresh, lane.is_fresh),
            tree=where(live, moved.tree, lane.tree),
        )
        return kept, Ended(ended.iteration & live, ended.diverging & live)

    def body(carry: Carry) -> Carry:
        live = is_live(carry.state.lane)
        lane, ended = _over_lanes(one, 5)(
            carry.state.lane, live, first, normals, coins, dict(arrays)
        )
        state = _learn(plan, State(lane, carry.state.adaptation), ended)
        room = jnp.where(ended.iteration, lane.iteration - 1 - first, plan.room)
        seen = jax.vmap(jax.vmap(_write))(carry.seen, _see(state.lane, ended), room)
        return Carry(state, seen, carry.n_steps + 1, carry.n_useful + live.sum())

    zero = jnp.zeros((), jnp.int32)
    return lax.while_loop(goes_on, body, Carry(state, _empty(plan, state.lane), zero, zero))


def _over_lanes(function: Callable[..., Any], n_own: int) -> Callable[..., Any]:
    """Map over fits and chains; the last argument, the data, over fits only: chains share it."""
    chains = jax.vmap(function, (0,) * n_own + (None,))
    return jax.vmap(chains)


def _momenta(plan: Plan, lane: Lane) -> tuple[jax.Array, ...]:
    d, dtype = len(lane.front.z), lane.front.z.dtype
    iterations = lane.iteration + jnp.arange(plan.room, dtype=jnp.int32)
    return jax.vmap(lambda i: lanes.draw_momenta(lane.key, i, d, dtype))(iterations)


def _learn(plan: Plan, state: State, ended: Ended) -> State:
    """Adapt the lanes that ended an iteration of warmup; most steps, none did."""
    warmup = plan.settings.warmup
    if not warmup:
        return state
    learns = ended.iteration & (state.lane.iteration <= warmup)

    def one(state: State, learns: jax.Array) -> State:
        lane = state.lane
        here = lane.tree.candidate
        rate = lane.accept / jnp.maximum(lane.n_steps, 1)
        seen = Seen(lane.iteration - 1, rate, here.z, here.gradient)
        size, metric, learned = adaptation.update(
            plan.layout,
            plan.windows,
            seen,
            lane.metric,
            state.adaptation,
            plan.settings.target_accept,
        )
        adapted = lane._replace(
            step_size=jnp.where(learns, size, lane.step_size),
            metric=where(learns, metric, lane.metric),
        )
        return State(adapted, where(learns, learned, state.adaptation))

    every = lambda state: jax.vmap(jax.vmap(one))(state, learns)  # noqa: E731
    return lax.cond(learns.any(), every, lambda state: state, state)


def _see(lane: Lane, ended: Ended) -> Iterations:
    here = lane.tree.candidate
    rate = lane.accept / jnp.maximum(lane.n_steps, 1)
    return Iterations(
        here.z, lane.n_steps, rate, here.energy, here.potential, ended.diverging, lane.step_size
    )


def _empty(plan: Plan, lane: Lane) -> Iterations:
    nothing = _see(lane, Ended(lane.is_fresh, lane.is_fresh))
    return jax.tree.map(
        lambda x: jnp.zeros((*x.shape[:2], plan.room, *x.shape[2:]), x.dtype), nothing
    )


def _write(buffers: Iterations, values: Iterations, room: jax.Array) -> Iterations:
    """Write one iteration of one lane; nothing where there is no such place."""
    put = lambda buffer, value: buffer.at[room].set(value, mode="drop")  # noqa: E731
    return jax.tree.map(put, buffers, values)
