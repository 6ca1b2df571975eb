"""A Poisson regression on one covariate."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def model(age, visits=None):
    """Age in decades from 40."""
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 2.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    with numpyro.plate("person", age.shape[0]):
        numpyro.sample("count", dist.Poisson(jnp.exp(intercept + slope * age)), obs=visits)
