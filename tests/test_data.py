"""Facts about tables: the same from every format, checked, expanded, encoded."""

import dataclasses
import gzip
import os
import pickle

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import xarray as xr

from scalecheck.data import read_table
from scalecheck.errors import StudyError
from scalecheck.study import DataSettings

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


def read(path, frame, *columns, **keys):
    """Write a table, and read these of its columns for the model."""
    name = write(path, frame)
    return read_table(settings(name, **keys), dict.fromkeys(columns, "the model takes"))


def refusal(path, frame, *columns, **keys):
    with pytest.raises(StudyError) as caught:
        read(path, frame, *columns, **keys)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


# ---- formats

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


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    keys = {"order": "day", "categories": ("group",), "axes": ("site",)}
    columns = ("distance", "made", "rain")
    return {ending: read(folder / f"putts.{ending}", PUTTS, *columns, **keys) for ending in FORMATS}


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_table(tables, ending):
    one, other = tables["csv"], tables[ending]
    assert set(one.columns) == set(other.columns) == set(PUTTS.columns)
    for name, column in one.columns.items():
        assert other.columns[name].labels == column.labels
        assert other.columns[name].values.dtype == column.values.dtype
        np.testing.assert_array_equal(other.columns[name].values, column.values)
    np.testing.assert_array_equal(other.row, [1, 2, 3, 4])
    assert other.dropped == {}


def test_text_becomes_codes_of_sorted_labels(tables):
    site = tables["csv"].columns["site"]
    assert site.labels == ("a", "b", "größe")
    np.testing.assert_array_equal(site.values, [1, 0, 1, 2])


def test_integer_categories_become_codes_in_the_order_of_numbers(tables):
    group = tables["csv"].columns["group"]
    assert group.labels == ("2", "9", "10")
    np.testing.assert_array_equal(group.values, [2, 1, 2, 0])


def test_dates_as_text_are_coded_in_time(tables):
    np.testing.assert_array_equal(tables["csv"].columns["day"].values, [3, 0, 1, 2])


def test_truth_values_are_numbers(tables):
    rain = tables["csv"].columns["rain"]
    assert rain.labels is None
    np.testing.assert_array_equal(rain.values, [1, 0, 1, 1])


def test_a_unit_is_always_labels(tmp_path):
    table = read(tmp_path / "a.csv", PUTTS, "made", unit="group")
    assert table.columns["group"].labels == ("2", "9", "10")


def test_only_what_the_study_uses_is_read_and_checked(tmp_path):
    frame = PUTTS.assign(unused=[np.nan, np.inf, 1.0, 2.0])
    table = read(tmp_path / "a.csv", frame, "made")
    assert set(table.columns) == {"made"}


def test_a_possible_column_is_read_where_there_is_one(tmp_path):
    name = write(tmp_path / "a.csv", PUTTS)
    table = read_table(settings(name), {"made": "the model takes"}, ["distance", "speed"])
    assert set(table.columns) == {"made", "distance"}


@pytest.mark.parametrize("index", [["day"], ["site", "day"]])
def test_an_index_of_a_parquet_file_is_a_column(tmp_path, index):
    table = read(tmp_path / "a.parquet", PUTTS.set_index(index), "made", axes=tuple(index))
    assert set(table.columns) == {"made", *index}


def test_categories_without_an_order_are_sorted_in_every_format(tmp_path):
    frame = PUTTS.assign(site=pd.Categorical(PUTTS.site, categories=["größe", "b", "a"]))
    assert read(tmp_path / "a.parquet", frame, "site").columns["site"].labels == ("a", "b", "größe")


def test_categories_with_an_order_keep_it(tmp_path):
    ordered = pd.Categorical(PUTTS.site, categories=["größe", "b", "a"], ordered=True)
    table = read(tmp_path / "a.parquet", PUTTS.assign(site=ordered), "made", order="site")
    assert table.columns["site"].labels == ("größe", "b", "a")


@pytest.mark.parametrize("ending", ["parquet", "nc"])
def test_times_are_days_since_1970(tmp_path, ending):
    frame = PUTTS.assign(day=pd.to_datetime(PUTTS.day) + pd.Timedelta(hours=6))
    table = read(tmp_path / f"a.{ending}", frame, "made", order="day")
    day = table.columns["day"].values
    np.testing.assert_array_equal(day - day[1], [32, 0, 1, 2])
    assert day[1] == 18261.25


