"""Columns in raw temporary files, and the blocks in which whatever goes through a table is read."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalecheck.errors import StudyError

# Megabytes per column: enough that what a block costs beside its rows does not show.
BLOCK_ROWS = 2**18


def blocks(n_rows: int) -> Iterator[slice]:
    """Cut rows into slices of at most `BLOCK_ROWS`."""
    for start in range(0, n_rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, n_rows))


@dataclass(frozen=True)
class DiskColumn:
    """Values in a raw file, which are read when they are sliced.

    Attributes
    ----------
    path
        The file, which holds nothing else.
    dtype
        Of the values.
    n_rows
        How many there are.
    """

    path: Path
    dtype: np.dtype
    n_rows: int

    def __len__(self) -> int:
        """Count them."""
        return self.n_rows

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Read the rows of a slice without a step. `(rows,)`."""
        start, stop, _ = rows.indices(self.n_rows)
        return np.fromfile(
            self.path, self.dtype, max(0, stop - start), offset=start * self.dtype.itemsize
        )

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """Read all of them. `(rows,)`."""
        return self[:] if dtype is None else self[:].astype(dtype)


# What can be read block by block, whether it is in memory or not.
Values = np.ndarray | DiskColumn


def in_memory(values: Values, dtype: np.dtype | None = None) -> np.ndarray:
    """Copy values into memory, and nothing else with them. `(rows,)`."""
    copied = np.empty(len(values), dtype or values.dtype)
    for rows in blocks(len(values)):
        copied[rows] = values[rows]
    return copied


class ColumnWriter:
    """A column that is being written.

    Parameters
    ----------
    path
        A file of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dtype: np.dtype | None = None
        self._n_rows = 0

    def append(self, values: np.ndarray) -> None:
        """Add values `(rows,)`; those before become floats where the new ones are."""
        dtype = self._widen(values.dtype)
        with self._path.open("ab", buffering=0) as file:
            _write(file.fileno(), values.astype(dtype, copy=False))
        self._n_rows += len(values)

    def end(self) -> DiskColumn:
        """Give the values that were appended."""
        return DiskColumn(self._path, self._dtype or np.dtype("float64"), self._n_rows)

    def recode(self, codes: np.ndarray) -> None:
        """Put `codes[value]` in the place of each value; codes `(values,)`."""
        if (codes != np.arange(len(codes))).any():
            self._rewrite(self.end(), lambda part: codes[part])

    def _widen(self, dtype: np.dtype) -> np.dtype:
        before = self._dtype or dtype
        wider = np.promote_types(before, dtype)
        if before != wider:
            written = DiskColumn(self._path, before, self._n_rows)
            self._rewrite(written, lambda part: part.astype(wider))
        self._dtype = wider
        return wider

    def _rewrite(self, written: DiskColumn, change: Callable[[np.ndarray], np.ndarray]) -> None:
        path = self._path.with_suffix(".changed")
        with path.open("wb", buffering=0) as file:
            for rows in blocks(len(written)):
                _write(file.fileno(), change(written[rows]))
        path.replace(self._path)


def _write(handle: int, values: np.ndarray) -> None:
    rest = memoryview(np.ascontiguousarray(values)).cast("B") if len(values) else b""
    while rest:
        rest = rest[os.write(handle, rest) :]


class ColumnFolder:
    """A folder of columns that are being written.

    Parameters
    ----------
    folder
        Where their files lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._n_columns = 0

    def column(self) -> ColumnWriter:
        """InitialAdaptation a column."""
        self._n_columns += 1
        path = self._folder / f"{self._n_columns}.raw"
        path.touch()
        return ColumnWriter(path)


@contextlib.contextmanager
def column_folder(folder: Path) -> Iterator[ColumnFolder]:
    """Make a folder of columns that is removed at the end; what was killed may have left it.

    Raises
    ------
    OSError
        When it cannot be written: names the folder.
    StudyError
        When what lies in its place cannot be removed.
    """
    _clear(folder)
    try:
        folder.mkdir(parents=True)
        yield ColumnFolder(folder)
    except OSError as error:
        error.filename = error.filename or str(folder)  # a full disk names no file
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Remove what lies in the place of a folder; where that is a link, nothing that it leads to."""
    try:
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise StudyError(
            f"{folder}: cannot be removed: {error.strerror}: remove it and run again"
        ) from None
