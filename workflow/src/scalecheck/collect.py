"""One column of a table, collected piece by piece: numbers or labels, its gaps, what is wrong with it."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scalecheck.labels import Coded, Labels, code
from scalecheck.spool import Growing
from scalecheck.table import Column

NDArray = np.ndarray

# Dates, with a time or without, quarters and weeks: what sorts by time when it is sorted as text.
_ISO_DATE = r"\d{4}(-(\d\d|Q[1-4]|W\d\d)(-\d\d?)?([T ]\S+)?)?"

_NAMED = 5  # rows of gaps that a message names


class At(NamedTuple):
    """A value, and the row of the file, counted from 1, that it stands in."""

    row: int
    value: Any


class Numbers(NamedTuple):
    """Numbers of a piece.

    Attributes
    ----------
    values
        `(rows,)`, whatever where there is none.
    missing
        `(rows,)` where there is none.
    """

    values: NDArray
    missing: NDArray


class Gap:
    """Rows of a column that lack a value for one reason: the first of them, how many, and how many were dropped."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.count = 0
        self.dropped = 0

    def add(self, bad: NDArray, start: int, leave_out: NDArray) -> None:
        """Add the bad rows of a piece, `(rows,)`; those left out for another reason are not dropped again."""
        found = np.flatnonzero(bad)
        self.rows += [start + int(row) + 1 for row in found[: _NAMED - len(self.rows)]]
        self.count += len(found)
        self.dropped += int((bad & ~leave_out).sum())


class Collected:
    """A column of which pieces were read.

    Parameters
    ----------
    labelled
        Whether it holds labels, whatever they look like.
    ordering
        Whether texts in it must be dates that sort as they are written.
    growing
        Where its values go.

    Attributes
    ----------
    nested
        Its first value, where that is no number and no text.
    text
        The first text that is no number.
    n_numbers
        How many texts are numbers.
    undated
        The first text that does not sort as a date.
    gaps
        By reason.
    """

    nested: At | None
    text: At | None
    n_numbers: int
    undated: At | None
    gaps: dict[str, Gap]

    def __init__(self, labelled: bool, ordering: bool, growing: Growing) -> None:
        self._labelled, self._ordering, self._growing = labelled, ordering, growing
        self._labels = Labels()
        self._piece: Coded | Numbers | None = None
        self._typed = self._seen = False
        self.nested = self.text = self.undated = None
        self.n_numbers = 0
        self.gaps = {"missing": Gap(), "infinite": Gap()}

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers, as far as it was read."""
        return not self._labelled and (self._typed or self.n_numbers > 0)

    def look(self, piece: pd.Series, start: int) -> dict[str, NDArray]:
        """Take the next piece; give its gaps by reason, `(rows,)` each.

        Parameters
        ----------
        start
            Rows of the file before it.
        """
        if not self._seen:
            self._look_at_first(piece, start)
        if self.nested is not None:
            return {}
        numbers = None if self._labelled else _numeric(piece)
        self._typed |= numbers is not None
        self._piece = self._text(piece, start) if numbers is None else numbers
        return _gaps(self._piece)

    def keep(self, rows: NDArray) -> None:
        """Keep these rows `(kept,)` of the piece that was looked at last, counted from 0 in it."""
        if self.nested is not None or not len(rows):
            return
        if isinstance(self._piece, Coded):
            self._growing.append(self._labels.add(self._piece, rows))
        elif self._piece is not None:
            self._growing.append(self._piece.values[rows])

    def end(self) -> Column:
        """Give the column: numbers, or codes of sorted labels."""
        if self.is_number:
            return Column(self._growing.end(), None)
        codes, labels = self._labels.sort()
        self._growing.recode(codes)
        return Column(self._growing.end(), labels)

    def _look_at_first(self, piece: pd.Series, start: int) -> None:
        """A column of a typed format holds one kind of value: the first one tells."""
        present = np.flatnonzero(piece.notna())[:1]
        if not len(present):
            return
        self._seen, value = True, piece.iloc[present[0]]
        if isinstance(value, list | dict | tuple | bytes | np.ndarray):
            said = value.tolist() if isinstance(value, np.ndarray) else value
            self.nested = At(start + int(present[0]) + 1, said)

    def _text(self, piece: pd.Series, start: int) -> Coded | Numbers:
        """Labels; or numbers, where they were written as text."""
        coded = code(piece)
        if self._labelled:
            return coded
        if self._ordering and self.undated is None and not coded.ordered:
            self._look_for_dates(coded, start)
        # Categories are labels, even of numbers.
        parsed = np.full(len(coded.distinct), np.nan)
        if not isinstance(piece.dtype, pd.CategoricalDtype):
            parsed = np.asarray(pd.to_numeric(coded.distinct, errors="coerce"), "float64")
        numbers = np.append(parsed, np.nan)[coded.codes]  # of a gap, whose code is -1, the last one
        text = np.isnan(numbers) & (coded.codes >= 0)
        self.n_numbers += int((~np.isnan(numbers)).sum())
        if self.text is None and text.any():
            row = int(np.flatnonzero(text)[0])
            self.text = At(start + row + 1, piece.iloc[row])
        return Numbers(numbers, coded.codes < 0) if self.n_numbers else coded

    def _look_for_dates(self, coded: Coded, start: int) -> None:
        texts = coded.distinct.astype(str)
        unsorted = ~np.append(np.asarray(texts.str.fullmatch(_ISO_DATE), bool), True)
        rows = np.flatnonzero(unsorted[coded.codes])[:1]
        if len(rows):
            self.undated = At(start + int(rows[0]) + 1, str(texts[coded.codes[rows[0]]]))


def _numeric(values: pd.Series) -> Numbers | None:
    """Numbers of a column, dates as days since 1970; None where it holds something else."""
    missing = values.isna().to_numpy()
    if pd.api.types.is_datetime64_any_dtype(values):
        return Numbers(values.to_numpy("datetime64[us]").astype("int64") / 86_400e6, missing)
    if isinstance(values.dtype, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(values):
        return None
    if values.dtype.kind not in "iub":
        return Numbers(values.to_numpy("float64", na_value=np.nan), missing)
    # Truth values are numbers, too. A gap leaves whole numbers what they are: as floats, long ones would be equal.
    dtype = "int8" if values.dtype.kind == "b" else f"{values.dtype.kind}{values.dtype.itemsize}"
    gap = {"na_value": 0} if missing.any() else {}
    return Numbers(values.to_numpy(dtype, **gap), missing)


def _gaps(piece: Coded | Numbers) -> dict[str, NDArray]:
    """Rows without a value, and rows with an infinity. `(rows,)` each."""
    if isinstance(piece, Numbers):
        infinite = np.isinf(piece.values) & ~piece.missing
        return {"missing": piece.missing, "infinite": infinite}
    found = {"missing": piece.codes < 0}
    if pd.api.types.is_float_dtype(piece.distinct):  # labels that are written as numbers
        infinite = np.isinf(piece.distinct.to_numpy("float64"))
        found["infinite"] = np.append(infinite, False)[piece.codes]
    return found
