"""The marginal density unit by unit: against a normal's, where that is exact, and against quadrature."""

import functools

import jax
import numpy as np
import pytest
import random_effects
from random_effects import FAMILIES

from scalecheck.laplace import unit_blocks
from scalecheck.laplace.log_marginal import marginal_and_gradient
from scalecheck.laplace.marginal_density import MarginalDensity
from scalecheck.laplace.unit_blocks import BlockShape, block_of, plan_blocks, rows_by_unit

SIZES = (1, 2, 3, 5, 8, 1, 2, 30)
THETA = np.array([0.4, -0.8, 0.1, -0.6, -0.4])
KEYS = jax.random.split(jax.random.PRNGKey(3), 100)
# Rows of a unit, and units of each size.
ROWS, EACH = (2, 5, 50), 20


@pytest.fixture(scope="module", autouse=True)
def in_double():
    with jax.enable_x64(True):
        yield


@functools.cache
def linear():
    """The marginal density of a linear mixed model of eight units, and its data."""
    values = random_effects.simulate_slopes(np.random.default_rng(1), SIZES)
    batch = random_effects.batch_of(random_effects.slopes, values, precision="float64")
    return MarginalDensity(batch), values


def at(marginal, block, theta=THETA):
    """What a block gives at a theta."""
    start = np.zeros((len(block.is_unit), marginal.model.n_own))
    return marginal_and_gradient(marginal.model, marginal.theta(theta), start, block)


# ---- a linear mixed model


def test_the_marginal_of_a_linear_mixed_model_is_exact():
    marginal, values = linear()
    found = at(marginal, marginal.blocks[0])
    exact = random_effects.normals_of_slopes(THETA, values)
    np.testing.assert_allclose(found.by_unit, exact.log_density, atol=1e-8)
    np.testing.assert_allclose(found.modes.u, exact.mean, atol=1e-8)
    assert found.modes.found.all()


def test_its_gradient_is_that_of_the_closed_form():
    marginal, values = linear()
    exact = jax.grad(random_effects.log_density_of_slopes)(THETA, **values)
    np.testing.assert_allclose(at(marginal, marginal.blocks[0]).gradient, exact, atol=1e-8)


def test_the_density_of_theta_is_that_of_rows_and_prior():
    marginal, values = linear()
    exact = random_effects.normals_of_slopes(THETA, values).log_density.sum()
    assert marginal.evaluate(THETA).value == pytest.approx(
        exact + random_effects.log_prior_of_slopes(THETA), abs=1e-8
    )
    assert marginal.log_prior(THETA[None]) == pytest.approx(
        random_effects.log_prior_of_slopes(THETA), abs=1e-8
    )


def test_a_corrected_integral_of_a_normal_is_exact():
    marginal, values = linear()
    marginal.settle(THETA)
    found = random_effects.both_marginals(marginal, THETA, KEYS)
    exact = random_effects.normals_of_slopes(THETA, values).log_density
    np.testing.assert_allclose(found.corrected, np.tile(exact, (len(KEYS), 1)), rtol=1e-9)


def right_on_average(found, exact):
    """Importance sampling is unbiased for an integral, though not for its logarithm."""
    ratio = np.exp(found.corrected - exact)
    error = ratio.std(axis=0) / np.sqrt(len(ratio))
    apart = (ratio.mean(axis=0) - 1) / error
    assert np.abs(apart).max() < 4.5
    assert np.sqrt((apart**2).mean()) < 1 + 4 / np.sqrt(2 * len(apart))


# ---- blocks


def whole_block(marginal, arrays, shape=None):
    order = rows_by_unit(arrays, ("unit",), arrays.get("row_mask"))
    return order, block_of(marginal.model, arrays, order, 0, order.n_units, shape)


def test_the_order_of_rows_does_not_matter():
    marginal, values = linear()
    mixed = np.random.default_rng(2).permutation(len(values["y"]))
    arrays = {name: column[mixed] for name, column in values.items()}
    _, block = whole_block(marginal, arrays, marginal.shape)
    first, other = at(marginal, marginal.blocks[0]), at(marginal, block)
    np.testing.assert_allclose(other.by_unit, first.by_unit, atol=1e-9)
    np.testing.assert_allclose(other.gradient, first.gradient, atol=1e-9)


