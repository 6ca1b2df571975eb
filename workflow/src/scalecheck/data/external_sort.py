"""Stable sorts of row numbers, of which only a block is ever held beside the rows themselves.

`np.lexsort` of a hundred million rows takes 8 bytes per row, and as much again for each copy of a key.
"""

from collections.abc import Callable

import numpy as np

from scalecheck.data import disk_columns
from scalecheck.data.disk_columns import Values, in_memory

# Of a sample, between two edges: then hardly a range has twice its share of rows.
_PER_RANGE = 64


def sort_by_code(
    rows: np.ndarray, code_of: Callable[[np.ndarray], np.ndarray], n_codes: int
) -> None:
    """Sort in place by a whole number below `n_codes`: rows of one number stay as they were.

    Parameters
    ----------
    rows
        `(rows,)` numbers of rows.
    code_of
        Gives the number of each of some rows, `(some,)`.
    """
    place = np.zeros(n_codes + 1, "int64")
    for part in disk_columns.blocks(len(rows)):
        np.add.at(place, code_of(rows[part]) + 1, 1)
    np.cumsum(place, out=place)
    ordered = np.empty_like(rows)
    for part in disk_columns.blocks(len(rows)):
        # Two bytes are sorted faster than eight.
        codes = code_of(rows[part]).astype(np.min_scalar_type(n_codes))
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
        runs = np.flatnonzero(np.diff(codes, prepend=codes[:1] + 1))
        lengths = np.diff(runs, append=len(codes))
        within = np.arange(len(codes)) - np.repeat(runs, lengths)
        ordered[place[codes] + within] = rows[part][order]
        place[codes[runs]] += lengths
    rows[:] = ordered


def sort_by_value(rows: np.ndarray, values: Values) -> None:
    """Sort in place by a number: rows of equal numbers stay as they were.

    The rows are put into ranges of the number first, and each range is sorted by itself.

    Parameters
    ----------
    rows
        A permutation `(rows,)` of `0 ... len(values) - 1`.
    values
        `(rows,)`, without NaN.
    """
    ends = np.array([0, len(rows)])
    if len(rows) > disk_columns.BLOCK_ROWS:
        ends = _sort_into_ranges(rows, values, _edges(values))
    whole = in_memory(values)
    for start, end in zip(ends[::2], ends[1::2], strict=True):  # between them are edges
        part = rows[start:end]
        part[:] = part[np.argsort(whole[part], kind="stable")]


def _sort_into_ranges(rows: np.ndarray, values: Values, edges: np.ndarray) -> np.ndarray:
    """Sort rows in place by the range of their value; give where each begins and, after it, ends, `(2 ranges,)`."""
    n_ranges = 2 * len(edges) + 1
    sizes, ranges = np.zeros(n_ranges, "int64"), np.empty(len(values), np.min_scalar_type(n_ranges))
    for part in disk_columns.blocks(len(values)):
        ranges[part] = found = _range_of(values[part], edges)
        sizes += np.bincount(found, minlength=n_ranges)
    sort_by_code(rows, lambda part: ranges[part].astype("int64"), n_ranges)
    return np.append(0, np.cumsum(sizes))


def _edges(values: Values) -> np.ndarray:
    """Values between which there are about half a block of rows: quantiles of a sample."""
    n_ranges = 2 * len(values) // disk_columns.BLOCK_ROWS
    size = min(len(values), n_ranges * _PER_RANGE)
    # By chance, the same each time: every k-th row would see only some of the values that come in turn.
    chosen = np.sort(np.random.default_rng(0).integers(len(values), size=size))
    sample = [
        values[part][chosen[slice(*np.searchsorted(chosen, (part.start, part.stop)))] - part.start]
        for part in disk_columns.blocks(len(values))
    ]
    return np.unique(np.sort(np.concatenate(sample))[:: max(1, size // n_ranges)])


def _range_of(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Twice the number of smaller edges, and one more for an edge itself: much mass may be at one value."""
    smaller = np.searchsorted(edges, values)
    return 2 * smaller + (edges[np.minimum(smaller, len(edges) - 1)] == values)
