"""Coordinates of what units share: they invert each other, and densities and gradients are those of the mapped ones."""

import jax
import numpy as np
import pytest

from scalecheck.laplace.coordinates import Coordinates, coordinates_at

SCALES = Coordinates(np.array([np.inf, 0.05, 2.0]))
# From where a positive value is its coordinate to where it is the exponential of it.
PLACES = [
    np.array([1.5, 3.0, 9.0]),
    np.array([-40.0, 0.01, -3.0]),
    np.array([0.0, -0.9, -60.0]),
    np.array([2.0, -0.3, -29.9]),
]


@pytest.mark.parametrize("x", PLACES)
def test_coordinates_of_theta_are_those_that_it_came_from(x):
    theta = SCALES.thetas(x)
    np.testing.assert_allclose(SCALES.of_thetas(theta), x, rtol=1e-6)
    assert theta[0] == x[0]


@pytest.mark.parametrize("x", PLACES)
def test_the_gradient_is_that_of_the_density_of_coordinates(x):
    def log_density(x, coordinates):
        theta = coordinates.thetas(x)
        return jax.numpy.sin(theta).sum() + coordinates.log_volume(x)

    with jax.enable_x64(True):
        expected = jax.grad(log_density)(jax.numpy.asarray(x), SCALES)
        slopes = jax.jacobian(SCALES.thetas)(jax.numpy.asarray(x))
    np.testing.assert_allclose(SCALES.gradient(x, np.cos(SCALES.thetas(x))), expected, rtol=1e-6)
    np.testing.assert_allclose(SCALES.log_slopes(x), np.log(np.diag(slopes)), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("theta", [-59.0, 0.0, 59.0])
def test_in_float32_nothing_overflows(theta):
    coordinates = coordinates_at(np.array([theta, -1e4, 1e4]), np.array([True, True, False]))
    assert np.isinf(coordinates.scale).tolist() == [False, True, True]
    x = np.array([*coordinates.of_thetas(np.array([theta, 0.0, 0.0]))])
    place = jax.numpy.asarray(x, "float32")
    np.testing.assert_allclose(coordinates.thetas(place)[0], theta, rtol=1e-5, atol=1e-6)
    assert np.isfinite(jax.grad(coordinates.log_volume)(place)).all()


def test_far_from_a_scale_nothing_overflows():
    x = jax.numpy.linspace(-1e4, 1e4, 101, dtype="float32")[:, None] * np.ones(3, "float32")
    for values in (SCALES.thetas(x), SCALES.log_slopes(x), jax.jacobian(SCALES.log_volume)(x)):
        assert np.isfinite(values).all()


def test_an_sd_that_few_units_tell_from_zero_is_nearly_normal():
    # The posterior of a standard deviation near .2 +- .12, cut at zero; its logarithm has a skewness of -2.
    rng = np.random.default_rng(1)
    sd = 0.2 + 0.12 * rng.standard_normal(100_000)
    theta = np.log(sd[sd > 0])[:, None]

    def skewness(values):
        return ((values - values.mean()) ** 3).mean() / values.std() ** 3

    x = coordinates_at(np.array([np.log(0.2)]), np.array([True])).of_thetas(theta)
    assert skewness(theta) < -1.5
    assert abs(skewness(x)) < 0.3
