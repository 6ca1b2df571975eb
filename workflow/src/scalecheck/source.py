"""A table that is open, whatever its format."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd


class Source(NamedTuple):
    """A table that is open.

    Attributes
    ----------
    names
        Of its columns.
    n_rows
        Rows.
    pieces
        `names -> frames`: these columns, some rows at a time.
    """

    names: list[str]
    n_rows: int
    pieces: Callable[[Sequence[str]], Iterator[pd.DataFrame]]
