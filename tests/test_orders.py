"""Facts about orders: arrival, and chance that the seed determines."""

import numpy as np
import pytest
from tables import settings, table_of

from scalecheck.data import disk_columns, external_sort
from scalecheck.data.external_sort import sort_by_code, sort_by_value
from scalecheck.data.orders import all_rows, arrival_order, shuffle_rows
from scalecheck.data.table import Column, Table

RNG = np.random.default_rng(7)


# ---- arrival


def test_arrival_is_the_order_of_the_file_without_a_column():
    order = arrival_order(table_of(y=np.arange(9)), settings("data.csv"), seed=1)
    np.testing.assert_array_equal(order, np.arange(9))


def test_rows_of_an_expanded_row_arrive_in_any_order_but_not_before_their_row():
    data = Table("data.csv", {"y": Column(np.arange(300), None)}, np.repeat([1, 2, 3], 100), {})
    order = arrival_order(data, settings("data.csv", expand={"repeat": "n"}), seed=1)
    np.testing.assert_array_equal(data.row[order], data.row)
    assert (order != np.arange(300)).any()


def test_ties_of_arrival_are_shuffled_by_the_seed():
    year = RNG.integers(1990, 1994, size=400)
    data, by_year = table_of(year=year), settings("data.csv", order="year")
    first, again, other = (arrival_order(data, by_year, seed=seed) for seed in (1, 1, 2))
    for order in (first, other):
        np.testing.assert_array_equal(year[order], np.sort(year))
        assert sorted(order) == list(range(400))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first != np.argsort(year, kind="stable")).any()


def test_dates_as_text_arrive_in_time():
    days = ["2020-03-01", "2019-12-31", "2020-01-15", "2019-02-01"]
    order = arrival_order(table_of(day=days), settings("data.csv", order="day"), seed=1)
    assert [days[row] for row in order] == sorted(days)


def test_a_unit_arrives_whole_with_its_first_row():
    unit = list("abcabcabc")
    time = np.array([5, 1, 3, 9, 9, 9, 6, 2, 4])
    data = table_of(unit=unit, time=time)
    order = arrival_order(data, settings("data.csv", order="time", unit="unit"), seed=1)
    assert "".join(unit[row] for row in order) == "bbbcccaaa"
    np.testing.assert_array_equal(time[order], [1, 2, 9, 3, 4, 9, 5, 6, 9])


def test_units_that_arrive_together_are_shuffled_whole():
    unit, time = [f"{n:03d}" for n in range(100)] * 3, np.zeros(300)
    data, whole = table_of(unit=unit, time=time), settings("data.csv", order="time", unit="unit")
    codes = data.columns["unit"].values
    first, other = (codes[arrival_order(data, whole, seed=seed)] for seed in (1, 2))
    for order in (first, other):
        assert (np.diff(order.astype(int)) != 0).sum() == 99
    assert (first != other).any()


# ---- chance


def shuffled(n_rows, unit, rng):
    rows = all_rows(n_rows)
    shuffle_rows(rows, unit, rng)
    return rows


@pytest.mark.parametrize("n_units", [None, 1, 30, 500])
def test_random_order_is_a_permutation_with_whole_units(n_units):
    unit = None if n_units is None else RNG.integers(n_units, size=500)
    order = shuffled(500, unit, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(order), np.arange(500))
    if unit is not None:
        assert (np.diff(unit[order]) != 0).sum() == len(np.unique(unit)) - 1
    again, other = (shuffled(500, unit, np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(order, again)
    assert (order != other).any()


def test_units_come_in_any_order_whatever_their_size():
    # Were units placed by a random row, large ones would come first.
    unit = np.repeat(np.arange(11), [100] + [1] * 10)
    first = [unit[shuffled(110, unit, np.random.default_rng(seed))[0]] == 0 for seed in range(500)]
    assert abs(np.mean(first) - 1 / 11) < 4 * np.sqrt(1 / 11 * 10 / 11 / 500)


# ---- block by block


@pytest.fixture(params=[3, 64, 10_000])
def block(request, monkeypatch):
    """So many rows are held at once."""
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", request.param)


N_ROWS = 700

WHEN = {
    "few values": RNG.integers(4, size=N_ROWS),
    "all differ": RNG.normal(size=N_ROWS),
    "much mass at one": np.where(RNG.random(N_ROWS) < 0.6, 0.0, RNG.normal(size=N_ROWS)),
    "one value": np.zeros(N_ROWS, "int16"),
    "ascending": np.repeat(np.arange(N_ROWS // 7, dtype="uint8"), 7),
    "unsigned": RNG.integers(2**63, 2**64, size=N_ROWS, dtype="uint64"),
}


@pytest.mark.parametrize("n_units", [None, 1, 40, N_ROWS])
@pytest.mark.parametrize("when", WHEN.values(), ids=WHEN)
def test_arrival_is_what_one_sort_of_all_rows_gives(block, when, n_units):
    unit = RNG.integers(n_units or 1, size=N_ROWS)
    data = table_of(when=when, unit=unit)
    named = settings("data.csv", order="when", unit=None if n_units is None else "unit")
    rng = np.random.default_rng([5, 1])
    keys = [rng.permutation(N_ROWS), when]
    if n_units is not None:
        first = np.array([min(when[unit == u], default=when.max()) for u in range(unit.max() + 1)])
        keys += [rng.permutation(unit.max() + 1)[unit], first[unit]]
    np.testing.assert_array_equal(arrival_order(data, named, seed=5), np.lexsort(keys))


@pytest.mark.parametrize("n_units", [None, 1, 40, N_ROWS])
def test_random_orders_are_those_of_a_permutation(block, n_units):
    # Fits that were made before rows were shuffled in 32 bits must read the same rows.
    unit = None if n_units is None else RNG.integers(n_units, size=N_ROWS)
    rng = np.random.default_rng(9)
    expected = rng.permutation(N_ROWS)
    if unit is not None:
        _, code = np.unique(unit, return_inverse=True)
        rank = rng.permutation(code.max() + 1)
        expected = expected[np.argsort(rank[code[expected]], kind="stable")]
    found = shuffled(N_ROWS, unit, np.random.default_rng(9))
    np.testing.assert_array_equal(found, expected)


def test_sorts_keep_the_order_of_equal_rows(block):
    codes = RNG.integers(5, size=N_ROWS)
    rows = [all_rows(N_ROWS)[::-1].copy() for _ in range(2)]
    expected = rows[0][np.argsort(codes[rows[0]], kind="stable")]
    sort_by_code(rows[0], lambda part: codes[part], 5)
    sort_by_value(rows[1], codes)
    for found in rows:
        np.testing.assert_array_equal(found, expected)


def test_ranges_hold_hardly_more_than_a_block_whatever_the_period_of_the_values(monkeypatch):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", 2**10)
    n_rows = 2**19
    values = np.arange(n_rows) % 8 + RNG.random(n_rows)
    edges = external_sort._edges(values)
    # Odd ranges hold one value each, an edge.
    sizes = np.bincount(external_sort._range_of(values, edges))[::2]
    assert sizes.sum() > 0.9 * n_rows
    assert sizes.max() < 3 * disk_columns.BLOCK_ROWS


def test_few_values_in_turn_are_edges_all(monkeypatch):
    monkeypatch.setattr(disk_columns, "BLOCK_ROWS", 2**10)
    np.testing.assert_array_equal(external_sort._edges(np.arange(2**19) % 8), np.arange(8))
