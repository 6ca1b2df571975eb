"""A checked table, one row per observation, in memory or on disk."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from scalecheck.spool import Values

# Rows are numbered in 32 bits.
MOST_ROWS = 2**31 - 1

# No column may be called so: in a store these are what it knows besides.
RESERVED = ("__observation", "__row", "_unit_end")


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
