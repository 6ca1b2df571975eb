"""The orders in which fits read the rows of a table: by arrival, at random, along an axis."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scalecheck.errors import StudyError
from scalecheck.study import DataSettings

if TYPE_CHECKING:  # pandas, which reads tables, would cost every fit a second
    from scalecheck.data import Table

NDArray = np.ndarray


class Axis(NamedTuple):
    """An axis cut into levels.

    Attributes
    ----------
    labels
        One per level.
    level
        `(rows,)` level of each row; -1 where it belongs to none.
    """

    labels: tuple[str, ...]
    level: NDArray


def cut_axis(table: "Table", name: str, levels: int) -> Axis:
    """Cut a column into its most frequent categories, or quantile bins of a number.

    Raises
    ------
    StudyError
        When the column is constant, or no two rows are alike in it, so that it cannot be an axis.
    """
    column = table.columns[name]
    if column.labels is not None:
        sizes = np.bincount(column.values, minlength=len(column.labels))
        if (sizes > 0).sum() < 2:
            raise _constant(table, name)
        if sizes.max() < 2:
            raise StudyError(
                f"{table.file}: column {name} has a label of its own in every row and cannot be one of data.axes"
            )
        # The most frequent, listed in the order of their labels.
        chosen = np.sort(np.argsort(-sizes, kind="stable")[: min(levels, int((sizes > 0).sum()))])
        level = np.full(len(column.labels), -1)
        level[chosen] = np.arange(len(chosen))
        return Axis(tuple(column.labels[code] for code in chosen), level[column.values])
    distinct = np.unique(column.values)
    if len(distinct) < 2:
        raise _constant(table, name)
    if len(distinct) <= levels:
        return Axis(_labels(distinct, distinct), np.searchsorted(distinct, column.values))
    inner = np.quantile(column.values, np.arange(1, levels) / levels, method="inverted_cdf")
    # A value with much mass can be several quantiles at once: then there are fewer bins. The last
    # value closes the last bin, so it is no inner edge.
    inner = np.unique(inner[inner < distinct[-1]])
    if not len(inner):  # the last value has nearly all the mass
        inner = distinct[-2:-1]
    level = np.searchsorted(inner, column.values, side="left")
    first = np.flatnonzero(np.diff(np.searchsorted(inner, distinct, side="left"), prepend=-1))
    last = np.append(first[1:] - 1, len(distinct) - 1)
    return Axis(_labels(distinct[first], distinct[last]), level)


def _labels(low: NDArray, high: NDArray) -> tuple[str, ...]:
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


def _constant(table: "Table", name: str) -> StudyError:
    column = table.columns[name]
    value = column.labels[column.values[0]] if column.labels else f"{column.values[0]:g}"
    return StudyError(
        f"{table.file}: column {name} is {value} in every row and cannot be one of data.axes"
    )


def arrival_order(table: "Table", settings: DataSettings, seed: int) -> NDArray:
    """Rows by arrival, ties shuffled, units whole: a unit arrives with its first row. `(rows,)`."""
    rng = np.random.default_rng([seed, 1])
    if settings.order is None:
        # Expanded rows have no order inside the aggregated row they come from.
        when = table.row
    else:
        when = table.columns[settings.order].values
    tie = (
        rng.permutation(table.n_rows)
        if settings.order or settings.expand
        else np.arange(table.n_rows)
    )
    if settings.unit is None:
        return np.lexsort((tie, when))
    unit = table.columns[settings.unit].values
    n_units = int(unit.max()) + 1
    rank = np.unique(when, return_inverse=True)[1]
    first = np.full(n_units, np.iinfo("int64").max)
    np.minimum.at(first, unit, rank)
    unit_tie = rng.permutation(n_units)
    return np.lexsort((tie, when, unit_tie[unit], first[unit]))


def random_order(unit: NDArray | None, n_rows: int, rng: np.random.Generator) -> NDArray:
    """Rows at random, whole units side by side. `(rows,)`."""
    shuffled = rng.permutation(n_rows)
    if unit is None:
        return shuffled
    _, code = np.unique(unit, return_inverse=True)
    unit_rank = rng.permutation(int(code.max()) + 1)
    return shuffled[np.argsort(unit_rank[code[shuffled]], kind="stable")]