def test_rows_and_units_that_only_pad_add_nothing():
    marginal, values = linear()
    shape = BlockShape(len(values["y"]) + 9, len(SIZES) + 3)
    _, block = whole_block(marginal, values, shape)
    first, other = at(marginal, marginal.blocks[0]), at(marginal, block)
    np.testing.assert_allclose(other.by_unit[: len(SIZES)], first.by_unit, atol=1e-9)
    assert (other.by_unit[len(SIZES) :] == 0).all()
    np.testing.assert_allclose(other.gradient, first.gradient, atol=1e-9)


@pytest.mark.parametrize(
    ("numbers", "most_units", "n_blocks"), [(2**17, 4096, 1), (12, 4096, 4), (2**17, 3, 3)]
)
def test_blocks_hold_every_unit_once(monkeypatch, numbers, most_units, n_blocks):
    monkeypatch.setattr(unit_blocks, "_NUMBERS", numbers)
    monkeypatch.setattr(unit_blocks, "_MOST_UNITS", most_units)
    values = random_effects.simulate_slopes(np.random.default_rng(1), (1, 2, 3, 5, 8, 1, 2, 3))
    order = rows_by_unit(values, ("unit",), None)
    shape, (runs,) = plan_blocks([order], n_own=2)
    assert [unit for run in runs for unit in range(*run)] == list(range(8))
    assert len(runs) == n_blocks
    assert all(end - first <= min(shape.n_units, most_units) for first, end in runs)
    rows = [order.ends[end] - order.ends[first] for first, end in runs]
    assert max(rows) == shape.n_rows <= max(numbers // 2, 8)


def test_the_sum_is_the_same_however_rows_are_cut(monkeypatch):
    marginal, values = linear()
    monkeypatch.setattr(unit_blocks, "_MOST_UNITS", 3)
    cut = MarginalDensity(
        random_effects.batch_of(random_effects.slopes, values, precision="float64")
    )
    assert len(cut.blocks) == 3
    whole, parts = marginal.evaluate(THETA), cut.evaluate(THETA)
    assert parts.value == pytest.approx(whole.value, abs=1e-9)
    np.testing.assert_allclose(parts.gradient, whole.gradient, atol=1e-9)
    each = [cut.evaluate(THETA, [number]).value for number in range(3)]
    prior = random_effects.log_prior_of_slopes(THETA)
    assert sum(each) - 2 * prior == pytest.approx(whole.value, abs=1e-9)


# ---- quadrature


@functools.cache
def intercepts(name):
    """A family's marginal density, its data, a theta, and errors of both marginals there by unit."""
    family = FAMILIES[name]
    sizes = np.repeat(ROWS, EACH)
    theta = np.array([family.centre, 0.0])
    values, _ = family.simulate(np.random.default_rng(4), sizes, *theta[:1], 1.0)
    batch = random_effects.batch_of(family.model, values, precision="float64")
    marginal = MarginalDensity(batch)
    marginal.settle(theta)
    return marginal, values, theta, random_effects.both_marginals(marginal, theta, KEYS)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_error_of_laplaces_method_falls_with_the_rows_of_a_unit(name):
    _, values, theta, found = intercepts(name)
    error = np.abs(found.plain - FAMILIES[name].log_marginal(theta, values))
    few, _, many = error.reshape(len(ROWS), EACH).mean(axis=1)
    assert few > 2 * many
    assert error.max() < 0.1
    assert many < 0.005


@pytest.mark.parametrize("name", FAMILIES)
def test_corrected_integrals_are_right_on_average(name):
    _, values, theta, found = intercepts(name)
    right_on_average(found, FAMILIES[name].log_marginal(theta, values))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gradient_is_that_of_the_marginal(name):
    marginal, _, theta, _ = intercepts(name)
    step = 1e-4
    differences = [
        (marginal.evaluate(theta + one).value - marginal.evaluate(theta - one).value) / (2 * step)
        for one in step * np.eye(2)
    ]
    np.testing.assert_allclose(marginal.evaluate(theta).gradient, differences, rtol=1e-6, atol=1e-5)
