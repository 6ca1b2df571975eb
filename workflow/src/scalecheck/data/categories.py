"""Labels of a column of which pieces were read: a code for each, at the end in their order."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scalecheck.data.dates import days_of


class EncodedPiece(NamedTuple):
    """Values of a piece, by number.

    Attributes
    ----------
    codes
        `(rows,)` which of the distinct values; -1 where there is none.
    distinct
        `(k,)` values, of which some may stand in no row.
    ordered
        Whether they have an order of their own.
    """

    codes: np.ndarray
    distinct: pd.Index
    ordered: bool


def encode_piece(values: pd.Series) -> EncodedPiece:
    """Number the distinct values of a piece."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        held = values.cat
        codes, distinct, ordered = held.codes.to_numpy(), held.categories, held.ordered
    else:
        (codes, distinct), ordered = pd.factorize(values), False
    # netCDF writes a missing text as an empty one, as CSV does.
    empty = np.append(np.asarray(distinct == "", bool), False)
    return EncodedPiece(np.where(empty[codes], -1, codes), distinct, ordered)


def numbers_of(distinct: pd.Index) -> np.ndarray:
    """Give the numbers that some values are or are written as; NaN where one is none. `(k,)`."""
    return np.asarray(pd.to_numeric(distinct, errors="coerce"), "float64")


class LabelEncoder:
    """Labels that were seen, numbered as they came.

    Parameters
    ----------
    dated
        Whether texts that are no numbers are dates, and sorted by time.
    """

    def __init__(self, dated: bool) -> None:
        self._dated = dated
        self._codes: dict[Any, int] = {}
        self._order: dict[Any, None] = {}
        self._dtypes: set[Any] = set()

    def add(self, piece: EncodedPiece, rows: np.ndarray) -> np.ndarray:
        """Give the codes of these rows of a piece, which all have a value. `(rows,)`."""
        codes, known = piece.codes[rows], self._codes
        used = np.flatnonzero(np.bincount(codes, minlength=len(piece.distinct)))
        number = np.empty(len(piece.distinct), "int32")
        number[used] = [known.setdefault(label, len(known)) for label in piece.distinct[used]]
        self._dtypes.add(piece.distinct.dtype)
        if piece.ordered:
            self._order |= dict.fromkeys(piece.distinct)
        return number[codes]

    def sort(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Give the final code of each code `(labels,)`, and the labels in their order."""
        seen: list[Any] = [*self._codes]
        if self._order:
            values = pd.Series(pd.Categorical(seen, [*self._order], ordered=True))
        else:
            (dtype,) = self._dtypes if len(self._dtypes) == 1 else (None,)
            values = pd.Series(seen, dtype=dtype)
        if pd.api.types.is_float_dtype(values) and (values % 1 == 0).all():
            # A gap elsewhere in the column made floats of integers; longer ones than these were none.
            values = values.astype("int64") if (values.abs() < 2**53).all() else values
        codes, labels = pd.factorize(values, sort=True)
        if not self._order and pd.api.types.is_string_dtype(values):
            place = np.argsort(self._keys(labels), kind="stable")
            codes, labels = np.argsort(place)[codes], labels[place]
        return codes.astype("int32"), tuple(str(label) for label in labels)

    def _keys(self, texts: pd.Index) -> np.ndarray:
        """What sorted texts are to be sorted by before: their numbers, their time, or nothing. `(labels,)`."""
        numbers = numbers_of(texts)
        if np.isfinite(numbers).all():
            return numbers
        return days_of(texts) if self._dated else np.zeros(len(texts))


def written(label: Any) -> str:
    """Give a label as a list of labels has it: a whole number without a point, since a gap makes floats of them."""
    whole = isinstance(label, float) and label % 1 == 0
    return str(int(label)) if whole else str(label)


class ListedLabels:
    """Labels that the study lists: each has its place in the list as its code, whether a row has it or not.

    Parameters
    ----------
    listed
        In the order of their codes.
    """

    def __init__(self, listed: tuple[str, ...]) -> None:
        self._listed = listed
        self._codes = {label: code for code, label in enumerate(listed)}

    def codes_of(self, distinct: pd.Index) -> np.ndarray:
        """Give the code of each label, -1 where the list lacks it. `(k,)`."""
        return np.array([self._codes.get(written(label), -1) for label in distinct], "int32")

    def add(self, piece: EncodedPiece, rows: np.ndarray) -> np.ndarray:
        """Give the codes of these rows of a piece, which all have a value. `(rows,)`."""
        return self.codes_of(piece.distinct)[piece.codes[rows]]

    def sort(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Give the final code of each code, which is the same `(labels,)`, and the labels in their order."""
        return np.arange(len(self._listed), dtype="int32"), self._listed
