"""Tables in files, and what is read of them."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalecheck.data.disk_columns import column_folder, in_memory
from scalecheck.data.read_table import read_data
from scalecheck.data.table import Column, Table
from scalecheck.errors import StudyError
from scalecheck.study.settings import DataSettings

FORMATS = ["csv", "csv.gz", "parquet", "nc"]


def write(path, frame):
    """Write a table in the format of the file's ending."""
    name = str(path)
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    elif name.endswith(".nc"):
        frame.rename_axis("row").to_xarray().to_netcdf(path)
    else:
        frame.to_csv(path, index=False)
    return name


def settings(file, **keys):
    return DataSettings(
        **{
            "file": str(file),
            "outcome": "y",
            "expand": None,
            "order": None,
            "unit": None,
            "categories": (),
            "axes": (),
            "missing": "error",
        }
        | keys
    )


def read_file(path, *columns, possible=(), **keys) -> Table:
    """Read these columns of a file for the model, into memory."""
    named = dict.fromkeys(columns, "the model takes")
    with column_folder(Path(path).parent / "spool") as spool:
        table = read_data(settings(path, **keys), named, possible, spool)
        whole = {n: c._replace(values=in_memory(c.values)) for n, c in table.columns.items()}
        return dataclasses.replace(table, columns=whole, row=in_memory(table.row))


def read(path, frame, *columns, **keys):
    """Write a table, and read these of its columns for the model."""
    return read_file(write(path, frame), *columns, **keys)


def table_of(**columns):
    """Make a table of numbers (arrays) and labels (lists of text)."""
    made = {}
    for name, values in columns.items():
        if isinstance(values, list):
            labels, codes = np.unique(values, return_inverse=True)
            made[name] = Column(codes.astype("int32"), tuple(map(str, labels)))
        else:
            made[name] = Column(np.asarray(values), None)
    n_rows = len(next(iter(made.values())).values)
    return Table("data.csv", made, np.arange(1, n_rows + 1), {})


def refusal(path, frame, *columns, **keys):
    """Write a table that is refused; give the line without the file."""
    with pytest.raises(StudyError) as caught:
        read(path, frame, *columns, **keys)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


PUTTS = pd.DataFrame(
    {
        "distance": [0.28, 1.5, 20.25, 3.0],
        "made": [1, 0, 0, 1],
        "site": ["b", "a", "b", "größe"],
        "group": [10, 9, 10, 2],
        "rain": [True, False, True, True],
        "day": ["2020-02-01", "2019-12-31", "2020-01-01", "2020-01-02"],
    }
)
