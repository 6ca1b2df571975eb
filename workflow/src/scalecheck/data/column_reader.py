"""One column of a table, collected piece by piece: numbers or labels, its gaps, what is wrong with it."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scalecheck.data.categories import (
    EncodedPiece,
    LabelEncoder,
    ListedLabels,
    encode_piece,
    numbers_of,
    written,
)
from scalecheck.data.dates import days_of, days_since_1970
from scalecheck.data.disk_columns import ColumnWriter
from scalecheck.data.table import Column

_NAMED = 5  # rows of gaps that a message names


class Cell(NamedTuple):
    """A value, and the row of the file, counted from 1, that it stands in."""

    row: int
    value: Any


class ColumnUse(NamedTuple):
    """What a column is for, as far as that decides how it is read.

    Attributes
    ----------
    labels
        Whether it holds labels, whatever they look like.
    order
        Whether rows arrive in its order, so that texts in it must be numbers or dates.
    only_order
        Whether it is for nothing else: dates become numbers then, since there may be as many as rows.
    listed
        Its labels in the order of their codes, where the study gives it.
    """

    labels: bool
    order: bool
    only_order: bool
    listed: tuple[str, ...] | None = None


class Numbers(NamedTuple):
    """Numbers of a piece.

    Attributes
    ----------
    values
        `(rows,)`, whatever where there is none.
    missing
        `(rows,)` where there is none.
    """

    values: np.ndarray
    missing: np.ndarray


class MissingRows:
    """Rows of a column that lack a value for one reason: the first of them, how many, and how many were dropped."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.count = 0
        self.dropped = 0

    def add(self, bad: np.ndarray, start: int, leave_out: np.ndarray) -> None:
        """Add the bad rows of a piece, `(rows,)`; those left out for another reason are not dropped again."""
        found = np.flatnonzero(bad)
        self.rows += [start + int(row) + 1 for row in found[: _NAMED - len(self.rows)]]
        self.count += len(found)
        self.dropped += int((bad & ~leave_out).sum())


