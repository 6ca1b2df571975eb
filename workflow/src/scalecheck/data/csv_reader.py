"""Read a table of CSV: numbers as numbers, labels as they are written."""

import contextlib
import gzip
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd

from scalecheck.data import disk_columns
from scalecheck.data.categories import numbers_of
from scalecheck.data.dates import days_of
from scalecheck.data.table import OpenTable, refuse_twice
from scalecheck.errors import StudyError

# How R, pandas, Excel and databases write that a number is missing. A label may be spelled so: NA is Namibia.
MISSING_WORDS = tuple(
    "#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null".split(
        ","
    )
)

# What a file begins with that is no UTF-8 text, whatever its name says.
_NO_CSV = {
    b"\x1f\x8b": "is compressed by gzip: its name must end in .csv.gz",
    b"\xff\xfe": "is UTF-16 text: write it as UTF-8",
    b"\xfe\xff": "is UTF-16 text: write it as UTF-8",
}
# What others put between fields, and how pandas reads it: where ; separates, a comma is often the decimal mark.
_SEPARATORS = {";": "sep=';', decimal=','", "\t": r"sep='\t'", "|": "sep='|'"}


@contextlib.contextmanager
def open_csv(file: str, labelled: Iterable[str]) -> Iterator[OpenTable]:
    """Open a CSV file, compressed or not.

    In a column of labels a text such as NA is one, and only an empty cell has no value. In a column of numbers
    or of dates such a text is a missing value, too.

    Parameters
    ----------
    labelled
        Columns of labels, whatever they look like.

    Raises
    ------
    StudyError
        When it has another encoding or separator, or names a column twice.
    """
    # Read whole: what kind of values a column of text holds is known at its last row.
    try:
        frame = _parse(file, {*labelled})
    except UnicodeDecodeError:
        _refuse_other_encodings(file)
        raise

    def pieces(names: Sequence[str]) -> Iterator[pd.DataFrame]:
        for rows in disk_columns.blocks(len(frame)):
            yield frame[[*names]].iloc[rows].reset_index(drop=True)

    def written(name: str, rows: Sequence[int]) -> list[str]:
        return _as_text(file, frame, [name])[name].iloc[np.subtract(rows, 1)].tolist()

    yield OpenTable([*frame.columns], len(frame), pieces, written)


def _parse(file: str, labelled: set[str]) -> pd.DataFrame:
    _refuse_header(file)
    # A word is looked up only in columns that may hold numbers, so that labels cost no second reading.
    names = {*pd.read_csv(file, nrows=0).columns} - labelled
    frame = pd.read_csv(
        file,
        low_memory=False,
        dtype=dict.fromkeys(labelled, str),
        keep_default_na=False,
        na_values=dict.fromkeys(names, ["", *MISSING_WORDS]),
    ).rename(columns=str)
    text = [
        name for name in frame.columns if name not in labelled and _has_lost_labels(frame[name])
    ]
    frame = frame.assign(**_as_text(file, frame, text)) if text else frame
    return frame.assign(
        **{name: _with_infinities(frame[name]) for name in labelled & {*frame.columns}}
    )


def _refuse_header(file: str) -> None:
    def lines(count: int) -> pd.Series:
        return pd.read_csv(file, header=None, nrows=count, dtype=str, keep_default_na=False).iloc[0]

    header = lines(1)
    seen = [mark for mark in _SEPARATORS if len(header) == 1 and mark in header[0]]
    if seen:
        mark = seen[0]
        raise StudyError(
            f"{file}: the fields of its header are separated by {'a tab' if mark == '\t' else mark}: write commas,"
            f" with pandas by read_csv({file!r}, {_SEPARATORS[mark]}).to_csv({file!r}, index=False)"
        )
    # Two lines: a row with more fields than the header has names would shift all columns by one.
    refuse_twice(file, [name for name in lines(2) if name])


def _has_lost_labels(column: pd.Series) -> bool:
    """Whether a column of text has gaps that may be labels: no other value in it is a number, nor are all dates."""
    if pd.api.types.is_numeric_dtype(column) or not column.isna().any():
        return False
    distinct = pd.Index(column.dropna().unique())
    return bool(np.isnan(numbers_of(distinct)).all() and np.isnan(days_of(distinct)).any())


def _as_text(file: str, frame: pd.DataFrame, names: Sequence[str]) -> dict[str, pd.Series]:
    """Columns as they are written, `""` where a cell is empty."""
    at = [int(frame.columns.get_loc(name)) for name in names]
    text = pd.read_csv(file, usecols=at, dtype=str, keep_default_na=False).rename(columns=str)
    return {name: text[name] for name in names}


def _with_infinities(labels: pd.Series) -> pd.Series:
    """Labels as they are written; but among numbers an infinity is none."""
    written = labels[labels != ""]
    numbers = np.asarray(pd.to_numeric(written, errors="coerce"), "float64")
    if np.isnan(numbers).any() or not np.isinf(numbers).any():
        return labels
    infinite = pd.Series(numbers, written.index)[np.isinf(numbers)]
    return labels.astype(object).mask(labels.index.isin(infinite.index), infinite)


def _refuse_other_encodings(file: str) -> None:
    with gzip.open(file) if file.lower().endswith(".gz") else open(file, "rb") as opened:
        for begin, reason in _NO_CSV.items():
            if opened.peek(2)[:2] == begin:
                raise StudyError(f"{file}: {reason}")
        for number, line in enumerate(opened):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                raise StudyError(
                    f"{file}: line {number + 1} is not UTF-8 text, it has the byte {byte:#x}: write the file as UTF-8"
                ) from None
