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
    arrays: RowArrays, code_names: Sequence[str], row_mask: Shaped[np.ndarray, " row"] | None
) -> UnitOrder:
    """Sort rows `(rows, ...)` by unit, leaving out those that only pad a batch."""
    codes = arrays[code_names[0]]
    rows = np.argsort(codes, kind="stable")
    if row_mask is not None:
        rows = rows[row_mask[rows]]
    counts = np.bincount(codes[rows])
    return UnitOrder(rows, np.concatenate([[0], np.cumsum(counts)]))


def plan_blocks(order: UnitOrder, n_own: int) -> tuple[BlockShape, list[tuple[int, int]]]:
    """Cut units into runs that have few rows each: the shape that holds every one, and first and last unit of each."""
    most_rows = max(_NUMBERS // n_own, int(np.diff(order.ends).max()))
    runs: list[tuple[int, int]] = []
    first = 0
    while first < order.n_units:
        end = int(np.searchsorted(order.ends, order.ends[first] + most_rows, side="right")) - 1
        end = min(max(end, first + 1), first + _MOST_UNITS, order.n_units)
        runs.append((first, end))
        first = end
    n_rows = max(int(order.ends[end] - order.ends[first]) for first, end in runs)
    return BlockShape(n_rows, max(end - first for first, end in runs)), runs


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
    rows = order.rows[start:stop]
    part = {n: repeat_last(v[rows], shape.n_rows) for n, v in arrays.items() if n != "row_mask"}
    codes = (part[model.code_names[0]] - first).astype("int32")
    part |= dict.fromkeys(model.code_names, codes)
    part["row_mask"] = np.arange(shape.n_rows) < stop - start
    return UnitBlock(part, codes, np.arange(shape.n_units) < end - first)
