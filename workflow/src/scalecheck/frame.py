"""Read a table from a file, by its ending."""

import gzip

import pandas as pd

from scalecheck.errors import StudyError


def read_frame(file: str) -> pd.DataFrame:
    """Read a file by its ending.

    Raises
    ------
    StudyError
        When it cannot be read, is empty, or names a column twice.
    """
    name = file.lower()
    try:
        if name.endswith((".csv", ".csv.gz")):
            frame = _read_csv(file)
        elif name.endswith(".parquet"):
            frame = _read_parquet(file)
        elif name.endswith(".nc"):
            frame = _read_netcdf(file)
        else:
            raise StudyError(f"{file}: data.file must end in .csv, .csv.gz, .parquet or .nc")
    except StudyError:
        raise
    except Exception as error:
        # Whatever a reader raises on a damaged file (zlib, HDF5 and Arrow have errors of their own).
        words = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = words.splitlines()[0]
        raise StudyError(f"{file}: cannot be read: {reason}") from None
    if frame.empty:
        raise StudyError(f"{file}: the table has no rows")
    frame = frame.rename(columns=str)
    for column in frame.columns[frame.columns.duplicated()]:
        raise StudyError(f"{file}: the column {column} is given twice")
    return frame


# What a file begins with that is no UTF-8 text, whatever its name says.
_NO_CSV = {
    b"\x1f\x8b": "is compressed by gzip: its name must end in .csv.gz",
    b"\xff\xfe": "is UTF-16 text: write it as UTF-8",
    b"\xfe\xff": "is UTF-16 text: write it as UTF-8",
}


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


def _read_csv(file: str) -> pd.DataFrame:
    try:
        return _parse_csv(file)
    except UnicodeDecodeError:
        _refuse_other_encodings(file)
        raise


def _parse_csv(file: str) -> pd.DataFrame:
    # Two lines: a row with more fields than the header has names would shift all columns by one.
    header = pd.read_csv(file, header=None, nrows=2, dtype=str).iloc[0].dropna()
    for column in header[header.duplicated()]:
        raise StudyError(f"{file}: the column {column} is given twice")
    return pd.read_csv(file, low_memory=False)


def _read_parquet(file: str) -> pd.DataFrame:
    from pyarrow import parquet  # here, because only this format needs it

    names = parquet.read_schema(file).names
    for column in sorted({name for name in names if names.count(name) > 1}):
        raise StudyError(f"{file}: the column {column} is given twice")
    frame = pd.read_parquet(file)
    # What was an index when the file was written is a column to us.
    indexed = any(name is not None for name in frame.index.names)
    return frame.reset_index(drop=not indexed)


def _read_netcdf(file: str) -> pd.DataFrame:
    import xarray as xr  # here, because only this format needs it

    # By the name of its reader: others that happen to be installed are not asked.
    with xr.open_dataset(file, engine="netcdf4") as dataset:
        if len(dataset.dims) != 1:
            dims = ", ".join(map(str, dataset.dims)) or "none"
            raise StudyError(f"{file}: must be a Dataset with one dimension, got {dims}")
        text = {name: part.astype(str) for name, part in dataset.items() if part.dtype.kind == "S"}
        return dataset.assign(text).to_dataframe().reset_index()
