"""Open a table by the ending of its file, and read it in pieces."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scalecheck.data import disk_columns
from scalecheck.data.csv_reader import open_csv
from scalecheck.data.netcdf_reader import open_netcdf
from scalecheck.data.table import OpenTable, refuse_twice
from scalecheck.errors import StudyError


@contextlib.contextmanager
def open_table(file: str, labelled: Iterable[str]) -> Iterator[OpenTable]:
    """Open a file by its ending.

    Parameters
    ----------
    labelled
        Columns of labels, which are read as they are written where a format holds but text.

    Raises
    ------
    StudyError
        When it cannot be read, is empty, or names a column twice.
    """
    opener = next((_OPENERS[end] for end in _OPENERS if file.lower().endswith(end)), None)
    if opener is None:
        raise StudyError(f"{file}: data.file must end in .csv, .csv.gz, .parquet or .nc")
    with contextlib.ExitStack() as stack:
        with _reading(file):
            source = stack.enter_context(opener(file, labelled))
        if not source.n_rows or not source.names:
            raise StudyError(f"{file}: the table has no rows")
        yield source._replace(pieces=lambda names: _read_pieces(file, source.pieces(names)))


@contextlib.contextmanager
def _reading(file: str) -> Iterator[None]:
    try:
        yield
    except (StudyError, MemoryError):
        raise
    except Exception as error:
        if "out of memory" in str(error):  # as pandas says it
            raise MemoryError(str(error)) from None
        # Whatever a reader raises on a damaged file (zlib, HDF5 and Arrow have errors of their own).
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = words.splitlines()[0]
        raise StudyError(f"{file}: cannot be read: {reason}") from None


def _read_pieces(file: str, pieces: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Read on under the errors of the file, which those of whoever takes the pieces are not."""
    while True:
        with _reading(file):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


# ---- Parquet


@contextlib.contextmanager
def _open_parquet(file: str, _labelled: Iterable[str]) -> Iterator[OpenTable]:
    import pyarrow as pa  # here, because only this format needs it
    from pyarrow import parquet

    # Not buffered ahead: that would hold whole row groups, which have as many rows as the writer liked.
    with parquet.ParquetFile(file, pre_buffer=False, buffer_size=2**20) as opened:
        schema = opened.schema_arrow
        # What was an index when the file was written is a column to us.
        index, count = _index_of(schema)
        refuse_twice(file, [*count, *schema.names])
        own = _flat(schema.empty_table().to_pandas())

        def pieces(names: Sequence[str]) -> Iterator[pd.DataFrame]:
            wanted = {*names, *index} if set(names) - set(schema.names) else set(names)
            fields, start = [field for field in schema.names if field in wanted], 0
            for batch in opened.iter_batches(disk_columns.BLOCK_ROWS, columns=fields):
                part = pa.Table.from_batches([batch])
                frame = _flat(part.to_pandas(types_mapper=_whole_numbers(pa).get))
                for name, numbers in count.items():
                    frame[name] = np.asarray(numbers[start : start + len(frame)])
                start += len(frame)
                yield frame[[*names]]

        yield OpenTable([*count, *own.columns], opened.metadata.num_rows, pieces)


def _whole_numbers(pa: Any) -> dict[Any, Any]:
    """Types that hold a gap among whole numbers: as floats, long identifiers would run into one another."""
    names = [f"{sign}{bits}" for sign in ("Int", "UInt") for bits in (8, 16, 32, 64)]
    whole = {getattr(pa, name.lower())(): pd.api.types.pandas_dtype(name) for name in names}
    return whole | {pa.bool_(): pd.BooleanDtype()}


def _index_of(schema: Any) -> tuple[list[str], dict[str, range]]:
    """Fields of what was an index, and those of its columns that only count, by name."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    counts = [part for part in index if isinstance(part, dict) and part["name"] is not None]
    return [field for field in index if isinstance(field, str)], {
        str(part["name"]): range(part["start"], part["stop"], part["step"]) for part in counts
    }


def _flat(frame: pd.DataFrame) -> pd.DataFrame:
    indexed = any(name is not None for name in frame.index.names)
    return frame.reset_index(drop=not indexed).rename(columns=str)


_OPENERS = {
    ".csv": open_csv,
    ".csv.gz": open_csv,
    ".parquet": _open_parquet,
    ".nc": open_netcdf,
}
