"""Two kinds of table: a file that is open, whatever its format, and checked columns, in memory or on disk."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from scalecheck.data.disk_columns import Values
from scalecheck.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd  # the programs that only read the store do without

# Rows are numbered in 32 bits.
MOST_ROWS = 2**31 - 1

# No column may be called so: in a store these are what it knows besides.
RESERVED = ("__observation", "__row", "_unit_end")


class OpenTable(NamedTuple):
    """A file of rows that is open.

    Attributes
    ----------
    names
        Of its columns.
    n_rows
        Rows.
    pieces
        `names -> frames`: these columns, some rows at a time.
    written
        `name, rows -> texts`: what a file of text has in these rows of a column, counted from 1; None for others.
    """

    names: list[str]
    n_rows: int
    pieces: Callable[[Sequence[str]], Iterator["pd.DataFrame"]]
    written: Callable[[str, Sequence[int]], list[str]] | None = None


def refuse_twice(file: str, names: Sequence[str]) -> None:
    """Refuse a file that gives a column twice.

    Raises
    ------
    StudyError
        Names the file and the column.
    """
    for name, count in Counter(names).items():
        if count > 1:
            raise StudyError(f"{file}: the column {name} is given twice")


class Column(NamedTuple):
    """One checked column of a table.

    Attributes
    ----------
    values
        `(rows,)`: numbers, or integer codes of the labels.
    labels
        Label of each code; None for numbers.
    """

    values: Values
    labels: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class Table:
    """A checked table, one row per observation.

    Attributes
    ----------
    file
        Where it came from, for messages.
    columns
        By name; every one has the same rows.
    row
        `(rows,)` the row of the file, counted from 1, that each row stands in.
    dropped
        Rows left out, by reason.
    """

    file: str
    columns: Mapping[str, Column]
    row: Values
    dropped: Mapping[str, int]

    @property
    def n_rows(self) -> int:
        """Observations."""
        return len(self.row)
