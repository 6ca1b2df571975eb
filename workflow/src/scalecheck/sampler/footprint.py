"""What the program of a batch of lanes is compiled for, and how many bytes its lanes take."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from scalecheck.sampler.block_program import Plan
from scalecheck.sampler.metric import lay_out
from scalecheck.sampler.place_lanes import InitialAdaptation, Placement, place
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
    n_lanes: int,
    streams: Streams | None,
) -> Plan:
    """Lay out a batch by the data `(...)` of one fit and a start `(...)` of one chain, as shapes.

    Parameters
    ----------
    n_lanes
        That run at once.
    """
    d = sum(int(np.prod(one.shape)) for one in starts.values())
    room = int(np.clip(NUMBERS // (n_lanes * d), LEAST_ROOM, MOST_ROOM))
    flow, layout = Flow(streams, starts, arrays), lay_out(starts, settings.dense)
    return Plan(potential, flow, settings.max_tree_depth, settings.fisher, layout, room, steps)


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
    at_once: int,
) -> Footprint:
    """Say what the lanes of a batch take, by their shapes: data `(fit, ...)`, starts `(fit, chain, ...)`.

    Parameters
    ----------
    at_once
        Fits that run at once.
    """
    own, first = _without(arrays, 1), _without(starts, 2)
    n_lanes = at_once * next(iter(starts.values())).shape[1]
    plan = plan_of(potential, own, first, settings, 1, n_lanes, streams)
    dtype = jax.dtypes.canonicalize_dtype(next(iter(first.values())).dtype)
    stops = plan_warmup(settings, dtype).stops
    kind = Placement(plan.layout, settings.max_tree_depth, len(stops), plan.flow.moments)
    number = jax.ShapeDtypeStruct((1, 1), dtype)
    d = sum(int(np.prod(one.shape)) for one in first.values())
    z = {name: jax.ShapeDtypeStruct((1, 1, *x.shape), x.dtype) for name, x in first.items()}
    state = jax.eval_shape(
        functools.partial(place, kind),
        jax.ShapeDtypeStruct((1, 1, 2), "uint32"),
        InitialAdaptation(number, number, jax.ShapeDtypeStruct((1, 1, d), dtype)),
        z,
        number,
        z,
    )
    z = state.lane.front.z
    return Footprint(
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
        z.size * z.dtype.itemsize,
        len(plan.flow.places) * z.dtype.itemsize,
        plan.room,
    )


def _without(arrays: Mapping[str, Any], n_leading: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes without some leading dimensions."""
    return {
        name: jax.ShapeDtypeStruct(values.shape[n_leading:], values.dtype)
        for name, values in arrays.items()
    }
