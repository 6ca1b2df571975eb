"""Facts about values that are missing or infinite: refused with their rows, or left out and counted."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from tables import FORMATS, read, read_file, refusal

from scalecheck.data import disk_columns
from scalecheck.errors import StudyError


@pytest.fixture(autouse=True, params=[2, 2**18])
def rows_at_once(request, monkeypatch):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", request.param)


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
    ("columns", "keys", "column", "row"),
    [
        (("x",), {}, "x", 2),
        (("ok",), {"axes": ("site",)}, "site", 2),
        (("ok",), {"unit": "group"}, "group", 4),
        (("ok",), {"order": "group"}, "group", 4),
    ],
)
def test_a_gap_is_refused_with_its_row(tmp_path, ending, columns, keys, column, row):
    found = refusal(tmp_path / f"a.{ending}", GAPS, *columns, **keys)
    gap = "is empty" if "csv" in ending else "has no value (empty or NaN)"
    assert found == f"column {column} {gap} in row {row} (data.missing: drop leaves such rows out)"


@pytest.mark.parametrize("word", ["NA", "NaN", "N/A", "null", "None", "<NA>"])
def test_a_missing_number_is_quoted_as_it_is_written(tmp_path, word):
    path = tmp_path / "a.csv"
    path.write_text(f"x,y\n1.5,1\n{word},2\n,3\n4,4\n")
    assert str(pytest.raises(StudyError, read_file, path, "x").value) == (
        f"{path}: column x has no value in row 2 (holds '{word}'), 3 (is empty)"
        " (data.missing: drop leaves such rows out)"
    )
    np.testing.assert_array_equal(
        read_file(path, "x", missing="drop").columns["x"].values, [1.5, 4.0]
    )


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
    # An integer column with a gap is one of floats; its labels are integers all the same, but where they are text.
    assert table.columns["group"].labels == (("1.0",) if "csv" in ending else ("1",))
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


def test_long_identifiers_beside_a_gap_stay_apart(tmp_path):
    # As floats they would be one.
    patient = pd.array([2**53, 2**53 + 1, None, 2**53], dtype="Int64")
    frame = pd.DataFrame({"y": [1, 2, 3, 4], "patient": patient})
    table = read(tmp_path / "a.parquet", frame, "y", unit="patient", missing="drop")
    assert table.columns["patient"].labels == (str(2**53), str(2**53 + 1))
    np.testing.assert_array_equal(table.columns["patient"].values, [0, 1, 0])


@pytest.mark.parametrize("marked", ["_FillValue", "missing_value"])
def test_whole_numbers_beside_a_gap_of_netcdf_stay_what_they_are(tmp_path, marked):
    path = tmp_path / "a.nc"
    whole = xr.Variable("row", np.array([2**53 + 1, 2**53, -1, 2**53]), {marked: -1})
    xr.Dataset({"y": whole, "patient": whole}).to_netcdf(path)
    table = read_file(path, "y", unit="patient", missing="drop")
    assert table.columns["patient"].labels == (str(2**53), str(2**53 + 1))
    np.testing.assert_array_equal(table.columns["patient"].values, [1, 0, 0])
    assert table.columns["y"].values.dtype == "int64"
    np.testing.assert_array_equal(table.columns["y"].values, [2**53 + 1, 2**53, 2**53])
    assert table.dropped == {"y missing": 1, "patient missing": 0}


def test_a_text_that_netcdf_marks_as_missing_is_a_gap(tmp_path):
    path = tmp_path / "a.nc"
    site = xr.Variable("row", np.array(["b", "NA", "a"], dtype=object), {"missing_value": "NA"})
    xr.Dataset({"y": ("row", [1, 2, 3]), "site": site}).to_netcdf(path)
    table = read_file(path, "y", categories=("site",), missing="drop")
    assert table.columns["site"].labels == ("a", "b")
    assert table.dropped == {"site missing": 1}


def test_times_and_packed_numbers_beside_a_gap_of_netcdf_are_unpacked(tmp_path):
    path = tmp_path / "a.nc"
    whole = np.array([1, 2, -1])
    time = {"units": "days since 1970-01-11", "_FillValue": -1}
    packed = {"scale_factor": 0.5, "add_offset": 1.0, "_FillValue": -1}
    xr.Dataset({"day": ("row", whole, time), "y": ("row", whole, packed)}).to_netcdf(path)
    table = read_file(path, "y", order="day", missing="drop")
    np.testing.assert_array_equal(table.columns["day"].values, [11, 12])
    np.testing.assert_array_equal(table.columns["y"].values, [1.5, 2])


def test_labels_that_are_long_floats_stay_apart(tmp_path):
    frame = pd.DataFrame({"y": [1, 2, 3], "size": [2e300, 1e300, 1.0]})
    columns = read(tmp_path / "a.parquet", frame, "y", categories=("size",)).columns
    assert columns["size"].labels == ("1.0", "1e+300", "2e+300")


def test_whole_numbers_beside_a_gap_stay_whole_numbers(tmp_path):
    # As floats the first two would be one.
    frame = pd.DataFrame({"y": pd.array([2**53 + 1, 2**53, 3, 4, None, 6], dtype="Int64")})
    found = read(tmp_path / "a.parquet", frame, "y", missing="drop").columns["y"].values
    assert found.dtype == "int64"
    np.testing.assert_array_equal(found, [2**53 + 1, 2**53, 3, 4, 6])


def test_truth_values_beside_a_gap_are_0_and_1(tmp_path):
    frame = pd.DataFrame({"y": [True, False, True, None], "site": ["a", "b", None, "b"]})
    found = read(tmp_path / "a.parquet", frame, "y", missing="drop").columns["y"].values
    assert found.dtype == "int8"
    np.testing.assert_array_equal(found, [1, 0, 1])
    assert refusal(tmp_path / "a.parquet", frame, "y").startswith("column y has no value")


@pytest.mark.parametrize("ending", ["parquet", "nc"])
def test_an_empty_text_among_numbers_is_a_gap(tmp_path, ending):
    frame = pd.DataFrame({"y": ["1", "", "2.5", "2"]})
    path = tmp_path / f"a.{ending}"
    column = read(path, frame, "y", missing="drop").columns["y"]
    np.testing.assert_array_equal(column.values, [1, 2.5, 2])
    assert refusal(path, frame, "y").startswith("column y has no value (empty or NaN) in row 2 (")
