"""NumPyro models of the simulated studies: an intercept and slopes, then one distribution each.

`x` takes the covariates as a matrix `(rows, k)`. Coefficients are normal(0, 2.5), scales and shapes
lognormal; what differs says so. Models of data structures are written as users write them.
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints
from numpyro.distributions.transforms import OrderedTransform


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


def dose_response(dose, y=None):
    """A Hill curve on the common logarithm of the dose."""
    bottom = numpyro.sample("bottom", dist.Normal(0.0, 2.0))
    height = numpyro.sample("height", dist.LogNormal(0.0, 1.0))
    half = numpyro.sample("half", dist.Normal(0.0, 3.0))
    slope = numpyro.sample("slope", dist.LogNormal(0.0, 0.5))
    scale = numpyro.sample("scale", dist.LogNormal(-1.0, 1.0))
    mean = bottom + height * jax.nn.sigmoid(slope * jnp.log(10.0) * (dose - half))
    observe(dose, y, dist.Normal(mean, scale))


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


# ---- data structures


def censored(x, lost, y=None):
    """Lifetimes; of a row that is lost it is known that it lived so long at least."""
    scale = jnp.exp(predictor(x))
    shape = numpyro.sample("shape", dist.LogNormal(0.0, 0.5))
    observe(x, y, dist.RightCensoredDistribution(dist.Weibull(scale, shape), lost))


def constant_hazard(x, lost, y=None):
    """Lifetimes that end as likely when old as when new."""
    rate = jnp.exp(-predictor(x))
    observe(x, y, dist.RightCensoredDistribution(dist.Exponential(rate), lost))


def masked(x, seen, y=None):
    """Outcomes that are not seen have a placeholder."""
    mean = predictor(x)
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    observe(x, y, dist.Normal(mean, scale).mask(seen > 0.5))


def persons(person, n_person, item, n_item, y=None):
    """Answers of persons to items: the items are the same for all persons."""
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    sd = numpyro.sample("sd", dist.HalfNormal(1.0))
    with numpyro.plate("persons", n_person):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    with numpyro.plate("items", n_item):
        easy = numpyro.sample("easy", dist.Normal(mu, sd))
    observe(item, y, dist.Bernoulli(logits=spread * z[person] + easy[item]))


def counties(x, county, n_county, y=None):
    """Partial pooling of counties, each of which has rows in every subset."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.5))
    sd = numpyro.sample("sd", dist.HalfNormal(1.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.5))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    with numpyro.plate("counties", n_county):
        level = numpyro.sample("level", dist.Normal(mu, sd))
    observe(x, y, dist.Normal(level[county] + slope * x[:, 0], scale))


def index(x, treatment, n_treatment, y=None):
    """A level per treatment by index, without a population of treatments."""
    level = numpyro.sample("level", dist.Normal(0.0, 1.0).expand([n_treatment]).to_event(1))
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.5))
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
    observe(x, y, dist.Normal(level[treatment] + slope * x[:, 0], scale))


def noncentred_index(treatment, n_treatment, y=None):
    """Levels of treatments as multiples of their spread."""
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    z = numpyro.sample("z", dist.Normal(0.0, 1.0).expand([n_treatment]).to_event(1))
    observe(treatment, y, dist.Poisson(jnp.exp(mean + spread * z[treatment])))


def horseshoe(x, y=None):
    """Sparse slopes: the data know the products of scales and standard normals only."""
    tau = numpyro.sample("tau", dist.HalfCauchy(0.1))
    with numpyro.plate("features", x.shape[1]):
        lam = numpyro.sample("lam", dist.HalfCauchy(1.0))
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    beta = numpyro.deterministic("beta", tau * lam * z)
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    observe(x, y, dist.Normal(x @ beta, scale))


def ordered(name, count):
    """Ascending numbers: `(count,)`."""
    prior = dist.TransformedDistribution(dist.Normal(0.0, 1.0).expand([count]), OrderedTransform())
    return numpyro.sample(name, prior)


def ordinal(x, y=None):
    """Four grades."""
    slope = numpyro.sample("slope", dist.Normal(0.0, 2.5))
    observe(x, y, dist.OrderedLogistic(slope * x[:, 0], ordered("cutpoints", 3)))


def dirichlet(region, n_region, y=None):
    """Shares of three choices in each region."""
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)).expand([n_region]).to_event(1))
    observe(region, y, dist.Categorical(probs=shares[region]))


def beta(x, y=None):
    """Shares, by their mean and precision."""
    mean = jax.nn.sigmoid(predictor(x))
    precision = numpyro.sample("precision", dist.LogNormal(2.0, 1.0))
    observe(x, y, dist.Beta(mean * precision, (1 - mean) * precision))


def mixture(n_rows, y=None):
    """Two kinds of rows, whose means are ordered; priors narrow enough that no kind is empty."""
    share = numpyro.sample("share", dist.Beta(4.0, 4.0))
    means = ordered("means", 2)
    scale = numpyro.sample("scale", dist.LogNormal(0.0, 0.5))
    kinds = dist.Categorical(probs=jnp.stack([share, 1 - share]))
    with numpyro.plate("rows", n_rows):
        numpyro.sample("y", dist.MixtureSameFamily(kinds, dist.Normal(means, scale)), obs=y)


class HurdleGamma(dist.Distribution):
    """Nothing, or a gamma amount."""

    arg_constraints = {
        "gate": constraints.unit_interval,
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support = constraints.nonnegative

    def __init__(self, gate, concentration, rate, *, validate_args=None):
        self.gate, self.concentration, self.rate = gate, concentration, rate
        batch_shape = jnp.broadcast_shapes(*map(jnp.shape, (gate, concentration, rate)))
        super().__init__(batch_shape, validate_args=validate_args)

    def sample(self, key, sample_shape=()):
        nothing, amount = jax.random.split(key)
        shape = sample_shape + self.batch_shape
        drawn = jax.random.gamma(amount, self.concentration, shape) / self.rate
        return jnp.where(jax.random.uniform(nothing, shape) < self.gate, 0.0, drawn)

    def log_prob(self, value):
        some = value > 0
        amount = dist.Gamma(self.concentration, self.rate).log_prob(jnp.where(some, value, 1.0))
        return jnp.where(some, jnp.log1p(-self.gate) + amount, jnp.log(self.gate))


def hurdle(x, y=None):
    """Amounts, many of which are nothing."""
    mean = jnp.exp(predictor(x))
    shape = numpyro.sample("shape", dist.LogNormal(1.0, 1.0))
    gate = numpyro.sample("gate", dist.Beta(1.0, 1.0))
    observe(x, y, HurdleGamma(gate, shape, shape / mean))
