"""Units whose prior or density is awkward: correlated, without curvature, or infinite at some draws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import random_effects
from scipy.special import logsumexp
from scipy.stats import laplace as double_exponential
from scipy.stats import multivariate_normal, norm

from scalecheck.laplace import unit_proposals
from scalecheck.laplace.marginal_density import MarginalDensity
from scalecheck.laplace.unit_integrals import corrected_and_gradient, key_of_block
from scalecheck.laplace.unit_modes import UnitModes
from scalecheck.laplace.unit_start import SecondModes

RHO = np.array([[1.0, 0.95], [0.95, 1.0]])


@pytest.fixture(scope="module", autouse=True)
def in_double():
    with jax.enable_x64(True):
        yield


def correlated(x, unit, n_unit, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 2))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.MultivariateNormal(jnp.zeros(2), RHO))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mean + own[unit, 0] + own[unit, 1] * x, 3.0), obs=y)


def chained(x, unit, n_unit, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 2))
    with numpyro.plate("units", n_unit):
        first = numpyro.sample("first", dist.Normal(0, 1))
        second = numpyro.sample("second", dist.Normal(0.95 * first, np.sqrt(1 - 0.95**2)))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mean + first[unit] + second[unit] * x, 3.0), obs=y)


def two_rows_each(n_units):
    rng, unit = np.random.default_rng(1), np.repeat(np.arange(n_units), 2)
    x = rng.standard_normal(len(unit))
    own = rng.multivariate_normal(np.zeros(2), RHO, n_units)
    y = 0.5 + own[unit, 0] + own[unit, 1] * x + 3.0 * rng.standard_normal(len(unit))
    return {"x": x, "unit": unit, "y": y}


def exact_of_correlated(mean, values):
    found = []
    for code in range(values["unit"].max() + 1):
        x, y = (values[name][values["unit"] == code] for name in ("x", "y"))
        design = np.stack([np.ones_like(x), x], axis=1)
        covariance = design @ RHO @ design.T + 9.0 * np.eye(len(y))
        found.append(multivariate_normal(np.full(len(y), mean), covariance).logpdf(y))
    return np.array(found)


@pytest.mark.parametrize("model", [correlated, chained])
def test_a_normal_is_exact_however_its_values_go_together(model):
    values = two_rows_each(6)
    marginal = MarginalDensity(random_effects.batch_of(model, values, precision="float64"))
    theta = np.array([0.4])
    marginal.settle(theta)
    found = random_effects.both_marginals(marginal, theta, jax.random.split(jax.random.key(1), 5))
    exact = exact_of_correlated(0.4, values)
    np.testing.assert_allclose(found.plain, exact, atol=1e-8)
    np.testing.assert_allclose(found.corrected, np.tile(exact, (5, 1)), atol=1e-8)
    for corrected in (False, True):
        up, down = (exact_of_correlated(0.4 + one, values).sum() for one in (1e-5, -1e-5))
        gradient = marginal.evaluate(theta, corrected=corrected).gradient
        assert gradient[0] - -0.4 / 4 == pytest.approx((up - down) / 2e-5, abs=1e-5)


# ---- a prior that has a kink and no curvature


def kinked(unit, n_unit, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 2))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Laplace(0, 1.5))
    with numpyro.plate("rows", unit.shape[0]):
        numpyro.sample("y", dist.Normal(mean + own[unit], 1.0), obs=y)


def test_a_prior_without_curvature_is_integrated():
    rng, unit = np.random.default_rng(2), np.repeat(np.arange(40), 3)
    own = double_exponential.rvs(scale=1.5, size=40, random_state=rng)
    values = {"unit": unit, "y": 0.3 + own[unit] + rng.standard_normal(len(unit))}
    marginal = MarginalDensity(random_effects.batch_of(kinked, values, precision="float64"))
    keys = jax.random.split(jax.random.key(1), 60)
    marginal.settle(np.array([0.3]))
    found = random_effects.both_marginals(marginal, np.array([0.3]), keys)
    grid = np.linspace(-15, 15, 6001)
    y = values["y"].reshape(40, 3)
    each = norm.logpdf(y[:, :, None], 0.3 + grid).sum(axis=1) + double_exponential.logpdf(
        grid, scale=1.5
    )
    exact = logsumexp(each, axis=1) + np.log(grid[1] - grid[0])
    ratio = np.exp(found.corrected - exact)
    error = ratio.std(axis=0) / np.sqrt(len(ratio))
    # Far from the kink a unit is a normal: what is left is the error of the grid.
    assert (np.abs(ratio.mean(axis=0) - 1) < 4.5 * error + 2e-3).all()
    assert error.max() < 0.02
    assert np.isfinite(marginal.evaluate(np.array([0.3]), corrected=True).gradient).all()


# ---- a density that overflows at some draws


@pytest.mark.parametrize("tau", [2.0, 12.0, 30.0])
def test_draws_at_which_the_density_is_infinite_do_not_reach_the_gradient(tau):
    unit = np.arange(200)
    y = np.random.default_rng(3).poisson(np.exp(np.random.default_rng(4).standard_normal(200)))
    with jax.enable_x64(False):
        values = {"unit": unit, "y": y.astype("float64")}
        marginal = MarginalDensity(random_effects.batch_of(random_effects.steep, values))
        where = marginal.model, marginal.theta(np.array([np.log(tau)])), marginal.starts[0]
        found = corrected_and_gradient(*where, marginal.blocks[0], key_of_block(0))
        assert found.modes.found.all()
        assert np.isfinite(found.by_unit).all()
        total = [
            float(marginal.evaluate(np.log([tau]) + step, corrected=True).value)
            for step in (0.05, -0.05)
        ]
        gradient = marginal.evaluate(np.log([tau]), corrected=True).gradient[0]
    assert gradient == pytest.approx((total[0] - total[1]) / 0.1, rel=0.1, abs=1)


# ---- two modes far apart


def squared(unit, n_unit, y=None):
    level = numpyro.sample("level", dist.Normal(0, 1))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(0, 2))
    with numpyro.plate("rows", unit.shape[0]):
        numpyro.sample("y", dist.Normal(level + own[unit] ** 2, 0.5), obs=y)


@functools.cache
def of_two_modes():
    """Six units whose values have either sign, and their rows `(unit, row)`."""
    rng, unit = np.random.default_rng(6), np.repeat(np.arange(6), 4)
    y = np.linspace(1.5, 3, 6)[unit] ** 2 + 0.5 * rng.standard_normal(len(unit))
    batch = random_effects.batch_of(squared, {"unit": unit, "y": y}, precision="float64")
    marginal = MarginalDensity(batch)
    marginal.settle(np.zeros(1))
    return marginal, y.reshape(6, 4)


def test_a_second_mode_is_found_and_the_shape_is_that_of_the_first():
    marginal, _ = of_two_modes()
    start = marginal.starts[0]
    assert np.asarray(start.second.found)[:6].all()
    np.testing.assert_allclose(start.second.u[:6], -start.u[:6], rtol=1e-6)
    # In coordinates in which the normal around the first mode is standard; the other is 20 sds away.
    assert np.abs(np.asarray(start.shape.mean)[:6]).max() < 0.3
    np.testing.assert_allclose(start.shape.root[:6, 0, 0], 1, atol=0.2)


@pytest.mark.parametrize("level", [0.0, 0.3, -0.3])
def test_units_of_two_modes_are_integrated_with_their_gradient(level):
    marginal, y = of_two_modes()
    grid = np.linspace(-6, 6, 24_001)
    each = norm.logpdf(y[:, :, None], level + grid**2, 0.5).sum(axis=1) + norm.logpdf(grid, 0, 2)
    exact = logsumexp(each, axis=1) + np.log(grid[1] - grid[0])
    keys = jax.random.split(jax.random.key(1), 200)
    found = random_effects.both_marginals(marginal, np.array([level]), keys)
    ratio = np.exp(found.corrected[:, :6] - exact)
    error = ratio.std(axis=0) / np.sqrt(len(ratio))
    # Half of a squared relative error is what the correction of a logarithm is off by at most.
    assert (np.abs(ratio.mean(axis=0) - 1) < 4.5 * error + ratio.var(axis=0)).all()
    assert ratio.std(axis=0).max() < 0.25

    def value(level):
        return marginal.evaluate(np.array([level]), corrected=True).value

    gradient = marginal.evaluate(np.array([level]), corrected=True).gradient[0]
    assert gradient == pytest.approx((value(level + 1e-5) - value(level - 1e-5)) / 2e-5, abs=1e-4)


def test_the_first_of_two_modes_does_not_depend_on_where_theta_was():
    marginal, _ = of_two_modes()
    before = marginal.evaluate(np.zeros(1), corrected=True)
    # There the modes of the first units have met.
    marginal.evaluate(np.full(1, 2.5), corrected=True)
    after = marginal.evaluate(np.zeros(1), corrected=True)
    assert after.value == before.value
    state = marginal.state()
    marginal.restore(state)
    assert marginal.evaluate(np.zeros(1), corrected=True).value == before.value
    assert state["has_second"].any()


@pytest.mark.parametrize("k", [1, 4, 9, 21])
def test_a_second_mode_that_was_found_has_draws_near_it(k):
    eye = jnp.broadcast_to(jnp.eye(k), (3, k, k))
    near = unit_proposals.UnitT(jnp.zeros((3, k)), eye)
    second = UnitModes(jnp.full((3, k), 50.0), jnp.zeros(3), eye, jnp.array([True, True, False]))
    known = SecondModes(second.u, second.root, second.found)
    elsewhere = unit_proposals.elsewhere_of(known, near)
    mixture = unit_proposals.UnitMixture(near, near, elsewhere)
    n_draws = np.asarray(unit_proposals.n_draws_near(mixture, second))
    assert n_draws[:2].min() > 4
    assert n_draws[2] < 1e-3
