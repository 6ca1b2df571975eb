"""Facts about orders: levels of axes, arrival, and chance that the seed determines."""

import numpy as np
import pytest

from scalecheck.data import Column, Table
from scalecheck.errors import StudyError
from scalecheck.orders import arrival_order, cut_axis, random_order
from scalecheck.study import DataSettings

RNG = np.random.default_rng(7)


def table(**columns):
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


def settings(*, order=None, unit=None, expand=None):
    return DataSettings("data.csv", "y", expand, order, unit, (), (), "error")


# ---- levels


def test_levels_are_the_most_frequent_categories_in_order_of_their_labels():
    axis = cut_axis(table(site=list("aabbbbcdddeee")), "site", 3)
    assert axis.labels == ("b", "d", "e")
    np.testing.assert_array_equal(axis.level, [-1, -1, 0, 0, 0, 0, -1, 1, 1, 1, 2, 2, 2])


def test_every_category_is_a_level_where_there_are_few():
    axis = cut_axis(table(site=list("abab")), "site", 8)
    assert axis.labels == ("a", "b")
    np.testing.assert_array_equal(axis.level, [0, 1, 0, 1])


def test_equally_frequent_categories_are_chosen_by_label():
    assert cut_axis(table(site=list("dcbadcba")), "site", 2).labels == ("a", "b")


def test_a_number_with_few_values_has_a_level_for_each():
    axis = cut_axis(table(x=np.array([0.5, 2.0, 2.0, 0.5, 10.0])), "x", 3)
    assert axis.labels == ("0.5", "2", "10")
    np.testing.assert_array_equal(axis.level, [0, 1, 1, 0, 2])


@pytest.mark.parametrize("levels", [2, 3, 8])
def test_quantile_bins_of_a_number_are_equally_full(levels):
    values = RNG.normal(size=2400)
    axis = cut_axis(table(x=values), "x", levels)
    assert len(axis.labels) == levels
    np.testing.assert_array_equal(np.bincount(axis.level), 2400 // levels)
    # Bins are intervals: levels grow with the value.
    assert (np.diff(axis.level[np.argsort(values)]) >= 0).all()


def test_equal_values_never_fall_into_two_bins():
    values = RNG.poisson(3.0, size=1000)
    axis = cut_axis(table(x=values), "x", 4)
    for value in np.unique(values):
        assert len(np.unique(axis.level[values == value])) == 1
    assert (np.bincount(axis.level) > 0).all()
    assert len(axis.labels) == axis.level.max() + 1


@pytest.mark.parametrize("heavy", [0.0, 99.0], ids=["lowest", "highest"])
def test_a_value_with_nearly_all_rows_still_leaves_two_levels(heavy):
    values = np.where(np.arange(1000) < 980, heavy, np.arange(1000) % 20 + 10.0)
    axis = cut_axis(table(x=values), "x", 4)
    assert len(axis.labels) == 2
    assert set(axis.level) == {0, 1}


def test_labels_of_bins_name_their_first_and_last_value():
    axis = cut_axis(table(x=np.arange(100)), "x", 4)
    assert axis.labels == ("0 to 24", "25 to 49", "50 to 74", "75 to 99")


@pytest.mark.parametrize(
    "values",
    [
        np.array([20180101, 20180102, 20180103]),
        np.array([20180101.0, 20180102.0, 20180103.0]),
        1.0 + np.arange(3) * 1e-9,
        20180101 + np.arange(50),
        1.0 + np.arange(50) * 1e-9,
    ],
    ids=["dates", "dates as floats", "close", "bins of dates", "close bins"],
)
def test_labels_tell_levels_apart(values):
    axis = cut_axis(table(x=values), "x", 4)
    assert len(set(axis.labels)) == len(axis.labels) >= 3


@pytest.mark.parametrize(
    ("column", "words"), [(np.full(5, 3.5), "3.5"), (["x"] * 5, "x"), (np.full(5, 3), "3")]
)
def test_a_constant_column_is_no_axis(column, words):
    with pytest.raises(StudyError) as caught:
        cut_axis(table(x=column), "x", 4)
    assert str(caught.value) == (
        f"data.csv: column x is {words} in every row and cannot be one of data.axes"
    )


# ---- arrival


def test_arrival_is_the_order_of_the_file_without_a_column():
    order = arrival_order(table(y=np.arange(9)), settings(), seed=1)
    np.testing.assert_array_equal(order, np.arange(9))


def test_rows_of_an_expanded_row_arrive_in_any_order_but_not_before_their_row():
    data = Table("data.csv", {"y": Column(np.arange(300), None)}, np.repeat([1, 2, 3], 100), {})
    order = arrival_order(data, settings(expand={"repeat": "n"}), seed=1)
    np.testing.assert_array_equal(data.row[order], data.row)
    assert (order != np.arange(300)).any()


def test_ties_of_arrival_are_shuffled_by_the_seed():
    year = RNG.integers(1990, 1994, size=400)
    data, by_year = table(year=year), settings(order="year")
    first, again, other = (arrival_order(data, by_year, seed=seed) for seed in (1, 1, 2))
    for order in (first, other):
        np.testing.assert_array_equal(year[order], np.sort(year))
        assert sorted(order) == list(range(400))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first != np.argsort(year, kind="stable")).any()


def test_dates_as_text_arrive_in_time():
    days = ["2020-03-01", "2019-12-31", "2020-01-15", "2019-02-01"]
    order = arrival_order(table(day=days), settings(order="day"), seed=1)
    assert [days[row] for row in order] == sorted(days)


def test_a_unit_arrives_whole_with_its_first_row():
    unit = list("abcabcabc")
    time = np.array([5, 1, 3, 9, 9, 9, 6, 2, 4])
    data = table(unit=unit, time=time)
    order = arrival_order(data, settings(order="time", unit="unit"), seed=1)
    assert "".join(unit[row] for row in order) == "bbbcccaaa"
    np.testing.assert_array_equal(time[order], [1, 2, 9, 3, 4, 9, 5, 6, 9])


def test_units_that_arrive_together_are_shuffled_whole():
    unit, time = [f"{n:03d}" for n in range(100)] * 3, np.zeros(300)
    data, whole = table(unit=unit, time=time), settings(order="time", unit="unit")
    codes = data.columns["unit"].values
    first, other = (codes[arrival_order(data, whole, seed=seed)] for seed in (1, 2))
    for order in (first, other):
        assert (np.diff(order) != 0).sum() == 99
    assert (first != other).any()


# ---- chance


@pytest.mark.parametrize("n_units", [None, 1, 30, 500])
def test_random_order_is_a_permutation_with_whole_units(n_units):
    unit = None if n_units is None else RNG.integers(n_units, size=500)
    order = random_order(unit, 500, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(order), np.arange(500))
    if unit is not None:
        assert (np.diff(unit[order]) != 0).sum() == len(np.unique(unit)) - 1
    again, other = (random_order(unit, 500, np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(order, again)
    assert (order != other).any()


def test_units_come_in_any_order_whatever_their_size():
    # Were units placed by a random row, large ones would come first.
    unit = np.repeat(np.arange(11), [100] + [1] * 10)
    first = [
        unit[random_order(unit, 110, np.random.default_rng(seed))[0]] == 0 for seed in range(500)
    ]
    assert abs(np.mean(first) - 1 / 11) < 4 * np.sqrt(1 / 11 * 10 / 11 / 500)