def test_text_of_a_netcdf_file_may_be_bytes(tmp_path):
    path = tmp_path / "a.nc"
    site = ("row", np.array([b"b", b"a"]))
    xr.Dataset({"y": ("row", [1.0, 2.0]), "site": site}).to_netcdf(path)
    table = read_table(settings(path, axes=("site",)), {"y": "the model takes"})
    assert table.columns["site"].labels == ("a", "b")


# ---- expansion


COUNTS = pd.DataFrame({"x": [1.5, 2.5, 3.5], "n": [3, 0, 2], "k": [1, 0, 2], "site": list("aba")})
BINOMIAL = {"trials": "n", "successes": "k"}


@pytest.mark.parametrize("ending", FORMATS)
def test_binomial_rows_become_one_row_per_trial(tmp_path, ending):
    table = read(tmp_path / f"a.{ending}", COUNTS, "x", "y", axes=("site",), expand=BINOMIAL)
    assert set(table.columns) == {"x", "site", "y"}
    np.testing.assert_array_equal(table.columns["y"].values, [1, 0, 0, 1, 1])
    np.testing.assert_array_equal(table.columns["x"].values, [1.5, 1.5, 1.5, 3.5, 3.5])
    np.testing.assert_array_equal(table.columns["site"].values, [0, 0, 0, 0, 0])
    np.testing.assert_array_equal(table.row, [1, 1, 1, 3, 3])


def test_frequencies_become_rows(tmp_path):
    table = read(tmp_path / "a.csv", COUNTS, "x", expand={"repeat": "n"})
    assert set(table.columns) == {"x"}
    np.testing.assert_array_equal(table.columns["x"].values, [1.5, 1.5, 1.5, 3.5, 3.5])


def test_the_outcome_that_expansion_makes_can_be_an_axis(tmp_path):
    table = read(tmp_path / "a.csv", COUNTS, "x", "y", axes=("y",), expand=BINOMIAL)
    assert table.n_rows == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": [1, 0, 3]}, "row 3 has 3 k of only 2 n"),
        ({"n": [3, -1, 2]}, "column n, row 2 must be a whole number from 0, got -1"),
        ({"n": [3.5, 1, 2]}, "column n, row 1 must be a whole number from 0, got 3.5"),
        ({"n": 0, "k": 0}, "all counts are 0, so that there are no rows"),
        ({"n": list("abc")}, "column n must hold numbers, row 1 is 'a'"),
        ({"n": [3, np.nan, 2]}, "column n has no value (empty or NaN) in row 2"),
        ({"y": 1}, "data.expand makes the outcome y, which must not be a column too"),
    ],
)
def test_wrong_counts_are_refused(tmp_path, change, message):
    frame = COUNTS.assign(**change)
    assert refusal(tmp_path / "a.csv", frame, "x", "y", expand=BINOMIAL).startswith(message)


def test_rows_are_those_of_the_file_after_some_were_dropped(tmp_path):
    frame = COUNTS.assign(x=[np.nan, 1.0, 2.0])
    table = read(tmp_path / "a.csv", frame, "x", expand={"repeat": "n"}, missing="drop")
    np.testing.assert_array_equal(table.row, [3, 3])


# ---- missing and infinite values


GAPS = pd.DataFrame(
    {
        "x": [1.0, np.nan, np.inf, 4.0, -np.inf, 6.0],
        "site": ["a", None, "b", "b", "a", "a"],
        "group": [1, 2, 3, np.nan, 5, 1],
        "ok": [1, 2, 3, 4, 5, 6],
    }
)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(
    ("columns", "keys", "message"),
    [
        (("x",), {}, "column x has no value (empty or NaN) in row 2"),
        (("ok",), {"axes": ("site",)}, "column site has no value (empty or NaN) in row 2"),
        (("ok",), {"unit": "group"}, "column group has no value (empty or NaN) in row 4"),
        (("ok",), {"order": "group"}, "column group has no value (empty or NaN) in row 4"),
    ],
)
def test_a_gap_is_refused_with_its_row(tmp_path, ending, columns, keys, message):
    found = refusal(tmp_path / f"a.{ending}", GAPS, *columns, **keys)
    assert found == f"{message} (data.missing: drop leaves such rows out)"


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("categories", [(), ("x",)])
def test_an_infinity_is_refused_with_its_rows(tmp_path, ending, categories):
    frame = GAPS.assign(x=[1.0, 2.0, np.inf, 4.0, -np.inf, 6.0])
    found = refusal(tmp_path / f"a.{ending}", frame, "x", categories=categories)
    assert found.startswith("column x is infinite in row 3, 5 (")


