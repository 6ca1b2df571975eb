"""Models as people bring them, of kinds that were once judged wrong: each true of the data that its table draws."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
from numpyro.distributions import transforms
from scipy.special import expit

# ---- the models


def lifetimes(lost, dose, days=None):
    """Lognormal lifetimes; of a patient who was lost it is known that he lived so long at least."""
    level = numpyro.sample("level", dist.Normal(2, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    life = dist.LogNormal(level + slope * dose, spread)
    with numpyro.plate("patients", lost.shape[0]):
        numpyro.sample("life", dist.RightCensoredDistribution(life, lost), obs=days)


def counts_seen(seen, counts=None):
    """Counts, of which some were not taken down."""
    rate = numpyro.sample("rate", dist.Gamma(2, 1))
    with numpyro.plate("days", seen.shape[0]):
        numpyro.sample("counted", dist.Poisson(rate).mask(seen > 0.5), obs=counts)


def by_treatment(treatment, n_treatment, visits=None):
    """A rate for each treatment."""
    log_rate = numpyro.sample("log_rate", dist.Normal(0, 2).expand([n_treatment]).to_event(1))
    with numpyro.plate("patients", treatment.shape[0]):
        numpyro.sample("visits", dist.Poisson(jnp.exp(log_rate[treatment])), obs=visits)


def of_population(item, n_item, right=None):
    """Items that are drawn from a population, each of which every subset has."""
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    spread = numpyro.sample("spread", dist.HalfNormal(1))
    with numpyro.plate("items", n_item):
        easy = numpyro.sample("easy", dist.Normal(mean, spread))
    with numpyro.plate("answers", item.shape[0]):
        numpyro.sample("answer", dist.Bernoulli(logits=easy[item]), obs=right)


def products(x, y=None):
    """Sparse slopes, of which the rows know products only."""
    tau = numpyro.sample("tau", dist.HalfNormal(0.5))
    with numpyro.plate("slopes", x.shape[1]):
        lam = numpyro.sample("lam", dist.HalfNormal(1.0))
        z = numpyro.sample("z", dist.Normal(0, 1))
    noise = numpyro.sample("noise", dist.HalfNormal(1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(x @ (tau * lam * z), noise), obs=y)


def grades(hours, grade=None):
    """Grades as whole numbers, by cutpoints in order."""
    cutpoints = numpyro.sample(
        "cutpoints",
        dist.TransformedDistribution(
            dist.Normal(0, 2).expand([2]).to_event(1), transforms.OrderedTransform()
        ),
    )
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("pupils", hours.shape[0]):
        numpyro.sample("graded", dist.OrderedLogistic(slope * hours, cutpoints), obs=grade)


def line(dose, y=None):
    """A straight line."""
    level = numpyro.sample("level", dist.Normal(0, 3))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    noise = numpyro.sample("noise", dist.HalfNormal(2))
    with numpyro.plate("rows", dose.shape[0]):
        numpyro.sample("y", dist.Normal(level + slope * dose, noise), obs=y)


def two_lags(y=None, n_rows=None):
    """Each row goes on from the two before it."""
    phi = numpyro.sample("phi", dist.Normal(0, 0.5).expand([2]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfNormal(2))
    numpyro.sample("y", dist.Normal(phi[0] * y[1:-1] + phi[1] * y[:-2], noise), obs=y[2:])


# ---- their tables


def table_of_lifetimes(rng, n):
    dose = rng.normal(size=n)
    life, end = np.exp(2 + 0.4 * dose + 0.7 * rng.normal(size=n)), rng.uniform(2, 25, n)
    return pd.DataFrame({"lost": (life > end) * 1, "dose": dose, "days": np.minimum(life, end)})


def table_of_counts(rng, n):
    seen = rng.random(n) > 0.2
    return pd.DataFrame({"seen": seen * 1, "counts": np.where(seen, rng.poisson(3.0, n), 99)})


def table_of_treatments(rng, n):
    """What helps in one ward harms in the other."""
    treatment, ward = rng.integers(3, size=n), rng.integers(2, size=n)
    log_rate = np.array([[0.6, 1.0, 1.4], [1.4, 1.0, 0.6]])[ward, treatment]
    return pd.DataFrame(
        {
            "treatment": np.array(["none", "half", "full"])[treatment],
            "ward": np.array(["north", "south"])[ward],
            "visits": rng.poisson(np.exp(log_rate)),
        }
    )


def table_of_items(rng, n):
    item, easy = rng.integers(15, size=n), 0.3 + 0.8 * rng.normal(size=15)
    right = rng.random(n) < expit(easy[item])
    return pd.DataFrame({"item": [f"i{code:02d}" for code in item], "right": right * 1})


def table_of_slopes(rng, n):
    x = rng.normal(size=(n, 4))
    return pd.DataFrame(x, columns=[*"abcd"]).assign(y=x[:, 0] - 0.6 * x[:, 1] + rng.normal(size=n))


def table_of_grades(rng, n):
    hours = rng.normal(size=n)
    latent = 0.8 * hours + rng.logistic(size=n)
    return pd.DataFrame({"hours": hours, "grade": np.searchsorted([-0.5, 1.0], latent)})


def table_of_countries(rng, n):
    dose = rng.normal(size=n)
    country = np.array(["NA", "ZA", "None"])[rng.integers(3, size=n)]
    return pd.DataFrame({"country": country, "dose": dose, "y": 1 + dose + rng.normal(size=n)})


def table_of_series(rng, n):
    y = np.zeros(n + 100)
    for t in range(2, n + 100):
        y[t] = 0.5 * y[t - 1] + 0.3 * y[t - 2] + rng.normal()
    return pd.DataFrame({"y": y[100:]})
