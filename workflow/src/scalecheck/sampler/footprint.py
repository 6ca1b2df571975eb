"""What the program of a batch of lanes is compiled for, and how many bytes its lanes take."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from scalecheck.sampler import block_program
from scalecheck.sampler.block_program import Plan
from scalecheck.sampler.metric import lay_out
from scalecheck.sampler.streamed_draws import Flow, Streams
from scalecheck.sampler.types import Potential, Settings
from scalecheck.sampler.warmup_adaptation import plan_warmup

# Iterations of a lane that a block has room for: what they hold is written once, and copied once.
MOST_ROOM, LEAST_ROOM, NUMBERS = 64, 4, 2**24


def plan_of(
    potential: Potential,
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: Settings,
    steps: int,
    streams: Streams | None,
) -> Plan:
    """Lay out a batch of fits with data `(fit, ...)` and starts `(fit, chain, ...)`; arguments as of `sample_lanes`."""
    first = {name: values[0, 0] for name, values in starts.items()}
    lanes = int(np.prod(next(iter(starts.values())).shape[:2]))
    d = sum(int(np.size(values)) for values in first.values())
    room = int(np.clip(NUMBERS // (lanes * d), LEAST_ROOM, MOST_ROOM))
    flow = Flow(streams, first, {name: values[0] for name, values in arrays.items()})
    layout = lay_out(first, settings.dense)
    return Plan(potential, flow, settings, layout, plan_warmup(settings), room, steps)


class Footprint(NamedTuple):
    """Bytes of lanes.

    Attributes
    ----------
    state
        Of one lane between two blocks.
    iteration
        Of what a block notes of one iteration of one lane.
    draw
        Of what is held of one draw of one lane.
    room
        Iterations of a lane that a block has room for.
    """

    state: int
    iteration: int
    draw: int
    room: int


def footprint(
    potential: Potential,
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: Settings,
    streams: Streams | None,
) -> Footprint:
    """Say what the lanes of a batch take, by their shapes: data `(fit, ...)`, starts `(fit, chain, ...)`."""
    plan = plan_of(potential, arrays, starts, settings, 1, streams)
    keys = jax.ShapeDtypeStruct((1, 1, 2), "uint32")
    one = lambda x, n: jax.ShapeDtypeStruct((*[1] * n, *x.shape[n:]), x.dtype)  # noqa: E731
    state = jax.eval_shape(
        lambda *parts: block_program.init(plan, *parts),
        keys,
        {name: one(values, 2) for name, values in starts.items()},
        {name: one(values, 1) for name, values in arrays.items()},
    )
    z = state.lane.front.z
    return Footprint(
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
        z.size * z.dtype.itemsize,
        len(plan.flow.places) * z.dtype.itemsize,
        plan.room,
    )
