"""The orders in which fits read the rows of a table: by arrival and at random.

Rows are numbered in 32 bits, and what is done to them is done block by block: an order takes 4 bytes per row, and
making one hardly more than a second one and a column.
"""

import numpy as np

from scalecheck.blocks import blocks
from scalecheck.sorting import sort_by_code, sort_by_value
from scalecheck.spool import Values, in_memory
from scalecheck.study import DataSettings
from scalecheck.table import Table

NDArray = np.ndarray


def all_rows(n_rows: int) -> NDArray:
    """Numbers of the rows of a table. `(rows,)`."""
    return np.arange(n_rows, dtype="uint32")


def arrival_order(table: Table, settings: DataSettings, seed: int) -> NDArray:
    """Rows by arrival, ties shuffled, units whole: a unit arrives with its first row. `(rows,)`."""
    rng = np.random.default_rng([seed, 1])
    # Expanded rows have no order inside the aggregated row they come from.
    when = table.row if settings.order is None else table.columns[settings.order].values
    rows = all_rows(table.n_rows)
    if settings.order or settings.expand:
        rng.shuffle(rows)
        rows = _inverse(rows)
        sort_by_value(rows, when)
    if settings.unit is None:
        return rows
    units = in_memory(table.columns[settings.unit].values)
    rank = _arrival_of_units(units, when, rng)
    sort_by_code(rows, lambda part: rank[units[part]], len(rank))
    return rows


def _inverse(rows: NDArray) -> NDArray:
    """Where each row stands in a permutation. `(rows,)`."""
    place = np.empty_like(rows)
    for part in blocks(len(rows)):
        place[rows[part]] = np.arange(part.start, part.stop)
    return place


def _arrival_of_units(units: NDArray, when: Values, rng: np.random.Generator) -> NDArray:
    """Which unit arrives first, by its first row, ties shuffled. `(units,)`."""
    last = np.inf if when.dtype.kind == "f" else np.iinfo(when.dtype).max
    first = np.full(int(units.max()) + 1, last, when.dtype)
    for part in blocks(len(units)):
        np.minimum.at(first, units[part], when[part])
    rank = np.empty(len(first), "int64")
    rank[np.lexsort((rng.permutation(len(first)), first))] = np.arange(len(first))
    return rank


def shuffle(rows: NDArray, units: NDArray | None, rng: np.random.Generator) -> None:
    """Put rows in a random order, in place, whole units side by side.

    Parameters
    ----------
    rows
        `(rows,)` numbers of rows.
    units
        `(all rows,)` codes of exchangeable units, if any.
    """
    rng.shuffle(rows)
    if units is None:
        return
    there = np.zeros(int(units.max()) + 1, bool)
    for part in blocks(len(rows)):
        there[units[rows[part]]] = True
    rank = np.zeros(len(there), "int64")
    rank[there] = rng.permutation(int(there.sum()))
    sort_by_code(rows, lambda part: rank[units[part]], len(rank))
