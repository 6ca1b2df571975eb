"""The cost of a gradient as a function of rows."""

import numpy as np
import pytest

from scalecheck.checks.gradient_cost import cost_per_gradient

ROWS = 200.0 * 2 ** np.arange(6)
# Overhead in units of what the smallest fit's rows cost.
OVERHEADS = [0, 1, 10]


def timings(overhead, exponent, n_times, rows=ROWS, sd=0.05):
    """Seconds `(time, fit)` with relative noise, and the true seconds at 8 times the most rows."""
    rng = np.random.default_rng([int(overhead), int(exponent)])
    unit = 1e-5 / rows[0] ** exponent
    seconds = 1e-5 * overhead + unit * rows**exponent
    full = 1e-5 * overhead + unit * (8 * rows[-1]) ** exponent
    return seconds * np.exp(sd * rng.standard_normal((n_times, len(rows)))), full


@pytest.mark.parametrize("overhead", OVERHEADS)
def test_an_affine_cost_is_linear_and_extrapolates_without_bias(overhead):
    seconds, full = timings(overhead, 1, 100)
    found = [cost_per_gradient(ROWS, one) for one in seconds]
    bias = np.median([cost.predict(8 * ROWS[-1:]) for cost in found]) / full
    assert 0.95 < bias < 1.05
    assert np.mean([cost.exponent == 1 for cost in found]) >= 0.98


@pytest.mark.parametrize("overhead", OVERHEADS)
def test_a_gaussian_process_is_cubic(overhead):
    seconds, full = timings(overhead, 3, 60)
    found = [cost_per_gradient(ROWS, one) for one in seconds]
    assert np.median([cost.exponent for cost in found]) == pytest.approx(3, abs=0.1)
    bias = np.median([cost.predict(8 * ROWS[-1:]) for cost in found]) / full
    assert 0.9 < bias < 1.1


def test_measured_seconds_of_a_cholesky_factor_grow_like_the_cube():
    """By fixed numbers: overhead, a matrix of kernels, its factor, and a few percent of scatter."""
    rows = np.array([100.0, 200.0, 400.0, 800.0, 1600.0])
    exact = 3e-5 + 2e-9 * rows**2 + 1e-11 * rows**3
    cost = cost_per_gradient(rows, exact * np.array([1.03, 0.98, 1.04, 0.97, 1.01]))
    assert 2.5 < cost.exponent <= 3


@pytest.mark.parametrize("n_fits", [1, 2])
def test_too_few_fits_are_taken_as_linear(n_fits):
    cost = cost_per_gradient(ROWS[:n_fits], 1e-8 * ROWS[:n_fits])
    assert cost.exponent == 1
    assert cost.predict(ROWS) == pytest.approx(1e-8 * ROWS)


def test_what_was_not_timed_is_left_out():
    seconds = np.where(np.arange(6) == 2, np.nan, 1e-5 + 1e-8 * ROWS)
    cost = cost_per_gradient(ROWS, seconds)
    assert cost.predict(np.array([1e6])) == pytest.approx(1e-5 + 1e-2)
    assert np.isnan(cost_per_gradient(ROWS, np.full(6, np.nan)).predict(ROWS)).all()


def test_a_cost_never_falls_with_rows():
    cost = cost_per_gradient(ROWS, 1e-5 * np.array([1.2, 1.1, 1.0, 1.0, 0.9, 0.9]))
    assert cost.fixed >= 0
    assert cost.per_row >= 0
