"""Rows of whole units in blocks of one shape: what is in memory at once, and what one program is compiled for."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.model.rows import RowArrays, repeat_last

# Rows times latent elements of a unit that a block has at most: its derivatives stay in a processor's cache.
_NUMBERS = 2**17
# A block has no more units than this, however few rows they have.
_MOST_UNITS = 4096


class UnitOrder(NamedTuple):
    """Rows sorted by unit.

    Attributes
    ----------
    rows
        `(rows,)` numbers of rows, those of a unit together.
    ends
        `(unit + 1,)` where each unit begins, and where the last one ends.
    """

    rows: Int[np.ndarray, " row"]
    ends: Int[np.ndarray, " end"]

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.ends) - 1


class BlockShape(NamedTuple):
    """Rows and units that every block is padded to."""

    n_rows: int
    n_units: int


def rows_by_unit(
    arrays: RowArrays,
    code_names: Sequence[str],
    row_mask: Shaped[np.ndarray, " row"] | None,
    n_units: int = 0,
) -> UnitOrder:
    """Sort rows `(rows, ...)` by unit, leaving out those that only pad a batch.

    Parameters
    ----------
    n_units
        Units that there are at least, be they without rows.
    """
    codes = arrays[code_names[0]]
    rows = np.argsort(codes, kind="stable")
    if row_mask is not None:
        rows = rows[row_mask[rows]]
    counts = np.bincount(codes[rows], minlength=n_units)
    return UnitOrder(rows, np.concatenate([[0], np.cumsum(counts)]))


Runs = list[tuple[int, int]]


def plan_blocks(orders: Sequence[UnitOrder], n_own: int) -> tuple[BlockShape, list[Runs]]:
    """Cut the units of each of some fits into runs that have few rows each.

    Returns
    -------
    tuple
        The shape that holds every run, and first and last unit of the runs of each fit. All fits have as many; the
        last runs of some are of no unit.
    """
    longest = max(int(np.diff(order.ends).max()) for order in orders)
    runs = [_runs(order, max(_NUMBERS // n_own, longest)) for order in orders]
    most = max(map(len, runs))
    runs = [own + [(own[-1][1], own[-1][1])] * (most - len(own)) for own in runs]
    each = [(order, run) for order, own in zip(orders, runs, strict=True) for run in own]
    n_rows = max(int(order.ends[end] - order.ends[first]) for order, (first, end) in each)
    return BlockShape(n_rows, max(end - first for _, (first, end) in each)), runs


def _runs(order: UnitOrder, most_rows: int) -> Runs:
    runs: Runs = []
    first = 0
    while first < order.n_units:
        end = int(np.searchsorted(order.ends, order.ends[first] + most_rows, side="right")) - 1
        end = min(max(end, first + 1), first + _MOST_UNITS, order.n_units)
        runs.append((first, end))
        first = end
    return runs


def block_of(
    model: UnitModel,
    arrays: Mapping[str, Shaped[np.ndarray, "row ..."]],
    order: UnitOrder,
    first: int,
    end: int,
    shape: BlockShape | None = None,
) -> UnitBlock:
    """Take the rows of units `first` to `end`, padded to a shape; to no more than they are without one."""
    start, stop = int(order.ends[first]), int(order.ends[end])
    shape = shape or BlockShape(stop - start, end - first)
    # A run of no unit has a row of another, masked.
    rows = order.rows[start:stop] if stop > start else order.rows[:1]
    part = {n: repeat_last(v[rows], shape.n_rows) for n, v in arrays.items() if n != "row_mask"}
    codes = np.maximum(part[model.code_names[0]] - first, 0).astype("int32")
    part |= dict.fromkeys(model.code_names, codes)
    part["row_mask"] = np.arange(shape.n_rows) < stop - start
    counts = np.bincount(codes[part["row_mask"]], minlength=shape.n_units)
    return UnitBlock(part, codes, counts > 0)
