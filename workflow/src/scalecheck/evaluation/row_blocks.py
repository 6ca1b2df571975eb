"""Rows in blocks of one shape, so that what a model is asked of rows is compiled once, however many there are."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.model.rows import RowArrays, Rows, repeat_last

# Rows of a block; and rows times replicates that are held at a time, to stay in the cache.
ROWS_AT_ONCE = 1024
HELD = 2**17


class RowBlock(NamedTuple):
    """Neighbouring rows.

    Attributes
    ----------
    number
        Which block it is.
    arrays
        Model argument -> `(size, ...)`.
    rows
        Its rows among all.
    is_row
        `(size,)` False at the end, where the last row is repeated.
    """

    number: int
    arrays: RowArrays
    rows: slice
    is_row: Bool[np.ndarray, " size"]


class RowBlocks(NamedTuple):
    """All rows of a question.

    Attributes
    ----------
    blocks
        Of one shape each.
    counts
        Of the model, for a block.
    n_rows
        Number of rows.
    size
        Rows of a block.
    """

    blocks: tuple[RowBlock, ...]
    counts: dict[str, int]
    n_rows: int
    size: int

    def fill(self, values: Shaped[np.ndarray, " row *shape"]) -> Shaped[np.ndarray, " size *shape"]:
        """Bring what belongs to the rows of a block to its size: the last row is repeated."""
        return values if len(values) == self.size else repeat_last(values, self.size)

    @property
    def at_once(self) -> int:
        """Replicates that are asked about at a time."""
        return 2 ** (max(1, HELD // self.size).bit_length() - 1)


def blocks_of(likelihood: Likelihood, rows: Rows) -> RowBlocks:
    """Cut rows into blocks; into one, where the model has to see all of them."""
    size, counts = rows.n_rows, rows.counts
    if likelihood.has_separate_rows:
        size = ROWS_AT_ONCE
        counts = counts | ({"n_rows": size} if likelihood.model.n_rows else {})
    empty = RowBlocks((), counts, rows.n_rows, size)
    return empty._replace(blocks=tuple(_cut(rows, empty)))


def _cut(rows: Rows, blocks: RowBlocks) -> Iterator[RowBlock]:
    for number, start in enumerate(range(0, rows.n_rows, blocks.size)):
        own = slice(start, min(start + blocks.size, rows.n_rows))
        arrays = {name: blocks.fill(values[own]) for name, values in rows.arrays.items()}
        yield RowBlock(number, arrays, own, np.arange(blocks.size) < own.stop - start)
