"""Facts about dates that are written as text: days since 1970 of all that ISO 8601 knows, in whatever mixture."""

import numpy as np
import pandas as pd
import pytest
from tables import read, refusal

from scalecheck.data import disk_columns
from scalecheck.data.dates import days_of

DAYS = {
    "1970-01-01": 0,
    "1970-02": 31,
    "1970-01-02T06:00": 1.25,
    "1970-01-02 6:00": 1.25,
    "1970-01-02 06": 1.25,
    "1970-01-02T06:00:00Z": 1.25,
    "1970-01-02T06:00:00.5Z": 1.25 + 0.5 / 86400,
    "1970-01-02 06:00:00+02:00": 1.25 - 2 / 24,
    "1970-01-02T06:00 -0500": 1.25 + 5 / 24,
    "1970-Q1": 0,
    "1970-Q2": 90,
    "1970-W01": -3,
    "1970-W02-3": 6,
    "1969-12-31": -1,
    "2020-02-29": 18321,
    "9999-12-31": 2932896,
}
NO_DATES = [
    "",
    "1970",
    "1970-1-5",
    "5.1.1970",
    "1/5/1970",
    "January",
    "1970-13",
    "1971-02-29",
    "1970-Q5",
    "1970-Q1-1",
    "0000-Q1",
    "1970-W54",
    "1970-W1",
    "1970-W01-8",
    "1970-01-02T25:00",
    "1970-01-02T",
    "1970-01-02 noon",
    "1970-01T06:00",
    "70-01-02",
    "now",
    "NaT",
    "١٩٧٠-٠١-٠٢",
]


@pytest.mark.parametrize("text", DAYS)
def test_a_date_is_so_many_days_after_1970(text):
    np.testing.assert_allclose(days_of(pd.Index([text])), [DAYS[text]], atol=1e-9)


@pytest.mark.parametrize("text", NO_DATES)
def test_what_is_no_date_has_no_days(text):
    assert np.isnan(days_of(pd.Index([text])))


def test_dates_may_be_mixed_and_there_may_be_none():
    mixed = [*DAYS, *NO_DATES]
    expected = [*DAYS.values(), *[np.nan] * len(NO_DATES)]
    np.testing.assert_allclose(days_of(pd.Index(mixed)), expected, atol=1e-9)
    assert len(days_of(pd.Index([], dtype="str"))) == 0


# ---- an order


LATER = [
    ["2020-01-05 9:00", "2020-01-05 10:00"],
    ["2020-01-05T09:00", "2020-01-05 10:00"],
    ["2020-01-05T12:00+05:00", "2020-01-05T10:00Z"],
    ["2020-01-05T10:00:30Z", "2020-01-05T10:00:30.5Z"],
    ["2020-W06", "2020-Q2", "2020-05"],
    ["2020-01-05", "2020-01-05T10:00"],
]


@pytest.mark.parametrize("block", [1, 2**18])
@pytest.mark.parametrize("kind", ["str", "category"])
@pytest.mark.parametrize("days", LATER, ids=" ".join)
def test_an_order_of_text_is_that_of_time(tmp_path, monkeypatch, days, kind, block):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", block)
    frame = pd.DataFrame({"y": 1, "day": pd.Series(days[::-1], dtype=kind)})
    path = tmp_path / "a.parquet"
    alone = read(path, frame, "y", order="day").columns["day"]
    assert alone.labels is None
    assert (np.diff(alone.values) < 0).all()
    for keys in ({"axes": ("day",)}, {"categories": ("day",)}, {"unit": "day"}):
        both = read(path, frame, "y", order="day", **keys).columns["day"]
        assert both.labels == tuple(days)
        np.testing.assert_array_equal(both.values, np.arange(len(days))[::-1])


def test_a_text_that_the_model_takes_keeps_its_labels_beside_being_an_order(tmp_path):
    frame = pd.DataFrame({"y": [1, 2], "day": ["2020-02", "2020-Q1"]})
    column = read(tmp_path / "a.csv", frame, "y", "day", order="day").columns["day"]
    assert column.labels == ("2020-Q1", "2020-02")
    np.testing.assert_array_equal(column.values, [1, 0])


def test_a_gap_in_an_order_of_text_is_one(tmp_path):
    frame = pd.DataFrame({"y": [1, 2, 3], "day": ["2020-01-02", "", "2020-01-01"]})
    path = tmp_path / "a.parquet"
    assert refusal(path, frame, "y", order="day").startswith("column day has no value")
    column = read(path, frame, "y", order="day", missing="drop").columns["day"]
    np.testing.assert_array_equal(column.values, [18263, 18262])


def test_years_as_text_are_numbers(tmp_path):
    frame = pd.DataFrame({"y": [1, 2], "year": ["2020", "999"]})
    column = read(tmp_path / "a.parquet", frame, "y", order="year").columns["year"]
    assert column.labels is None
    np.testing.assert_array_equal(column.values, [2020, 999])


NO_ORDER = "data.order must be a column of numbers or of dates such as 2026-02-19"


@pytest.mark.parametrize("block", [1, 2**18])
@pytest.mark.parametrize("keys", [{"unit": "when"}, {"categories": ("when",)}, {"axes": ("when",)}])
def test_an_order_must_be_one_whatever_else_the_column_is(tmp_path, monkeypatch, keys, block):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", block)
    frame = pd.DataFrame({"y": 1, "when": ["2020-01-01", "2020-02", "week 3", "week 2"]})
    for path in (tmp_path / "a.csv", tmp_path / "a.parquet"):
        found = refusal(path, frame, "y", order="when", **keys)
        assert found == f"column when, row 3 is 'week 3': {NO_ORDER}"


@pytest.mark.parametrize("block", [1, 2**18])
def test_dates_and_numbers_together_are_no_order(tmp_path, monkeypatch, block):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", block)
    frame = pd.DataFrame({"y": 1, "when": ["2020-01", "2020", "2021-01"]})
    found = refusal(tmp_path / "a.csv", frame, "y", order="when", unit="when")
    assert found == f"column when, row 2 is '2020': {NO_ORDER}"


def test_categories_with_an_order_of_their_own_need_no_dates(tmp_path):
    when = pd.Categorical(["late", "early"], categories=["early", "late"], ordered=True)
    frame = pd.DataFrame({"y": 1, "when": when})
    for keys in ({}, {"categories": ("when",)}):
        column = read(tmp_path / "a.parquet", frame, "y", order="when", **keys).columns["when"]
        assert column.labels == ("early", "late")
        np.testing.assert_array_equal(column.values, [1, 0])
