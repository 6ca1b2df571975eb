"""The orders in which fits read the rows of a table: by arrival and at random.

Rows are numbered in 32 bits, and what is done to them is done block by block: an order takes 4 bytes per row, and
making one hardly more than a second one and a column.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from scalecheck.data.disk_columns import Values, blocks, in_memory
from scalecheck.data.external_sort import sort_by_code, sort_by_value
from scalecheck.data.levels import Axis
from scalecheck.data.table import Table
from scalecheck.study.plan import Levels, Order
from scalecheck.study.settings import DataSettings


class OrderedTable(NamedTuple):
    """A table in one of the orders in which fits read it.

    Attributes
    ----------
    order
        `arrival`, `random` or `axis/<name>`.
    rows
        `(rows,)` numbers of the table's rows.
    unit_ends
        `(units,)` rows up to the end of each unit; None where rows are exchangeable.
    levels
        Of an axis: labels, rows and units of its levels, which follow one another; else None.
    """

    order: str
    rows: np.ndarray
    unit_ends: np.ndarray | None
    levels: dict[str, list[Any]] | None


def order_table(
    table: Table, settings: DataSettings, axes: Mapping[str, Axis], seed: int
) -> Iterator[OrderedTable]:
    """Put a table into its orders, of which only one needs to be kept at a time.

    Parameters
    ----------
    settings
        The section `data` of the study.
    axes
        How each axis is cut.
    seed
        Determines what is random in them.
    """
    column = table.columns[settings.unit].values if settings.unit else None
    yield _whole("arrival", arrival_order(table, settings, seed), _units(column))
    yield _random(table.n_rows, _units(column), np.random.default_rng([seed, 2]))
    for number, (name, axis) in enumerate(axes.items()):
        rng = np.random.default_rng([seed, 3, number])
        yield _along(name, axis, table.columns[name].values, _units(column), rng)


def _units(column: Values | None) -> np.ndarray | None:
    """Read the units anew for every order: while one is written they would be held for nothing."""
    return None if column is None else in_memory(column)


def _whole(order: str, rows: np.ndarray, units: np.ndarray | None) -> OrderedTable:
    return OrderedTable(order, rows, _unit_ends(units, rows), None)


def arrival_order(table: Table, settings: DataSettings, seed: int) -> np.ndarray:
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


def _inverse(rows: np.ndarray) -> np.ndarray:
    """Where each row stands in a permutation. `(rows,)`."""
    place = np.empty_like(rows)
    for part in blocks(len(rows)):
        place[rows[part]] = np.arange(part.start, part.stop)
    return place


def _arrival_of_units(units: np.ndarray, when: Values, rng: np.random.Generator) -> np.ndarray:
    """Which unit arrives first, by its first row, ties shuffled. `(units,)`."""
    last = np.inf if when.dtype.kind == "f" else np.iinfo(when.dtype).max
    first = np.full(int(units.max()) + 1, last, when.dtype)
    for part in blocks(len(units)):
        np.minimum.at(first, units[part], when[part])
    rank = np.empty(len(first), "int64")
    rank[np.lexsort((rng.permutation(len(first)), first))] = np.arange(len(first))
    return rank


def _random(n_rows: int, units: np.ndarray | None, rng: np.random.Generator) -> OrderedTable:
    rows = all_rows(n_rows)
    shuffle_rows(rows, units, rng)
    return _whole("random", rows, units)


def shuffle_rows(rows: np.ndarray, units: np.ndarray | None, rng: np.random.Generator) -> None:
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


def _along(
    name: str, axis: Axis, values: Values, units: np.ndarray | None, rng: np.random.Generator
) -> OrderedTable:
    """Level by level, at random within each."""
    rows, sizes = _sort_into_levels(axis, values)
    parts = np.split(rows, np.cumsum(sizes)[:-1])  # views, which are shuffled in place
    for part in parts:
        shuffle_rows(part, units, rng)
    ends = [found for part in parts if (found := _unit_ends(units, part)) is not None]
    n_units = [len(found) for found in ends]
    levels = {"labels": list(axis.labels), "rows": sizes.tolist(), "units": n_units}
    return OrderedTable(f"axis/{name}", rows, np.concatenate(ends) if ends else None, levels)


def _sort_into_levels(axis: Axis, values: Values) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each level one after the other `(rows,)`, and how many it has `(levels,)`."""
    n_levels = len(axis.labels)
    # Rows without a level come first.
    place, sizes = np.empty(len(values), np.min_scalar_type(n_levels)), np.zeros(n_levels + 1, int)
    for part in blocks(len(values)):
        place[part] = found = axis.level_of(values[part]) + 1
        sizes += np.bincount(found, minlength=n_levels + 1)
    rows = all_rows(len(values))
    sort_by_code(rows, lambda part: place[part].astype("int64"), n_levels + 1)
    return rows[sizes[0] :], sizes[1:]


def _unit_ends(units: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    if units is None:
        return None
    changes = [
        part.start + 1 + np.flatnonzero(np.diff(units[rows[part.start : part.stop + 1]]))
        for part in blocks(len(rows))
    ]
    return np.append(np.concatenate(changes), len(rows))


def all_rows(n_rows: int) -> np.ndarray:
    """Numbers of the rows of a table. `(rows,)`."""
    return np.arange(n_rows, dtype="uint32")


def plan_orders(
    n_rows: int,
    unit_ends: Mapping[str, np.ndarray | None],
    axes: Mapping[str, Mapping[str, list[Any]]],
    file: str,
) -> tuple[Order, Order, dict[str, Levels]]:
    """Give what the plan needs: the orders by arrival and at random, and the levels of each axis.

    Parameters
    ----------
    unit_ends
        By order, `(units,)` or None, as in `OrderedTable`.
    axes
        Levels by axis, as in `OrderedTable`.
    file
        The table, for messages.
    """
    levels: dict[str, Levels] = {}
    for name, axis in axes.items():
        ends = unit_ends[f"axis/{name}"]
        cuts = np.cumsum(axis["units"])[:-1]
        parts = np.split(ends, cuts) if ends is not None else [None] * len(axis["rows"])
        orders = [Order(rows, part, file) for rows, part in zip(axis["rows"], parts, strict=True)]
        levels[name] = Levels(axis["labels"], orders)
    arrival, random = (Order(n_rows, unit_ends[name], file) for name in ("arrival", "random"))
    return arrival, random, levels
