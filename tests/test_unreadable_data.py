"""Facts about files and columns that are refused: damaged, misspelt, of another kind."""

import gzip
import os
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import xarray as xr
from tables import PUTTS, read, read_file, refusal, write

from scalecheck.data import disk_columns
from scalecheck.errors import StudyError


@pytest.mark.parametrize(
    ("columns", "keys", "message"),
    [
        (
            ("made", "distnce"),
            {},
            "no column distnce, which the model takes, did you mean distance?",
        ),
        (
            ("made",),
            {"axes": ("sites",)},
            "no column sites, which data.axes names, did you mean site?",
        ),
        (
            ("made",),
            {"unit": "gruop"},
            "no column gruop, which data.unit names, did you mean group?",
        ),
        (("made",), {"order": "dya"}, "no column dya, which data.order names, did you mean day?"),
        (
            ("made",),
            {"categories": ("qqq",)},
            "no column qqq, which data.categories names; it has ",
        ),
        (
            ("made",),
            {"expand": {"repeat": "mad"}},
            "no column mad, which data.expand.repeat names, ",
        ),
    ],
)
def test_a_misspelt_column_is_refused_with_what_was_meant(tmp_path, columns, keys, message):
    assert refusal(tmp_path / "a.csv", PUTTS, *columns, **keys).startswith(message)


@pytest.mark.parametrize("name", ["__row", "__observation", "_unit_end"])
def test_names_that_the_store_has_for_itself_are_refused_where_they_are_used(tmp_path, name):
    frame = PUTTS.assign(**{name: PUTTS.distance})
    assert refusal(tmp_path / "a.csv", frame, "made", name) == (
        f"column {name}: scalecheck keeps this name for itself: rename it"
    )
    assert set(read(tmp_path / "a.csv", frame, "made").columns) == {"made"}


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("block", [1, 2, 2**18])
def test_a_text_among_numbers_is_refused_with_its_row(tmp_path, monkeypatch, ending, block):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", block)
    frame = PUTTS.assign(distance=["1", "2.5", "3 ft", "4"])
    assert refusal(tmp_path / f"a.{ending}", frame, "distance") == (
        "column distance, row 3 is '3 ft' where 3 rows hold numbers"
        " (data.categories names columns of labels)"
    )


@pytest.mark.parametrize("block", [1, 2**18])
def test_what_is_refused_first_does_not_depend_on_the_pieces(tmp_path, monkeypatch, block):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", block)
    # Whatever comes first in the file: nested values, then texts among numbers, then gaps.
    frame = PUTTS.assign(made=[np.nan, 0, 0, 1], distance=["1", "2", "ft", "4"])
    columns, path = ("made", "distance"), tmp_path / "a.parquet"
    assert refusal(path, frame, *columns).startswith("column distance, row 3 is 'ft'")
    nested = frame.assign(site=[None, None, None, [1, 2]])
    assert refusal(path, nested, *columns, axes=("site",)) == (
        "column site must hold numbers or text, row 4 is [1, 2]"
    )
    dates = PUTTS.assign(made=[np.nan, 0, 0, 1], day=["2020-01-01", "2020-01-02", "1/2/20", "May"])
    assert refusal(path, dates, "made", order="day").startswith("column day, row 3 is '1/2/20'")


@pytest.mark.parametrize("day", ["1/2/2020", "02.01.2020", "2020-1-5", "January"])
def test_dates_that_are_not_of_iso_8601_are_refused(tmp_path, day):
    frame = PUTTS.assign(day=["2020-01-01", day, "2020-02-01", "2020-02-02"])
    assert refusal(tmp_path / "a.csv", frame, "made", order="day") == (
        f"column day, row 2 is '{day}': data.order must be a column of numbers or of dates such as 2026-02-19"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read: No columns to parse from file"),
        ("x,y\n", "the table has no rows"),
        ("x,y,x\n1,2,3\n", "the column x is given twice"),
        (
            "x,y\n1,2,3\n4,5,6\n",
            "cannot be read: Error tokenizing data. C error: Expected 2 fields",
        ),
        ('x,y\n1,2\n"3,4\n', "cannot be read: "),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_what_is_no_table_is_refused(tmp_path, text, message, ending):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending == "csv.gz" else text.encode())
    with pytest.raises(StudyError) as caught:
        read_file(path, "y")
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


DAMAGES = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "other": lambda whole: b"<html>not found</html>",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("ending", ["csv.gz", "parquet", "nc"])
def test_a_damaged_file_is_named(tmp_path, ending, damage):
    path = tmp_path / f"a.{ending}"
    write(path, pd.DataFrame({"y": np.random.default_rng(1).normal(size=4000)}))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StudyError, match=f"{path}: cannot be read: ") as caught:
        read_file(path, "y")
    assert "\n" not in str(caught.value)


def test_flipped_bytes_of_a_compressed_file_are_noticed(tmp_path):
    path = tmp_path / "a.csv.gz"
    write(path, pd.DataFrame({"y": np.random.default_rng(1).normal(size=4000)}))
    whole = path.read_bytes()
    path.write_bytes(whole[:9000] + bytes(200) + whole[9200:])
    with pytest.raises(StudyError, match=f"{path}: cannot be read: "):
        read_file(path, "y")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 8 GiB"),
        pd.errors.ParserError("Error tokenizing data. C error: out of memory"),
    ],
    ids=["of Python", "of the parser"],
)
def test_too_little_memory_is_no_fault_of_the_file(tmp_path, monkeypatch, error):
    def read_csv(*given, **options):
        raise error

    monkeypatch.setattr(pd, "read_csv", read_csv)
    with pytest.raises(MemoryError, match=str(error)):
        read_file(write(tmp_path / "a.csv", PUTTS), "made")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(StudyError, match=r"data.file must end in .csv, .csv.gz, .parquet or .nc"):
        read_file(tmp_path / "a.xlsx", "y")


class Payload:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.filterwarnings("ignore:pyarrow.PyExtensionType-based:RuntimeWarning")
def test_a_pickle_within_a_parquet_file_is_not_read(tmp_path):
    path, mark = tmp_path / "a.parquet", tmp_path / "unpickled"
    extension = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Payload(str(mark))),
    }
    schema = pa.schema([pa.field("y", pa.float64(), metadata=extension)])
    pyarrow.parquet.write_table(pa.table({"y": [1.0, 2.0]}, schema=schema), path)
    table = read_file(path, "y")
    assert not mark.exists()
    np.testing.assert_array_equal(table.columns["y"].values, [1.0, 2.0])


def test_a_netcdf_file_has_one_dimension(tmp_path):
    path = tmp_path / "a.nc"
    xr.Dataset({"y": (("row", "time"), np.ones((2, 3)))}).to_netcdf(path)
    with pytest.raises(StudyError, match="must be a Dataset with one dimension, got row, time"):
        read_file(path, "y")
