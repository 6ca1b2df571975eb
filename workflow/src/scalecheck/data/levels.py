"""Columns along which fits are compared, cut into levels."""

from typing import NamedTuple

import numpy as np

from scalecheck.data.disk_columns import Values, blocks, in_memory
from scalecheck.data.table import Table
from scalecheck.errors import StudyError


class Axis(NamedTuple):
    """An axis cut into levels.

    Attributes
    ----------
    labels
        One per level.
    cuts
        Of labels, `(labels,)` the level of each code, -1 where it belongs to none; of numbers, `(levels - 1,)`
        the last value of each level but the last.
    is_number
        Which of the two.
    """

    labels: tuple[str, ...]
    cuts: np.ndarray
    is_number: bool

    def level_of(self, values: np.ndarray) -> np.ndarray:
        """Levels of some values; -1 where they belong to none. `(rows,)`."""
        if self.is_number:
            return np.searchsorted(self.cuts, values, side="left")
        return self.cuts[values]


def cut_axis(table: Table, name: str, levels: int) -> Axis:
    """Cut a column into its most frequent categories, or quantile bins of a number.

    Raises
    ------
    StudyError
        When the column is constant, or no two rows are alike in it, so that it cannot be an axis.
    """
    column = table.columns[name]
    if column.labels is not None:
        return _cut_labels(table, name, column.values, column.labels, levels)
    ascending = in_memory(column.values)
    ascending += ascending.dtype.type(0)  # or a label might be -0
    ascending.sort()
    cut = cut_numbers(ascending, levels)
    if cut is None:
        raise _constant(table, name)
    return cut


def _cut_labels(
    table: Table, name: str, values: Values, labels: tuple[str, ...], levels: int
) -> Axis:
    sizes = np.zeros(len(labels), "int64")
    for rows in blocks(len(values)):
        np.add.at(sizes, values[rows], 1)
    if (sizes > 0).sum() < 2:
        raise _constant(table, name)
    if sizes.max() < 2:
        raise StudyError(
            f"{table.file}: column {name} has a label of its own in every row and cannot be one of data.axes"
        )
    # The most frequent, listed in the order of their labels.
    chosen = np.sort(np.argsort(-sizes, kind="stable")[: min(levels, int((sizes > 0).sum()))])
    level = np.full(len(labels), -1)
    level[chosen] = np.arange(len(chosen))
    return Axis(tuple(labels[code] for code in chosen), level, False)


def cut_numbers(ascending: np.ndarray, levels: int) -> Axis | None:
    """Cut numbers in ascending order `(rows,)` into quantile bins, so many at most; None where all are the same."""
    last = ascending[-1]
    if ascending[0] == last:
        return None
    distinct = _first_distinct(ascending, levels + 1)
    if len(distinct) <= levels:
        return Axis(_labels(distinct, distinct), distinct[:-1], True)
    # The inverse of the empirical distribution function.
    shares = np.arange(1, levels) / levels
    inner = ascending[np.ceil(np.maximum(len(ascending) * shares - 1, 0)).astype("int64")]
    # A value with much mass can be several quantiles at once: then there are fewer bins. The last
    # value closes the last bin, so it is no inner edge.
    inner = np.unique(inner[inner < last])
    if not len(inner):  # the last value has nearly all the mass
        inner = ascending[[np.searchsorted(ascending, last) - 1]]
    after = np.searchsorted(ascending, inner, side="right")
    low = ascending[np.append(0, after)]
    return Axis(_labels(low, ascending[np.append(after - 1, -1)]), inner, True)


def _first_distinct(ascending: np.ndarray, count: int) -> np.ndarray:
    """The smallest of the values that differ, so many at most."""
    found, at = [], 0
    while at < len(ascending) and len(found) < count:
        found.append(at)
        at = int(np.searchsorted(ascending, ascending[at], side="right"))
    return ascending[found]


def _labels(low: np.ndarray, high: np.ndarray) -> tuple[str, ...]:
    """First and last value of each level, with as few digits as tell the levels apart."""
    ends = list(zip(low.tolist(), high.tolist(), strict=True))
    if low.dtype.kind != "f":
        return tuple(f"{a}" if a == b else f"{a} to {b}" for a, b in ends)
    labels: tuple[str, ...] = ()
    for digits in (4, 6, 10, 17):
        labels = tuple(_range(a, b, digits) for a, b in ends)
        if len(set(labels)) == len(labels):
            break
    return labels


def _range(low: float, high: float, digits: int) -> str:
    """Both ends with so many digits, or with all they have where they would read the same."""
    if low == high:
        return f"{low:.{digits}g}"
    written = f"{low:.{digits}g}", f"{high:.{digits}g}"
    return " to ".join(written if written[0] != written[1] else (repr(low), repr(high)))


def _constant(table: Table, name: str) -> StudyError:
    column = table.columns[name]
    value = column.values[:1][0]
    value = column.labels[value] if column.labels else f"{value:g}"
    return StudyError(
        f"{table.file}: column {name} is {value} in every row and cannot be one of data.axes"
    )
