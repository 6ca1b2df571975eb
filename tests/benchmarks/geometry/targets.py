"""The targets of NumPyro's tutorial "Bad posterior geometry and how to deal with it", which have no data rows.

`scalecheck-remedies --target tests/benchmarks/geometry/targets.py:two_dimensional --depth 3` searches one.
"""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions.transforms import AffineTransform
from numpyro.infer.reparam import LocScaleReparam, TransformReparam

N_ROWS, N_COLUMNS, FEW_COLUMNS = 100, 500, 25


def _data(n_columns):
    x = np.random.RandomState(0).randn(N_ROWS, N_COLUMNS)[:, :n_columns].astype("float32")
    return x, x[:, 0]


def _scales(n_columns):
    lambdas = numpyro.sample("lambdas", dist.HalfCauchy(jnp.ones(n_columns)))
    tau = numpyro.sample("tau", dist.HalfCauchy(jnp.ones(1)))
    return lambdas, tau


def _outcome(betas, n_columns):
    x, y = _data(n_columns)
    numpyro.sample("Y", dist.Normal(x @ betas, 0.05), obs=y)


def horseshoe(n_columns=N_COLUMNS):
    """A regression with the horseshoe prior, centred."""
    lambdas, tau = _scales(n_columns)
    _outcome(numpyro.sample("betas", dist.Normal(0.0, tau * lambdas)), n_columns)


def small_horseshoe():
    """The same with the first 25 columns."""
    horseshoe(FEW_COLUMNS)


def horseshoe_by_hand(n_columns=N_COLUMNS):
    lambdas, tau = _scales(n_columns)
    unscaled = numpyro.sample("unscaled_betas", dist.Normal(0.0, jnp.ones(n_columns)))
    _outcome(numpyro.deterministic("betas", tau * lambdas * unscaled), n_columns)


def horseshoe_loc_scale(n_columns=N_COLUMNS):
    config = {"betas": LocScaleReparam(centered=0)}
    handlers.reparam(horseshoe, config=config)(n_columns)


def horseshoe_transform(n_columns=N_COLUMNS):
    lambdas, tau = _scales(n_columns)
    with handlers.reparam(config={"betas": TransformReparam()}):
        base, scale = dist.Normal(0.0, jnp.ones(n_columns)), AffineTransform(0.0, tau * lambdas)
        betas = numpyro.sample("betas", dist.TransformedDistribution(base, scale))
    _outcome(betas, n_columns)


def two_dimensional():
    """A normal in two dimensions, correlated at .9999."""
    covariance = jnp.array([[10.0, 0.9999], [0.9999, 0.1]])
    numpyro.sample("x", dist.MultivariateNormal(jnp.zeros(2), covariance))


def partially_correlated():
    """Two correlated sites beside one of a hundred dimensions that has nothing to do with them."""
    covariance = jnp.array([[10.0, 0.9], [0.9, 0.1]])
    x1 = numpyro.sample("x1", dist.MultivariateNormal(jnp.zeros(2), covariance))
    x2 = numpyro.sample("x2", dist.MultivariateNormal(jnp.zeros(2), covariance))
    numpyro.sample("y", dist.Normal(jnp.zeros(100), 1.0))
    numpyro.sample("obs", dist.Normal(x1 - x2, 0.1), obs=jnp.ones(2))


def equicorrelated():
    """A normal in 200 dimensions, each pair correlated at .999."""
    covariance = 0.999 * jnp.ones((200, 200)) + 0.001 * jnp.eye(200)
    numpyro.sample("x", dist.MultivariateNormal(jnp.zeros(200), covariance))
