"""Logistic regression with an intercept and slopes of every group, not centred (Krapu, "Poverty Bayes", 2026)."""

import numpyro
import numpyro.distributions as dist

from scalecheck import grouped


def model(x, group, n_group, y=None):
    """Covariates `(rows, k)` and groups `(rows,)`; 42 parameters are shared, each group has 21 of its own."""
    k = x.shape[1]
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 1.5))
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0).expand([k]).to_event(1))
    sigma_alpha = numpyro.sample("sigma_alpha", dist.HalfNormal(1.0))
    sigma_gamma = numpyro.sample("sigma_gamma", dist.HalfNormal(0.5).expand([k]).to_event(1))
    with numpyro.plate("groups", n_group):
        z_alpha = numpyro.sample("z_alpha", dist.Normal(0.0, 1.0))
        z_gamma = numpyro.sample("z_gamma", dist.Normal(0.0, 1.0).expand([k]).to_event(1))
    intercepts = grouped.take(alpha + sigma_alpha * z_alpha, group)
    slopes = grouped.dot(x, beta + sigma_gamma * z_gamma, group)
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=intercepts + slopes), obs=y)