class ColumnReader:
    """A column of which pieces were read.

    Parameters
    ----------
    use
        What it is for.
    writer
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
        Of an order, the first text that is neither number nor date, or not the one that the first text is.
    unlisted
        The first label that the study's list of them lacks.
    gaps
        By reason.
    """

    def __init__(self, use: ColumnUse, writer: ColumnWriter) -> None:
        self._use, self._writer = use, writer
        self._labels = LabelEncoder(use.order) if use.listed is None else ListedLabels(use.listed)
        self._piece: EncodedPiece | Numbers | None = None
        self._typed = self._seen = False
        self._dated: bool | None = None
        self.nested: Cell | None = None
        self.text: Cell | None = None
        self.n_numbers = 0
        self.undated: Cell | None = None
        self.unlisted: Cell | None = None
        self.gaps = {"missing": MissingRows(), "infinite": MissingRows()}

    @property
    def is_number(self) -> bool:
        """Whether it holds numbers, as far as it was read."""
        dates = self._use.only_order and self._dated is True
        return not self._use.labels and (self._typed or self.n_numbers > 0 or dates)

    def look(self, piece: pd.Series, start: int) -> dict[str, np.ndarray]:
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
        numbers = None if self._use.labels else _numeric(piece)
        self._typed |= numbers is not None
        self._piece = self._text(piece, start) if numbers is None else numbers
        return _gaps(self._piece)

    def keep(self, rows: np.ndarray) -> None:
        """Keep these rows `(kept,)` of the piece that was looked at last, counted from 0 in it."""
        if self.nested is not None or not len(rows):
            return
        if isinstance(self._piece, EncodedPiece):
            self._writer.append(self._labels.add(self._piece, rows))
        elif self._piece is not None:
            self._writer.append(self._piece.values[rows])

    def end(self) -> Column:
        """Give the column: numbers, or codes of sorted labels."""
        if self.is_number:
            return Column(self._writer.end(), None)
        codes, labels = self._labels.sort()
        self._writer.recode(codes)
        return Column(self._writer.end(), labels)

    def _look_at_first(self, piece: pd.Series, start: int) -> None:
        """A column of a typed format holds one kind of value: the first one tells."""
        present = np.flatnonzero(piece.notna())[:1]
        if not len(present):
            return
        self._seen, value = True, piece.iloc[present[0]]
        if isinstance(value, list | dict | tuple | bytes | np.ndarray):
            said = value.tolist() if isinstance(value, np.ndarray) else value
            self.nested = Cell(start + int(present[0]) + 1, said)

    def _text(self, piece: pd.Series, start: int) -> EncodedPiece | Numbers:
        """Labels; or numbers, where they were written as text."""
        coded = encode_piece(piece)
        if self._use.order and not coded.ordered and self._use.listed is None:
            days = self._look_for_dates(coded, start)
            if self._use.only_order and self._dated:
                return _numbered(coded, days)
        if self._use.labels:
            if self.unlisted is None and isinstance(self._labels, ListedLabels):
                self._look_for_unlisted(self._labels, coded, start)
            return coded
        # Categories are labels, even of numbers, unless all that counts is their order.
        categories = isinstance(piece.dtype, pd.CategoricalDtype)
        if categories and (coded.ordered or not self._use.only_order):
            parsed = np.full(len(coded.distinct), np.nan)
        else:
            parsed = numbers_of(coded.distinct)
        numbers = _numbered(coded, parsed)
        text = np.isnan(numbers.values) & ~numbers.missing
        self.n_numbers += int((~np.isnan(numbers.values)).sum())
        if self.text is None and text.any():
            row = int(np.flatnonzero(text)[0])
            self.text = Cell(start + row + 1, piece.iloc[row])
        return numbers if self.n_numbers else coded

    def _look_for_unlisted(self, listed: ListedLabels, coded: EncodedPiece, start: int) -> None:
        unknown = np.append(listed.codes_of(coded.distinct) < 0, False)
        rows = np.flatnonzero(unknown[coded.codes])[:1]
        if len(rows):
            label = coded.distinct[coded.codes[rows[0]]]
            self.unlisted = Cell(start + int(rows[0]) + 1, written(label))

    def _look_for_dates(self, coded: EncodedPiece, start: int) -> np.ndarray:
        """Days since 1970 of each distinct text, `(k,)`; notes the first one that is no part of an order."""
        days = days_of(coded.distinct)
        present = np.flatnonzero(coded.codes >= 0)
        if self._dated is None and len(present):
            self._dated = not np.isnan(days[coded.codes[present[0]]])
        wrong = np.append(np.isnan(days if self._dated else numbers_of(coded.distinct)), False)
        rows = np.flatnonzero(wrong[coded.codes])[:1]
        if self.undated is None and len(rows):
            self.undated = Cell(start + int(rows[0]) + 1, str(coded.distinct[coded.codes[rows[0]]]))
        return days


def _numbered(coded: EncodedPiece, parsed: np.ndarray) -> Numbers:
    """Numbers of a piece of text, from those of each distinct text `(k,)`."""
    return Numbers(np.append(parsed, np.nan)[coded.codes], coded.codes < 0)


def _numeric(values: pd.Series) -> Numbers | None:
    """Numbers of a column, dates as days since 1970; None where it holds something else."""
    missing = values.isna().to_numpy()
    if pd.api.types.is_datetime64_any_dtype(values):
        return Numbers(days_since_1970(values), missing)
    if isinstance(values.dtype, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(values):
        return None
    if values.dtype.kind not in "iub":
        return Numbers(values.to_numpy("float64", na_value=np.nan), missing)
    # Truth values are numbers, too. A gap leaves whole numbers what they are: as floats, long ones would be equal.
    dtype = "int8" if values.dtype.kind == "b" else f"{values.dtype.kind}{values.dtype.itemsize}"
    gap = {"na_value": 0} if missing.any() else {}
    return Numbers(values.to_numpy(dtype, **gap), missing)


def _gaps(piece: EncodedPiece | Numbers) -> dict[str, np.ndarray]:
    """Rows without a value, and rows with an infinity. `(rows,)` each."""
    if isinstance(piece, Numbers):
        infinite = np.isinf(piece.values) & ~piece.missing
        return {"missing": piece.missing, "infinite": infinite}
    found = {"missing": piece.codes < 0}
    # Labels that are written as numbers.
    if pd.api.types.is_float_dtype(piece.distinct) or piece.distinct.dtype == object:
        infinite = [isinstance(label, float) and np.isinf(label) for label in piece.distinct]
        found["infinite"] = np.append(np.array(infinite, bool), False)[piece.codes]
    return found
