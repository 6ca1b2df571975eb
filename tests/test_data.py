"""Facts about tables: the same from every format, expanded, encoded."""

import dataclasses
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tables import FORMATS, PUTTS, read, read_file, refusal, write

from scalecheck.data import disk_columns


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


def test_dates_as_text_that_are_but_an_order_are_days_since_1970(tables):
    day = tables["csv"].columns["day"]
    assert day.labels is None
    np.testing.assert_array_equal(day.values, [18293, 18261, 18262, 18263])


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
    table = read_file(name, "made", possible=["distance", "speed"])
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


WRITTEN = {
    "text": ["1.5", "2", "1.5"],
    "decimals": [Decimal("1.5"), Decimal("2"), Decimal("1.5")],
}


@pytest.mark.parametrize("block", [1, 2**18])
@pytest.mark.parametrize("values", WRITTEN.values(), ids=WRITTEN)
def test_numbers_that_are_written_otherwise_are_numbers(tmp_path, monkeypatch, values, block):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", block)
    column = read(tmp_path / "a.parquet", pd.DataFrame({"y": values}), "y").columns["y"]
    assert column.labels is None
    np.testing.assert_array_equal(column.values, [1.5, 2.0, 1.5])


@pytest.mark.parametrize("block", [2, 2**18])
def test_an_index_that_only_counts_is_a_column(tmp_path, monkeypatch, block):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", block)
    frame = PUTTS.set_index(pd.RangeIndex(5, 13, 2, name="putt"))
    table = read(tmp_path / "a.parquet", frame, "putt", "made")
    np.testing.assert_array_equal(table.columns["putt"].values, [5, 7, 9, 11])


def test_text_of_a_netcdf_file_may_be_bytes(tmp_path):
    path = tmp_path / "a.nc"
    site = ("row", np.array([b"b", b"a"]))
    xr.Dataset({"y": ("row", [1.0, 2.0]), "site": site}).to_netcdf(path)
    table = read_file(path, "y", axes=("site",))
    assert table.columns["site"].labels == ("a", "b")


def test_a_table_is_frozen(tables):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tables["csv"].row = None


# ---- expansion


COUNTS = pd.DataFrame({"x": [1.5, 2.5, 3.5], "n": [3, 0, 2], "k": [1, 0, 2], "site": list("aba")})
BINOMIAL = {"trials": "n", "successes": "k"}


@pytest.mark.parametrize("block", [1, 2, 2**18])
@pytest.mark.parametrize("ending", FORMATS)
def test_binomial_rows_become_one_row_per_trial(tmp_path, monkeypatch, ending, block):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", block)
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


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "float32"])
def test_counts_may_be_of_any_type(tmp_path, dtype):
    table = read(tmp_path / "a.parquet", COUNTS.astype({"n": dtype}), "x", expand={"repeat": "n"})
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
        ({"n": [3, np.nan, 2]}, "column n is empty in row 2"),
        ({"y": 1}, "data.expand makes the outcome y, which must not be a column too"),
    ],
)
def test_wrong_counts_are_refused(tmp_path, change, message):
    frame = COUNTS.assign(**change)
    assert refusal(tmp_path / "a.csv", frame, "x", "y", expand=BINOMIAL).startswith(message)


@pytest.mark.parametrize("block", [1, 2, 2**18])
def test_labels_of_rows_without_a_count_are_gone(tmp_path, monkeypatch, block):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", block)
    frame = COUNTS.assign(site=list("cba"), group=[3, 2, 1], n=[3, 0, 2])
    keys = {"axes": ("site",), "categories": ("group",), "expand": {"repeat": "n"}}
    columns = read(tmp_path / "a.csv", frame, "x", **keys).columns
    assert (columns["site"].labels, columns["group"].labels) == (("a", "c"), ("1", "3"))
    np.testing.assert_array_equal(columns["site"].values, [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(columns["group"].values, [1, 1, 1, 0, 0])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"order": "n"}, "data.order must not name a count of data.expand, got n"),
        ({"unit": "n"}, "data.unit must not name a count of data.expand, got n"),
        ({"axes": ("site", "k")}, "data.axes must not name a count of data.expand, got k"),
        ({"categories": ("k",)}, "data.categories must not name a count of data.expand, got k"),
    ],
)
def test_a_count_is_used_for_nothing_else(tmp_path, keys, message):
    assert refusal(tmp_path / "a.csv", COUNTS, "x", "y", expand=BINOMIAL, **keys) == message


def test_a_model_takes_no_count(tmp_path):
    # Those that it must be given, or that model.arguments names: expansion takes them away.
    message = refusal(tmp_path / "a.csv", COUNTS, "x", "n", expand={"repeat": "n"})
    assert message == "the model must not take a count of data.expand, got n"
    path = write(tmp_path / "b.csv", COUNTS)
    assert set(read_file(path, "x", possible=["n"], expand={"repeat": "n"}).columns) == {"x"}


@pytest.mark.parametrize("block", [1, 2**18])
@pytest.mark.parametrize("missing", ["error", "drop"])
@pytest.mark.parametrize("kind", ["object", "category"])
def test_text_for_counts_is_named_where_it_stands(tmp_path, monkeypatch, kind, missing, block):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", block)
    frame = COUNTS.assign(n=pd.Series([None, "b", "c"], dtype=kind))
    found = refusal(tmp_path / "a.parquet", frame, "x", expand={"repeat": "n"}, missing=missing)
    assert found == "column n must hold numbers, row 2 is 'b'"


def test_counts_that_are_all_missing_are_gaps(tmp_path):
    frame = COUNTS.assign(n=pd.Series([None] * 3, dtype="object"))
    found = refusal(tmp_path / "a.parquet", frame, "x", expand={"repeat": "n"})
    assert found.startswith("column n has no value (empty or NaN) in row 1, 2, 3 (")


def test_rows_are_those_of_the_file_after_some_were_dropped(tmp_path):
    frame = COUNTS.assign(x=[np.nan, 1.0, 2.0])
    table = read(tmp_path / "a.csv", frame, "x", expand={"repeat": "n"}, missing="drop")
    np.testing.assert_array_equal(table.row, [3, 3])