def test_only_the_first_five_of_many_rows_are_named(tmp_path):
    frame = pd.DataFrame({"x": [np.nan] * 40, "y": 1})
    found = refusal(tmp_path / "a.csv", frame, "x", "y")
    assert "in row 1, 2, 3, 4, 5 and 35 more" in found


@pytest.mark.parametrize("ending", FORMATS)
def test_dropped_rows_are_left_out_and_counted_once(tmp_path, ending):
    keys = {"axes": ("site",), "categories": ("group",), "missing": "drop"}
    table = read(tmp_path / f"a.{ending}", GAPS, "x", "ok", **keys)
    np.testing.assert_array_equal(table.row, [1, 6])
    np.testing.assert_array_equal(table.columns["x"].values, [1.0, 6.0])
    # An integer column with a gap is read as floats; its labels are integers all the same.
    assert table.columns["group"].labels == ("1",)
    assert sum(table.dropped.values()) == 4
    assert {reason: n for reason, n in table.dropped.items() if n} == {
        "x missing": 1,
        "x infinite": 2,
        "group missing": 1,
    }


def test_a_missing_time_is_a_gap(tmp_path):
    frame = pd.DataFrame({"y": [1, 2], "day": pd.to_datetime(["2020-01-01", None])})
    found = refusal(tmp_path / "a.parquet", frame, "y", order="day")
    assert found.startswith("column day has no value (empty or NaN) in row 2")


def test_nothing_left_is_refused(tmp_path):
    frame = pd.DataFrame({"x": [np.nan, np.inf], "y": 1})
    found = refusal(tmp_path / "a.csv", frame, "x", "y", missing="drop")
    assert found == "no row is left, because each lacks a value"


# ---- what else is refused


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


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_a_text_among_numbers_is_refused_with_its_row(tmp_path, ending):
    frame = PUTTS.assign(distance=["1", "2.5", "3 ft", "4"])
    assert refusal(tmp_path / f"a.{ending}", frame, "distance") == (
        "column distance, row 3 is '3 ft' where 3 rows hold numbers"
        " (data.categories names columns of labels)"
    )


@pytest.mark.parametrize("day", ["1/2/2020", "02.01.2020", "2020-1-5", "January"])
def test_dates_that_do_not_sort_as_text_are_refused(tmp_path, day):
    frame = PUTTS.assign(day=["2020-01-01", day, "2020-02-01", "2020-02-02"])
    assert refusal(tmp_path / "a.csv", frame, "made", order="day") == (
        f"column day, row 2 is '{day}': data.order must be a column of numbers or of dates such as 2026-02-19"
    )


@pytest.mark.parametrize("day", ["2020-01", "2020-Q1", "2020-01-05T10:00:00Z", "2020-01-05 10:00"])
def test_dates_that_sort_as_text_are_an_order(tmp_path, day):
    frame = pd.DataFrame({"y": [1, 2], "day": [day, "2019-01-01"]})
    table = read(tmp_path / "a.csv", frame, "y", order="day")
    np.testing.assert_array_equal(table.columns["day"].values, [1, 0])


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
        read_table(settings(path), {"y": "the model takes"})
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
        read_table(settings(path), {"y": "the model takes"})
    assert "\n" not in str(caught.value)


def test_flipped_bytes_of_a_compressed_file_are_noticed(tmp_path):
    path = tmp_path / "a.csv.gz"
    write(path, pd.DataFrame({"y": np.random.default_rng(1).normal(size=4000)}))
    whole = path.read_bytes()
    path.write_bytes(whole[:9000] + bytes(200) + whole[9200:])
    with pytest.raises(StudyError, match=f"{path}: cannot be read: "):
        read_table(settings(path), {"y": "the model takes"})


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(StudyError, match=r"data.file must end in .csv, .csv.gz, .parquet or .nc"):
        read_table(settings(tmp_path / "a.xlsx"), {"y": "the model takes"})


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
    table = read_table(settings(path), {"y": "the model takes"})
    assert not mark.exists()
    np.testing.assert_array_equal(table.columns["y"].values, [1.0, 2.0])


def test_a_netcdf_file_has_one_dimension(tmp_path):
    path = tmp_path / "a.nc"
    xr.Dataset({"y": (("row", "time"), np.ones((2, 3)))}).to_netcdf(path)
    with pytest.raises(StudyError, match="must be a Dataset with one dimension, got row, time"):
        read_table(settings(path), {"y": "the model takes"})


def test_a_table_is_frozen(tables):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tables["csv"].row = None
