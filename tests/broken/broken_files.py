"""Files that are refused: damaged, in another encoding, in a format that holds more than a table."""

import gzip
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import xarray as xr
from broken_data import AXIS, file, named


class Payload:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        import os

        return os.mkdir, ("unpickled",)


def as_text(change=lambda text: text, encoding="utf-8"):
    """Write a CSV file, its text changed, in an encoding."""
    return lambda path, frame: path.write_bytes(change(frame.to_csv(index=False)).encode(encoding))


def content(whole):
    return lambda path, frame: path.write_bytes(whole)


def half(write):
    def halved(path, frame):
        write(path, frame)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return halved


def parquet_of(**columns):
    """Write a Parquet file with further columns, which may be nested or named as others are."""

    def written(path, frame):
        whole = pa.Table.from_pandas(frame, preserve_index=False)
        for name, values in columns.items():
            whole = whole.append_column(name, pa.array(values(len(frame))))
        pyarrow.parquet.write_table(whole, path)

    return written


def dims(**shapes):
    """Write a netCDF file of ones, with dims by variable."""

    def written(path, frame):
        ones = {name: (names, np.ones([4] * len(names))) for name, names in shapes.items()}
        xr.Dataset(ones).to_netcdf(path)

    return written


FILES = {
    "latin-1": file(
        "line 4 is not UTF-8 text, it has the byte 0xf6: write the file as UTF-8",
        lambda path, frame: as_text(encoding="latin-1")(path, named("Köln")(frame)),
        **AXIS,
    ),
    "UTF-16": file("is UTF-16 text: write it as UTF-8", as_text(encoding="utf-16")),
    "compressed but not by its name": file(
        "is compressed by gzip: its name must end in .csv.gz",
        lambda path, frame: path.write_bytes(gzip.compress(frame.to_csv().encode())),
    ),
    "empty": file("cannot be read: No columns to parse from file", content(b"")),
    "empty and compressed": file(
        "cannot be read: No columns to parse from file", content(b""), "csv.gz"
    ),
    "half of a compressed one": file(
        "cannot be read: Compressed file ended before the end-of-stream marker was reached",
        half(lambda path, frame: frame.to_csv(path, index=False)),
        "csv.gz",
    ),
    "half of a Parquet file": file(
        "cannot be read: Parquet magic bytes not found in footer. Either the file is"
        " corrupted or this is not a parquet file.",
        half(lambda path, frame: frame.to_parquet(path)),
        "parquet",
    ),
    "empty Parquet file": file(
        "cannot be read: Parquet file size is 0 bytes", content(b""), "parquet"
    ),
    "half of a netCDF file": file(
        "cannot be read: NetCDF: HDF error",
        half(lambda path, frame: frame.drop(columns="site").to_xarray().to_netcdf(path)),
        "nc",
    ),
    "a page instead of a table": file(
        "cannot be read: Parquet magic bytes not found in footer. Either the file is"
        " corrupted or this is not a parquet file.",
        content(b"<html>404</html>"),
        "parquet",
    ),
    "a workbook": file(
        "data.file must end in .csv, .csv.gz, .parquet or .nc", content(b"PK"), "xlsx"
    ),
    "a pickle called a table": file(
        "line 1 is not UTF-8 text, it has the byte 0x80: write the file as UTF-8",
        content(pickle.dumps(Payload())),
        "csv",
    ),
    "a pickle called Parquet": file(
        "cannot be read: Parquet magic bytes not found in footer. Either the file is"
        " corrupted or this is not a parquet file.",
        content(pickle.dumps(Payload())),
        "parquet",
    ),
    "a pickle called netCDF": file(
        "cannot be read: NetCDF: Unknown file format", content(pickle.dumps(Payload())), "nc"
    ),
    "a pickle": file(
        "data.file must end in .csv, .csv.gz, .parquet or .nc",
        content(pickle.dumps(Payload())),
        "pkl",
    ),
    "only a header": file("the table has no rows", as_text(lambda text: text.splitlines()[0])),
    "semicolons": file(
        "the fields of its header are separated by ;: write commas, with pandas by"
        " read_csv('data.csv', sep=';', decimal=',').to_csv('data.csv', index=False)",
        as_text(lambda text: text.replace(",", ";").replace(".", ",")),
    ),
    "tabs": file(
        "the fields of its header are separated by a tab: write commas, with pandas by"
        " read_csv('data.csv', sep='\\t').to_csv('data.csv', index=False)",
        as_text(lambda text: text.replace(",", "\t")),
    ),
    "bars and compressed": file(
        "the fields of its header are separated by |: write commas, with pandas by"
        " read_csv('data.csv.gz', sep='|').to_csv('data.csv.gz', index=False)",
        lambda path, frame: frame.to_csv(path, index=False, sep="|"),
        "csv.gz",
    ),
    "a field too many": file(
        "cannot be read: Error tokenizing data. C error: Expected 7 fields in line 202, saw 8",
        as_text(lambda text: text + "1,2,3,4,5,6,7,8\n"),
    ),
    "a quote that never ends": file(
        "cannot be read: Error tokenizing data. C error: EOF inside string starting at row 201",
        as_text(lambda text: text + '"'),
    ),
    "a column twice": file(
        "the column x is given twice", as_text(lambda text: text.replace("trials", "x", 1))
    ),
    "a column of Parquet twice": file(
        "the column x is given twice", parquet_of(x=lambda n: np.ones(n)), "parquet"
    ),
    "lists in Parquet": file(
        "column z must hold numbers or text, row 1 is [1, 2]",
        parquet_of(z=lambda n: [[1, 2]] * n),
        "parquet",
        categories=["z"],
    ),
    "records in Parquet": file(
        "column z must hold numbers or text, row 1 is {'a': 1}",
        parquet_of(z=lambda n: [{"a": 1}] * n),
        "parquet",
        axes=["z"],
    ),
    "bytes in Parquet": file(
        "column z must hold numbers or text, row 1 is b'a'",
        parquet_of(z=lambda n: [b"a"] * n),
        "parquet",
        axes=["z"],
    ),
    "two dims in netCDF": file(
        "must be a Dataset with one dimension, got row, time",
        dims(x=("row", "time"), y=("row",)),
        "nc",
    ),
    "no dims in netCDF": file(
        "must be a Dataset with one dimension, got none", dims(x=(), y=()), "nc"
    ),
}
