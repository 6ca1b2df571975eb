"""NumPyro models of the simulated studies: an intercept and slopes, then one distribution each.

`x` takes the covariates as a matrix `(rows, k)`. Coefficients are normal(0, 2.5), scales and shapes
lognormal; what differs says so.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def predictor(x, width=2.5):
    """Intercept and slopes: `(rows,)`."""
    beta = numpyro.sample("beta", dist.Normal(0.0, width).expand([x.shape[1] + 1]).to_event(1))
    return beta[0] + x @ beta[1:]


def observe(x, y, distribution):
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", distribution, obs=y)


def linear(x, y=None):
    mean = predictor(x)
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    observe(x, y, dist.Normal(mean, scale))


def student(x, y=None):
    mean = predictor(x)
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    observe(x, y, dist.StudentT(4.0, mean, scale))


def logit(x, y=None):
    observe(x, y, dist.Bernoulli(logits=predictor(x)))


def strong_logit(x, y=None):
    """A prior as narrow as the posterior of a subset."""
    observe(x, y, dist.Bernoulli(logits=predictor(x, width=0.4)))


def poisson(x, y=None):
    observe(x, y, dist.Poisson(jnp.exp(predictor(x))))


def negative_binomial(x, y=None):
    mean = jnp.exp(predictor(x))
    shape = numpyro.sample("shape", dist.LogNormal(1.0, 1.0))
    observe(x, y, dist.NegativeBinomial2(mean, shape))


def gamma(x, y=None):
    mean = jnp.exp(predictor(x))
    shape = numpyro.sample("shape", dist.LogNormal(1.0, 1.0))
    observe(x, y, dist.Gamma(shape, shape / mean))


def zero_inflated(x, y=None):
    """The share of zeros has its bound at 0, where the data want it."""
    rate = jnp.exp(predictor(x))
    share = numpyro.sample("share", dist.Beta(1.0, 4.0))
    observe(x, y, dist.ZeroInflatedPoisson(gate=share, rate=rate))


def centred(x, unit, n_unit, y=None):
    """A random intercept per unit, which the data speak of directly."""
    mean, spread = predictor(x), numpyro.sample("spread", dist.HalfNormal(1.0))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("units", n_unit):
        effect = numpyro.sample("effect", dist.Normal(0.0, spread))
    observe(x, y, dist.Normal(mean + effect[unit], scale))


def noncentred(x, unit, n_unit, y=None):
    """A random intercept per unit, as a multiple of their spread."""
    mean, spread = predictor(x), numpyro.sample("spread", dist.HalfNormal(1.0))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("units", n_unit):
        effect = numpyro.sample("effect", dist.Normal(0.0, 1.0))
    observe(x, y, dist.Normal(mean + spread * effect[unit], scale))
