"""Shapes of units: the mean and covariance that draws of their integrals have."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import random_effects
from random_effects import steep

from scalecheck.laplace import unit_shapes
from scalecheck.laplace.marginal_density import MarginalDensity
from scalecheck.laplace.unit_integrals import integrate_units
from scalecheck.laplace.unit_modes import find_modes

KEY = jax.random.PRNGKey(4)


def curves(unit, n_unit, y=None):
    """Each row is a product, and says little of its factors."""
    tau = numpyro.sample("tau", dist.HalfNormal(2))
    with numpyro.plate("units", n_unit):
        size = numpyro.sample("size", dist.Normal(0, 1))
        rate = numpyro.sample("rate", dist.Normal(0, 1))
    with numpyro.plate("rows", unit.shape[0]):
        numpyro.sample("y", dist.Normal(tau * jnp.exp(size + rate)[unit], 0.3), obs=y)


def density_of(model, y):
    values = {"unit": np.arange(len(y)), "y": np.asarray(y, "float64")}
    with jax.enable_x64(True):
        return MarginalDensity(random_effects.batch_of(model, values))


def test_a_skew_unit_has_the_mean_and_the_variance_of_quadrature():
    y, tau = np.array([0, 0, 1, 5]), 3.0
    with jax.enable_x64(True):
        marginal = density_of(steep, y)
        where = marginal.theta(np.log([tau])), marginal.starts[0]
        start = unit_shapes.measure_shapes(marginal.model, *where, marginal.blocks[0], KEY)
        modes = find_modes(marginal.model, where[0], start.u, marginal.blocks[0])
    own = np.linspace(-9, 5, 20_001)
    log_p = -(own**2) / 2 + y[:, None] * tau * own - np.exp(tau * own)
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    standard = np.asarray(modes.root)[:4, 0] * (own - np.asarray(modes.u)[:4])
    mean = (p * standard).sum(axis=1)
    sd = np.sqrt((p * standard**2).sum(axis=1) - mean**2)
    found = np.asarray(start.shape.mean)[:4, 0]
    # Of 600 effective draws at least.
    np.testing.assert_allclose(found, mean, atol=3 * sd.max() / np.sqrt(600))
    np.testing.assert_allclose(1 / np.asarray(start.shape.root)[:4, 0, 0], sd, rtol=0.12)


def test_what_is_no_unit_and_what_has_no_weights_keeps_the_shape_of_a_normal():
    with jax.enable_x64(True):
        marginal = density_of(steep, [0, 1, 2, 3])
        block = marginal.blocks[0]
        # The second only fills the block, and the density of the third is a number nowhere.
        values = jnp.where(block.codes == 2, jnp.nan, block.arrays["y"])
        block = block._replace(
            arrays={**block.arrays, "y": values}, is_unit=block.is_unit.at[1].set(False)
        )
        start = unit_shapes.measure_shapes(
            marginal.model, marginal.theta(np.zeros(1)), marginal.starts[0], block, KEY
        )
    mean, root = map(np.asarray, start.shape)
    assert [*(mean[:4, 0] == 0)] == [False, True, True, False]
    np.testing.assert_array_equal(root[1:3], 1)
    assert np.isfinite(mean).all()
    assert np.isfinite(root).all()


def bent(unit, n_unit, y=None):
    """A unit of two values, of which one has to be the square of the other, about."""
    tau = numpyro.sample("tau", dist.HalfNormal(2))
    with numpyro.plate("units", n_unit):
        first = numpyro.sample("first", dist.Normal(0, tau))
        second = numpyro.sample("second", dist.Normal(0, 2))
    with numpyro.plate("rows", unit.shape[0]):
        numpyro.sample("y", dist.Normal((second - first**2 / 2)[unit], 0.2), obs=y)


@pytest.mark.parametrize(
    ("model", "y", "tau", "at_most"),
    [
        (curves, [0.3, 0.1, 0.5, 2.0, 1.0, 0.0, -0.3], 1.0, 0.5),
        (bent, [0.0, -0.3], 1.0, 0.6),
        (steep, [0, 0, 1, 5], 3.0, 0.7),
        # Nearly normal: nothing is lost. A ratio of variances of 100 values of 8 units has an sd of .07.
        (steep, [1, 2, 1, 0, 2, 1, 1, 3], 0.5, 1.2),
    ],
)
def test_draws_of_their_shape_know_the_integrals_of_units_better(model, y, tau, at_most):
    """At the same cost, and with the same value."""
    n_units, keys = len(y), jax.random.split(KEY, 100)
    with jax.enable_x64(True):
        marginal = density_of(model, y)
        theta, normal, block = marginal.theta(np.log([tau])), marginal.starts[0], marginal.blocks[0]
        own = unit_shapes.measure_shapes(marginal.model, theta, normal, block, KEY)
        modes = find_modes(marginal.model, theta, own.u, block)

        @jax.jit
        def integrals(start):
            def one(key):
                return integrate_units(marginal.model, theta, modes, start, block, key).by_unit

            return jax.lax.map(one, keys)

        before, after = (np.asarray(integrals(start))[:, :n_units] for start in (normal, own))
    error = np.sqrt((before.var(axis=0) + after.var(axis=0)) / len(keys))
    np.testing.assert_array_less(np.abs(before.mean(axis=0) - after.mean(axis=0)), 4 * error)
    assert after.var(axis=0).sum() < at_most * before.var(axis=0).sum()
