"""The compiled programs of lanes: batches of one shape share them, whatever their numbers, keys and warmup."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from scalecheck.sampler import block_program
from scalecheck.sampler.block_program import Plan
from scalecheck.sampler.footprint import plan_of
from scalecheck.sampler.streamed_draws import Streams
from scalecheck.sampler.types import Potential, Settings

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
        self.place = jax.jit(functools.partial(block_program.place, plan))
        self.init = jax.jit(functools.partial(block_program.init, plan))
        self._advance = jax.jit(functools.partial(block_program.advance, plan))
        self._compiled: dict[int, Any] = {}

    def advance(self, n_fits: int, *arguments: Any) -> Any:
        """Give the program that advances a block of so many fits, compiled for the shapes of its arguments."""
        if n_fits not in self._compiled:
            self._compiled[n_fits] = self._advance.lower(*arguments).compile()
        return self._compiled[n_fits]


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
    arrays, starts = (
        {name: jax.ShapeDtypeStruct(shape, dtype) for name, shape, dtype in shapes}
        for shapes in (of_arrays, of_starts)
    )
    return Programs(plan_of(potential, arrays, starts, settings, steps, n_lanes, streams))
