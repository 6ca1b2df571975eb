"""Linear regressions of posteriordb; those that name no prior have a flat one."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints


def flat(name, shape=(), support=constraints.real):
    return numpyro.sample(name, dist.ImproperUniform(support, (), shape))


def normal_regression(outcome, *columns, scale=None):
    """Coefficients `beta`, the first one the intercept, and the residuals' `sigma`, with a prior or flat."""
    beta = flat("beta", (1 + len(columns),))
    sigma = flat("sigma", support=constraints.positive) if scale is None else numpyro.sample(*scale)
    mean = beta[0] + sum(b * column for b, column in zip(beta[1:], columns, strict=True))
    numpyro.sample("outcome", dist.Normal(mean, sigma), obs=outcome)


def kidscore_momhsiq(kid_score, mom_hs, mom_iq):
    scale = ("sigma", dist.HalfCauchy(2.5))
    normal_regression(kid_score, mom_hs, mom_iq, scale=scale)


def kidscore_interaction(kid_score, mom_hs, mom_iq):
    scale = ("sigma", dist.HalfCauchy(2.5))
    normal_regression(kid_score, mom_hs, mom_iq, mom_hs * mom_iq, scale=scale)


def logearn_interaction_z(earn, height, male):
    z = (height - height.mean()) / height.std(ddof=1)
    normal_regression(jnp.log(earn), z, male, z * male)


def logmesquite_logvas(weight, diam1, diam2, canopy_height, total_height, density, group):
    area = diam1 * diam2
    columns = [area * canopy_height, area, diam1 / diam2, total_height, density]
    normal_regression(jnp.log(weight), *map(jnp.log, columns), group)


def nes(partyid7, real_ideo, race_adj, age_discrete, educ1, gender, income):
    ages = [(age_discrete == level).astype(partyid7.dtype) for level in (2, 3, 4)]
    normal_regression(partyid7, real_ideo, race_adj, *ages, educ1, gender, income)


def blr(X, y):
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([X.shape[1]]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def kilpisjarvi(x, y, pmualpha, psalpha, pmubeta, psbeta):
    alpha = numpyro.sample("alpha", dist.Normal(pmualpha, psalpha))
    beta = numpyro.sample("beta", dist.Normal(pmubeta, psbeta))
    sigma = flat("sigma", support=constraints.positive)
    numpyro.sample("y", dist.Normal(alpha + beta * x, sigma), obs=y)


def diamonds(X, Y):
    """Without its first column, of ones, and centred."""
    b = numpyro.sample("b", dist.Normal(0, 1).expand([X.shape[1] - 1]).to_event(1))
    intercept = numpyro.sample("Intercept", dist.StudentT(3, 8, 10))
    sigma = flat("sigma", support=constraints.positive)
    numpyro.factor("prior of sigma", dist.StudentT(3, 0, 10).log_prob(sigma))
    centred = X[:, 1:] - X[:, 1:].mean(axis=0)
    numpyro.sample("Y", dist.Normal(intercept + centred @ b, sigma), obs=Y)
