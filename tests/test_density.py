"""A bound model as densities, against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import OrderedTransform
from scipy import stats

from scalecheck.model import density
from scalecheck.model.sites import Site

X = np.array([-1.0, 0.5, 2.0], "float32")
Y = np.array([0.3, -0.7, 1.1], "float32")
ARRAYS = {"x": X, "y": Y}


def model(x, y):  # without a default: it is None when the model predicts
    scale = numpyro.sample("scale", dist.HalfNormal(2.0))
    b = numpyro.sample("b", dist.Normal(0.0, 3.0))
    numpyro.deterministic("twice", 2 * b)
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(b * x, scale), obs=y)


Z = {"b": jnp.float32(0.4), "scale": jnp.log(jnp.float32(1.3))}


def test_the_potential_is_minus_the_log_density_on_the_unconstrained_scale():
    expected = (
        stats.norm.logpdf(Y, 0.4 * X, 1.3).sum()
        + stats.norm.logpdf(0.4, 0, 3)
        + stats.halfnorm.logpdf(1.3, scale=2)
        + np.log(1.3)  # of the transformation
    )
    assert float(density.potential(model)(**ARRAYS)(Z)) == pytest.approx(-expected, rel=1e-6)


def test_the_log_likelihood_is_given_row_by_row():
    found = density.row_log_likelihood(model, "y", Z, ARRAYS)
    np.testing.assert_allclose(found, stats.norm.logpdf(Y, 0.4 * X, 1.3), rtol=1e-5)


def test_constrain_and_unconstrain_are_inverse_and_give_deterministic_sites():
    values = density.constrain(model, Z, ARRAYS, deterministic=True)
    assert float(values["twice"]) == pytest.approx(0.8)
    assert float(values["scale"]) == pytest.approx(1.3)
    back = density.unconstrain(model, {name: values[name] for name in Z}, ARRAYS)
    for name, value in Z.items():
        assert float(back[name]) == pytest.approx(float(value), rel=1e-6)


def test_prior_moments_are_those_of_the_prior_on_the_unconstrained_scale():
    """log |N(0, 2)|: mean log 2 - (gamma + log 2) / 2, variance pi^2 / 8."""
    vector = density.vector_of(
        model, [Site("b", "latent", (), ()), Site("scale", "latent", (), ())], ARRAYS, {}
    )
    mean, covariance = density.prior_moments(model, ["b", "scale"], vector, ARRAYS, 1)
    expected = [0.0, np.log(2) - (np.euler_gamma + np.log(2)) / 2]
    sd = np.array([3.0, np.pi / 8**0.5])
    assert (np.abs(mean - expected) < 4 * sd / density.PRIOR_DRAWS**0.5).all()
    # The sampling sd of a variance, with the kurtosis of each: 3, and 7 of log |N|.
    error = sd**2 * np.sqrt((np.array([3.0, 7.0]) - 1) / density.PRIOR_DRAWS)
    assert (np.abs(np.diag(covariance) - sd**2) < 4 * error).all()
    assert abs(covariance[0, 1]) < 4 * sd.prod() / density.PRIOR_DRAWS**0.5


@jax.jit
def predict(given, keys):
    return jax.vmap(lambda key: density.draw_outcome(model, "y", "y", given, ARRAYS, key))(keys)


def test_predictions_have_the_distribution_of_the_model():
    values = {"b": jnp.float32(0.4), "scale": jnp.float32(1.3)}
    keys = jax.random.split(jax.random.PRNGKey(1), 4000)
    drawn = predict(values, keys)
    for row in range(3):
        assert stats.kstest(drawn[:, row], stats.norm(0.4 * X[row], 1.3).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn, rowvar=False) - np.eye(3)).max() < 4 / 4000**0.5


def test_sites_not_given_come_from_their_prior():
    keys = jax.random.split(jax.random.PRNGKey(1), 4000)
    given = {"scale": jnp.float32(1e-6)}
    drawn = predict(given, keys)
    assert stats.kstest(drawn[:, 2] / X[2], stats.norm(0, 3).cdf).pvalue > 1e-3


def test_a_row_likelihood_is_told_from_a_joint_one():
    def joint(x, y=None):
        numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(3), jnp.eye(3)), obs=y)

    assert density.has_row_likelihood(model, "y", ARRAYS)
    assert not density.has_row_likelihood(joint, "y", ARRAYS)


def test_a_vector_packs_and_unpacks_what_it_lists():
    def shapes(y=None):
        numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
        numpyro.sample("b", dist.Normal(0, 1).expand([2, 2]))
        numpyro.sample("y", dist.Normal(0, 1), obs=y)

    chosen = [Site("b", "latent", (2, 2), ("", "")), Site("share", "latent", (3,), ("",))]
    vector = density.vector_of(shapes, chosen, {"y": Y}, {})
    assert vector.names == ("b[0,0]", "b[0,1]", "b[1,0]", "b[1,1]", "share[0]", "share[1]")
    z = {"b": jnp.arange(20.0).reshape(5, 2, 2), "share": jnp.arange(10.0).reshape(5, 2)}
    packed = vector.pack(z, 1)
    assert packed.shape == (5, 6)
    for name, value in vector.unpack(packed[3]).items():
        np.testing.assert_array_equal(value, z[name][3])


def test_a_scaled_likelihood_is_scaled_in_every_row_too():
    def scaled(y):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        with numpyro.handlers.scale(scale=3.0):
            numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    y = jnp.array([0.5, -1.0])
    by_row = density.row_log_likelihood(scaled, "y", {"mu": jnp.array(0.2)}, {"y": y})
    np.testing.assert_allclose(by_row, 3 * stats.norm.logpdf(y, 0.2, 1.0), rtol=1e-5)


def test_a_masked_row_keeps_its_outcome():
    def masked(x, y):
        with numpyro.plate("rows", x.shape[0]):
            numpyro.sample("y", dist.Normal(x, 1).mask(x > 0), obs=y)

    drawn = density.draw_outcome(masked, "y", "y", {}, ARRAYS, jax.random.PRNGKey(1))
    assert (drawn == Y).tolist() == [True, False, False]


def test_logarithms_are_of_latent_sites_with_one_bound():
    def model(x, y=None):
        numpyro.sample("real", dist.Normal())
        numpyro.sample("sd", dist.HalfNormal())
        numpyro.sample("sds", dist.Exponential().expand([2]).to_event(1))
        numpyro.sample("above", dist.TruncatedNormal(0.0, 1.0, low=2.0))
        numpyro.sample("below", dist.TruncatedNormal(0.0, 1.0, high=2.0))
        numpyro.sample("share", dist.Beta(1.0, 1.0))
        steps = dist.Normal().expand([2]).to_event(1)
        numpyro.sample("ordered", dist.TransformedDistribution(steps, OrderedTransform()))
        # Directions, for which there is no bijection.
        numpyro.sample("y", dist.ProjectedNormal(jnp.ones((len(x), 2))), obs=y)

    found = density.sites_by_logarithm(model, {"x": jnp.ones(3), "y": jnp.ones((3, 2)) / 2**0.5})
    assert found == {"sd", "sds", "above", "below"}
