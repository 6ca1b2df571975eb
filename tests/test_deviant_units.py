"""Units that deviate, among replicates that are known."""

import numpy as np
import pytest
from scipy import stats

from scalecheck.checks import deviant_units


def test_p_values_of_units_that_follow_the_model_are_uniform():
    rng = np.random.default_rng(1)
    p = deviant_units.two_sided_p(rng.standard_normal(2000), rng.standard_normal((999, 2000)))
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_p_values_with_ties_have_the_mean_of_uniform_ones():
    """Half of each tie makes them so, whatever the distribution; one or two values only make them coarse."""
    rng = np.random.default_rng(2)
    observed, replicates = rng.poisson(0.7, 4000) / 3, rng.poisson(0.7, (999, 4000)) / 3
    below = (replicates < observed).mean(axis=0) + (replicates == observed).mean(axis=0) / 2
    expected = 2 * np.minimum(below, 1 - below)
    np.testing.assert_allclose(deviant_units.two_sided_p(observed, replicates), expected, atol=3e-3)
    assert deviant_units.two_sided_p(np.ones(1), np.ones((999, 1)))[0] == 1


def test_the_smallest_p_value_is_one_of_two_in_all():
    assert deviant_units.two_sided_p(np.array([9.0]), np.zeros((999, 1)))[0] == pytest.approx(
        2 / 1000
    )


def table(n_units, n_deviant):
    rng = np.random.default_rng(4)
    observed = rng.standard_normal(n_units)
    observed[:n_deviant] = 6 + np.arange(n_deviant)
    replicates = rng.standard_normal((3999, n_units))
    labels = [f"p{k}" for k in range(n_units)]
    return deviant_units.tabulate_deviant_units(labels, np.full(n_units, 5), observed, replicates)


def test_the_most_deviant_come_first_with_what_was_predicted():
    found = table(60, 3)
    assert list(found.columns) == "unit rows observed predicted low high p q units".split()
    # Their ranks tie: the furthest comes first.
    assert found["unit"].tolist()[:3] == ["p2", "p1", "p0"]
    assert (found["q"] < deviant_units.DEVIANT).sum() == 3
    assert found["p"].is_monotonic_increasing
    assert found["low"].to_numpy() == pytest.approx(stats.norm.ppf(0.055), abs=0.15)
    assert found["high"].to_numpy() == pytest.approx(stats.norm.ppf(0.945), abs=0.15)
    assert (found["units"] == 60).all()


def test_a_long_table_is_cut_but_keeps_all_that_deviate():
    assert len(table(400, 2)) == deviant_units.MOST_SHOWN
    long = table(400, 250)
    assert len(long) >= 250
    assert (long["q"] < deviant_units.DEVIANT).all()


def test_a_replicate_without_spread_is_no_error():
    found = deviant_units.tabulate_deviant_units(
        ["a", "b"], np.array([1, 1]), np.array([1.0, 0.0]), np.ones((999, 2))
    )
    assert found["unit"].tolist() == ["b", "a"]
    assert found["p"].tolist() == [0.002, 1.0]
