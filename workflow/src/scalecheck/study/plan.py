"""Which rows belong to which fit: subsets, levels of axes, increments."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scalecheck.errors import StudyError, did_you_mean
from scalecheck.files.formats import PlannedRow
from scalecheck.files.layout import slug
from scalecheck.study.settings import IncrementSettings, SubsetSettings

# With a step below the square root of the factor the drift test loses its level (docs/statistics.md: 38 % at
# a ratio of 1.05): such a last increment takes the place of the one before it.
_SHORTEST_LAST_STEP = 0.5


class Order(NamedTuple):
    """An order in which the store keeps rows.

    Attributes
    ----------
    unit_ends
        `(units,)` number of rows up to the end of each unit; None where rows are exchangeable.
    n_rows
        Rows in the order.
    file
        The table that they come from, for messages.
    """

    n_rows: int
    unit_ends: np.ndarray | None
    file: str


class Levels(NamedTuple):
    """The levels of an axis, in the order of the store: level by level, units whole within each.

    Attributes
    ----------
    labels
        One per level.
    orders
        One per level; their rows follow one another.
    """

    labels: Sequence[str]
    orders: Sequence[Order]


class Slice(NamedTuple):
    """Rows `start` to `stop` of an order of the store."""

    order: str
    start: int
    stop: int


@dataclasses.dataclass(frozen=True)
class PlannedFit(PlannedRow):
    """One row of plan.csv, and where its rows lie."""

    slices: tuple[Slice, ...]


def make_plan(
    arrival: Order,
    random: Order,
    axes: Mapping[str, Levels],
    subsets: SubsetSettings,
    increments: IncrementSettings,
    *,
    blocks: bool = False,
) -> list[PlannedFit]:
    """Plan every fit of a study.

    Parameters
    ----------
    arrival, random
        The two orders of all rows.
    axes
        Levels by axis.
    blocks
        Whether subsets are blocks of neighbours in the order of arrival, because rows continue each other; else they
        are random.

    Returns
    -------
    list of PlannedFit
        Subsets, then levels of each axis, then increments.

    Raises
    ------
    StudyError
        When the data are too small for the plan, or a unit is larger than a subset: the key, the
        rule, the table and the value.
    """
    plan = _plan_subsets(arrival if blocks else random, subsets, blocks=blocks)
    for axis, levels in axes.items():
        plan += _plan_axis(axis, levels, subsets)
    plan += _plan_increments(arrival if increments.order == "arrival" else random, increments)
    level_rows = {axis: [one.n_rows for one in levels.orders] for axis, levels in axes.items()}
    return locate(plan, [row.fit for row in plan], level_rows, increments.order)


def _plan_subsets(order: Order, settings: SubsetSettings, *, blocks: bool) -> list[PlannedRow]:
    """Cut an order into parts: the first ones of a random order; of that of arrival blocks all over it."""
    if not settings.count:
        return []
    if settings.size > order.n_rows:
        raise StudyError(
            f"subsets.size must be at most the {order.n_rows} rows of {order.file}, got {settings.size}"
        )
    _refuse_large_units(order, settings.size)
    n_parts = None if blocks else settings.count
    parts = list(itertools.islice(_parts(order, settings.size), n_parts))
    if len(parts) < settings.count:
        whole = "whole units with " if order.unit_ends is not None else ""
        raise StudyError(
            f"subsets.count must be at most {len(parts)} disjoint subsets of {whole}subsets.size"
            f" {settings.size} in the {order.n_rows} rows of {order.file}, got {settings.count}"
        )
    # Where a block lies depends on its number and not on their count, so that another count fits none anew.
    places = itertools.islice(_spread(len(parts)), settings.count) if blocks else range(len(parts))
    return [_subset(number, *parts[place], blocks) for number, place in enumerate(places, 1)]


def _subset(number: int, start: int, stop: int, is_block: bool) -> PlannedRow:
    name, rows = f"subset-{number:02d}", stop - start
    return PlannedRow(name, "subset", "", "", rows, rows, start=start if is_block else None)


def _parts(order: Order, size: int) -> Iterator[tuple[int, int]]:
    """Start and stop of disjoint parts of at least so many rows, one after the other."""
    start, stop = 0, _at_unit_end(order, size)
    while stop - start >= size:
        yield start, stop
        start, stop = stop, _at_unit_end(order, stop + size)


def _spread(n: int) -> Iterator[int]:
    """Give the numbers 0 to n - 1 so that the first ones of any count lie far apart (van der Corput's sequence)."""
    bits = max(1, (n - 1).bit_length())
    reversed_bits = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    seen: set[int] = set()
    for place in (one * n >> bits for one in reversed_bits):
        if place not in seen:
            seen.add(place)
            yield place


def _plan_axis(axis: str, levels: Levels, settings: SubsetSettings) -> list[PlannedRow]:
    """Fit the levels that have the rows of a subset: of the others the scores of an increment say as much."""
    plan: list[PlannedRow] = []
    name = slug(axis)
    for number, (label, order) in enumerate(zip(levels.labels, levels.orders, strict=True), 1):
        if order.n_rows >= settings.size:
            rows = _at_unit_end(order, settings.size)
            plan.append(PlannedRow(f"level-{name}-{number:02d}", "level", axis, label, rows, rows))
    return plan


def _plan_increments(order: Order, settings: IncrementSettings) -> list[PlannedRow]:
    plan: list[PlannedRow] = []
    before = 0
    for number, size in enumerate(increment_sizes(order, settings), 1):
        rows = _at_unit_end(order, size)
        if rows <= before:
            continue  # one large unit filled two increments
        name = f"increment-{number:02d}"
        plan.append(PlannedRow(name, "increment", "", "", rows, rows - before))
        before = rows
    return plan


def locate(
    plan: Sequence[PlannedRow],
    fits: Sequence[str],
    level_rows: Mapping[str, Sequence[int]],
    order: str,
) -> list[PlannedFit]:
    """Find fits in plan.csv, and the slices of the store that hold their rows.

    Parameters
    ----------
    plan
        The rows of plan.csv.
    fits
        Names, in any order.
    level_rows
        Rows of each level in the store, by axis.
    order
        `increments.order`.

    Raises
    ------
    StudyError
        When the plan has no such fit.
    """
    rows = {row.fit: row for row in plan}
    for fit in fits:
        if fit not in rows:
            raise StudyError(f"plan.csv has no fit {fit}{did_you_mean(fit, list(rows))}")
    slices = _slices(plan, level_rows, order)
    return [
        PlannedFit(**rows[fit].columns, start=rows[fit].start, slices=slices[fit]) for fit in fits
    ]


def _slices(
    plan: Sequence[PlannedRow], level_rows: Mapping[str, Sequence[int]], order: str
) -> dict[str, tuple[Slice, ...]]:
    """Where the rows of every fit lie: in one pass, for there may be ten thousand."""
    found: dict[str, tuple[Slice, ...]] = {}
    starts = {axis: np.cumsum([0, *rows]).tolist() for axis, rows in level_rows.items()}
    stop = 0
    for row in plan:
        axis, n_rows = row.axis, row.rows
        match row.kind:
            case "increment":
                found[row.fit] = (Slice(order, 0, n_rows),)
            case "subset" if row.start is not None:
                found[row.fit] = (Slice("arrival", row.start, row.start + n_rows),)
            case "subset":
                found[row.fit] = (Slice("random", stop, stop + n_rows),)
                stop += n_rows
            case "level" if axis in starts:
                # Levels with few rows have no fit: the name has the number among all.
                start = starts[axis][int(row.fit.rpartition("-")[2]) - 1]
                found[row.fit] = (Slice(f"axis/{axis}", start, start + n_rows),)
    return found


def increment_sizes(order: Order, settings: IncrementSettings) -> list[int]:
    """Rows of the increments: growing by the factor from `start`, the last one exactly at `end`.

    Raises
    ------
    StudyError
        When `start` or `end` does not fit the data.
    """
    start, factor, n_rows = settings.start, settings.factor, order.n_rows
    end = n_rows if settings.end == "all" else settings.end or min(32 * start, n_rows)
    if start > n_rows:
        raise StudyError(
            f"increments.start must be at most the {n_rows} rows of {order.file}, got {start}"
        )
    if not start <= end <= n_rows:
        raise StudyError(
            f"increments.end must be between increments.start {start} and the {n_rows} rows of {order.file}, got {end}"
        )
    sizes = [start]
    while (following := round(sizes[-1] * factor)) < end:
        if following == sizes[-1]:
            raise StudyError(
                f"increments.factor must add at least a row to increments.start {start}, got {factor:g}"
            )
        sizes.append(following)
    if end == sizes[-1]:
        return sizes
    if len(sizes) > 1 and end / sizes[-1] < factor**_SHORTEST_LAST_STEP:
        sizes.pop()
    return [*sizes, end]


def _at_unit_end(order: Order, rows: int) -> int:
    """Whole units are added until the size is reached."""
    ends = order.unit_ends
    if ends is None:
        return min(rows, order.n_rows)
    return int(ends[min(np.searchsorted(ends, rows), len(ends) - 1)])


def _refuse_large_units(order: Order, size: int) -> None:
    if order.unit_ends is None:
        return
    sizes = np.diff(order.unit_ends, prepend=0)
    if sizes.max() > size:
        raise StudyError(
            f"subsets.size must be at least the {sizes.max()} rows of the largest unit in {order.file}, got {size}"
        )
