"""Facts about levels: categories and quantile bins along which fits are compared."""

from typing import NamedTuple

import numpy as np
import pytest
from tables import table_of

from scalecheck.data.levels import cut_axis
from scalecheck.errors import StudyError

RNG = np.random.default_rng(7)


class Cut(NamedTuple):
    """Labels of the levels of a column, and the level of each row."""

    labels: tuple
    level: np.ndarray


def cut(table, name, levels):
    axis = cut_axis(table, name, levels)
    return Cut(axis.labels, axis.level_of(table.columns[name].values))


def test_levels_are_the_most_frequent_categories_in_order_of_their_labels():
    axis = cut(table_of(site=list("aabbbbcdddeee")), "site", 3)
    assert axis.labels == ("b", "d", "e")
    np.testing.assert_array_equal(axis.level, [-1, -1, 0, 0, 0, 0, -1, 1, 1, 1, 2, 2, 2])


def test_every_category_is_a_level_where_there_are_few():
    axis = cut(table_of(site=list("abab")), "site", 8)
    assert axis.labels == ("a", "b")
    np.testing.assert_array_equal(axis.level, [0, 1, 0, 1])


def test_equally_frequent_categories_are_chosen_by_label():
    assert cut(table_of(site=list("dcbadcba")), "site", 2).labels == ("a", "b")


def test_a_number_with_few_values_has_a_level_for_each():
    axis = cut(table_of(x=np.array([0.5, 2.0, 2.0, 0.5, 10.0])), "x", 3)
    assert axis.labels == ("0.5", "2", "10")
    np.testing.assert_array_equal(axis.level, [0, 1, 1, 0, 2])


@pytest.mark.parametrize("levels", [2, 3, 8])
def test_quantile_bins_of_a_number_are_equally_full(levels):
    values = RNG.normal(size=2400)
    axis = cut(table_of(x=values), "x", levels)
    assert len(axis.labels) == levels
    np.testing.assert_array_equal(np.bincount(axis.level), 2400 // levels)
    # Bins are intervals: levels grow with the value.
    assert (np.diff(axis.level[np.argsort(values)]) >= 0).all()


def test_equal_values_never_fall_into_two_bins():
    values = RNG.poisson(3.0, size=1000)
    axis = cut(table_of(x=values), "x", 4)
    for value in np.unique(values):
        assert len(np.unique(axis.level[values == value])) == 1
    assert (np.bincount(axis.level) > 0).all()
    assert len(axis.labels) == axis.level.max() + 1


@pytest.mark.parametrize("heavy", [0.0, 99.0], ids=["lowest", "highest"])
def test_a_value_with_nearly_all_rows_still_leaves_two_levels(heavy):
    values = np.where(np.arange(1000) < 980, heavy, np.arange(1000) % 20 + 10.0)
    axis = cut(table_of(x=values), "x", 4)
    assert len(axis.labels) == 2
    assert set(axis.level) == {0, 1}


def test_labels_of_bins_name_their_first_and_last_value():
    axis = cut(table_of(x=np.arange(100)), "x", 4)
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
    axis = cut(table_of(x=values), "x", 4)
    assert len(set(axis.labels)) == len(axis.labels) >= 3


@pytest.mark.parametrize(
    ("column", "words"), [(np.full(5, 3.5), "3.5"), (["x"] * 5, "x"), (np.full(5, 3), "3")]
)
def test_a_constant_column_is_no_axis(column, words):
    with pytest.raises(StudyError) as caught:
        cut(table_of(x=column), "x", 4)
    assert str(caught.value) == (
        f"data.csv: column x is {words} in every row and cannot be one of data.axes"
    )


@pytest.mark.parametrize("kind", [float, int])
@pytest.mark.parametrize("levels", [2, 3, 7])
def test_bins_end_at_quantiles_of_the_rows(kind, levels):
    values = (RNG.normal(size=1003) * 40).astype(kind)
    shares = np.arange(1, levels) / levels
    inner = np.unique(np.quantile(values, shares, method="inverted_cdf"))
    axis = cut(table_of(x=values), "x", levels)
    np.testing.assert_array_equal(axis.level, np.searchsorted(inner, values))
    for number, label in enumerate(axis.labels):
        own = values[axis.level == number]
        assert label.split(" to ") == [f"{end:.4g}" for end in (own.min(), own.max())]


def test_a_label_knows_no_negative_zero():
    values = np.array([-1.0, -0.0, 0.0, 1.0, -0.0])
    assert cut(table_of(x=values), "x", 3).labels == ("-1", "0", "1")
