"""Read a table from a file, by its ending."""

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
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StudyError(f"{file}: cannot be read: {reason}") from None
    if frame.empty:
        raise StudyError(f"{file}: the table has no rows")
    return frame.rename(columns=str)


def _read_csv(file: str) -> pd.DataFrame:
    # Two lines: a row with more fields than the header has names would shift all columns by one.
    header = pd.read_csv(file, header=None, nrows=2, dtype=str).iloc[0].dropna()
    for column in header[header.duplicated()]:
        raise StudyError(f"{file}: the column {column} is given twice")
    return pd.read_csv(file, low_memory=False)


def _read_parquet(file: str) -> pd.DataFrame:
    frame = pd.read_parquet(file)
    # What was an index when the file was written is a column to us.
    indexed = any(name is not None for name in frame.index.names)
    return frame.reset_index(drop=not indexed)


def _read_netcdf(file: str) -> pd.DataFrame:
    import xarray as xr  # here, because only this format needs it

    with xr.open_dataset(file) as dataset:
        if len(dataset.dims) != 1:
            raise StudyError(
                f"{file}: must be a Dataset with one dimension, got {', '.join(map(str, dataset.dims))}"
            )
        text = {name: part.astype(str) for name, part in dataset.items() if part.dtype.kind == "S"}
        return dataset.assign(text).to_dataframe().reset_index()
