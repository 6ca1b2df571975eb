"""NumPyro models of the defect benchmark that the calibration has not, written as users write them."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist


def multinomial(x, y=None):
    """One of three choices; each but the first has an intercept and a slope."""
    prior = dist.Normal(0.0, 2.5).expand([2, x.shape[1] + 1]).to_event(2)
    beta = numpyro.sample("beta", prior)
    scores = beta[:, 0] + x @ beta[:, 1:].T
    with numpyro.plate("rows", x.shape[0]):
        first = jnp.zeros((x.shape[0], 1))
        logits = jnp.concatenate([first, scores], axis=1)
        numpyro.sample("y", dist.Categorical(logits=logits), obs=y)


def crossed(x, rater, n_rater, item, n_item, y=None):
    """Raters and items, each from a population of its own; every rater meets every item."""
    beta = numpyro.sample("beta", dist.Normal(0.0, 2.5).expand([x.shape[1] + 1]).to_event(1))
    sd_rater = numpyro.sample("sd_rater", dist.HalfNormal(1.0))
    sd_item = numpyro.sample("sd_item", dist.HalfNormal(1.0))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("raters", n_rater):
        strict = numpyro.sample("strict", dist.Normal(0.0, sd_rater))
    with numpyro.plate("items", n_item):
        easy = numpyro.sample("easy", dist.Normal(0.0, sd_item))
    mean = beta[0] + x @ beta[1:] + strict[rater] + easy[item]
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mean, scale), obs=y)


def slopes(x, site, n_site, y=None):
    """Intercepts and slopes of sites, which may be correlated: an LKJ prior."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 2.5).expand([2]).to_event(1))
    sd = numpyro.sample("sd", dist.HalfNormal(1.0).expand([2]).to_event(1))
    factor = numpyro.sample("factor", dist.LKJCholesky(2, concentration=2.0))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("sites", n_site):
        spread = dist.MultivariateNormal(mean, scale_tril=sd[:, None] * factor)
        effect = numpyro.sample("effect", spread)
    with numpyro.plate("rows", x.shape[0]):
        own = effect[site, 0] + effect[site, 1] * x[:, 0]
        numpyro.sample("y", dist.Normal(own, scale), obs=y)


def autoregressive(x, lag, y=None):
    """Each row goes on from the outcome before it, which the table has as a column."""
    beta = numpyro.sample("beta", dist.Normal(0.0, 2.5).expand([x.shape[1] + 1]).to_event(1))
    keep = numpyro.sample("keep", dist.Uniform(-1.0, 1.0))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(beta[0] + x @ beta[1:] + keep * lag, scale), obs=y)
