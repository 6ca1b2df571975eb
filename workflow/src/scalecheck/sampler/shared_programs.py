"""The compiled programs of lanes: batches of one shape share them, whatever their numbers, keys and warmup."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from scalecheck.sampler import block_program, place_lanes
from scalecheck.sampler.block_program import Plan
from scalecheck.sampler.evaluate import evaluator
from scalecheck.sampler.footprint import plan_of
from scalecheck.sampler.metric import lay_out
from scalecheck.sampler.place_lanes import Placement, State
from scalecheck.sampler.streamed_draws import MomentSizes, Streams
from scalecheck.sampler.types import Potential, Settings
from scalecheck.sampler.warmup_adaptation import Warmup

Shapes = tuple[tuple[str, tuple[int, ...], Any], ...]

# Potentials and layouts whose programs are kept. A study has one potential, and a layout for each size of fits.
_KEPT = 16


class Programs:
    """The programs of one plan.

    Parameters
    ----------
    plan
        What they are compiled for, beside the shapes of what they take.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.evaluate = evaluator(plan.potential)
        self._advance = jax.jit(functools.partial(block_program.advance, plan))
        self._compiled: dict[tuple[int, int], Any] = {}

    def advance(self, n_fits: int, warmup: Warmup, *arguments: Any) -> Any:
        """Give the program that advances a block of so many fits, compiled for the shapes of its arguments."""
        sizes = n_fits, len(warmup.stops)
        if sizes not in self._compiled:
            self._compiled[sizes] = self._advance.lower(warmup, *arguments).compile()
        return self._compiled[sizes]


class Placing(NamedTuple):
    """The programs that place lanes.

    Attributes
    ----------
    fits, chains
        Under a key of each fit, and under one of each chain.
    """

    fits: Callable[..., State]
    chains: Callable[..., State]


def placing_for(
    starts: Mapping[str, Any], settings: Settings, n_windows: int, moments: MomentSizes | None
) -> Placing:
    """Give what places lanes at starts `(fit, chain, ...)`: the same for fits of any rows."""
    return _placing(_shapes(starts, 2), settings.dense, settings.max_tree_depth, n_windows, moments)


@functools.lru_cache(maxsize=_KEPT)
def _placing(
    of_starts: Shapes,
    dense: tuple[tuple[str, ...], ...],
    max_tree_depth: int,
    n_windows: int,
    moments: MomentSizes | None,
) -> Placing:
    layout = lay_out(_structs(of_starts), dense)
    kind = Placement(layout, max_tree_depth, n_windows, moments)
    programs = (place_lanes.place_fits, place_lanes.place)
    return Placing(*(jax.jit(functools.partial(program, kind)) for program in programs))


def programs_for(
    potential: Potential,
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: Settings,
    steps: int,
    n_fits: int,
    streams: Streams | None,
) -> Programs:
    """Give the programs of a batch of which so many fits run at once; arguments as of `sample_lanes`."""
    # Of the settings all but what is an argument of the programs.
    like = Settings(0, 0.0, settings.max_tree_depth, settings.dense, settings.fisher)
    shapes = _shapes(arrays, 1), _shapes(starts, 2)
    n_chains = next(iter(starts.values())).shape[1]
    return _programs(potential, *shapes, like, steps, n_fits * n_chains, streams)


def _shapes(arrays: Mapping[str, Any], n_leading: int) -> Shapes:
    """Names, shapes and types without some leading dimensions, sorted by name."""
    return tuple(
        (name, tuple(values.shape[n_leading:]), np.dtype(values.dtype))
        for name, values in sorted(arrays.items())
    )


def _structs(shapes: Shapes) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape, dtype in shapes}


@functools.lru_cache(maxsize=_KEPT)
def _programs(
    potential: Potential,
    of_arrays: Shapes,
    of_starts: Shapes,
    settings: Settings,
    steps: int,
    n_lanes: int,
    streams: Streams | None,
) -> Programs:
    arrays, starts = _structs(of_arrays), _structs(of_starts)
    return Programs(plan_of(potential, arrays, starts, settings, steps, n_lanes, streams))
