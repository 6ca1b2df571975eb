"""Which models have units that can be integrated out one by one, and why others have not."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import random_effects

from scalecheck.laplace.independent_units import why_not_by_unit


def table():
    """Nine units of one to five rows, and three groups that cross them."""
    rng = np.random.default_rng(1)
    unit = np.repeat(np.arange(9), [1, 2, 3, 4, 5, 2, 3, 1, 4])
    return {
        "unit": unit,
        "group": rng.permutation(np.arange(len(unit)) % 3),
        "x": rng.standard_normal(len(unit)),
        "y": rng.standard_normal(len(unit)),
    }


def rows(mean, y):
    with numpyro.plate("rows", mean.shape[0]):
        numpyro.sample("y", dist.Normal(mean, 1), obs=y)


def shared():
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    return mu, numpyro.sample("tau", dist.HalfNormal(1))


# ---- models whose units are independent


def centred(unit, n_unit, y=None):
    mu, tau = shared()
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(mu, tau))
    rows(own[unit], y)


def not_centred(unit, n_unit, y=None):
    mu, tau = shared()
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(0, 1))
    rows(mu + tau * own[unit], y)


def vectors(x, unit, n_unit, y=None):
    mu, tau = shared()
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(mu, tau).expand([2]).to_event(1))
        rate = numpyro.sample("rate", dist.LogNormal(mu, tau))
        shape = numpyro.sample("shape", dist.Gamma(2.0, 1 + tau))
    rows(own[unit, 0] + own[unit, 1] * x + rate[unit] * shape[unit], y)


def correlated(x, unit, n_unit, y=None):
    sd = numpyro.sample("sd", dist.HalfNormal(1).expand([2]).to_event(1))
    root = numpyro.sample("root", dist.LKJCholesky(2, 2.0))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample(
            "own", dist.MultivariateNormal(jnp.zeros(2), scale_tril=sd[:, None] * root)
        )
    rows(own[unit, 0] + own[unit, 1] * x, y)


def positive_event(unit, n_unit, y=None):
    # No plate: the units are a dimension of an event, and so is the volume of the transform.
    mu, tau = shared()
    rate = numpyro.sample("rate", dist.LogNormal(mu, tau).expand([n_unit]).to_event(1))
    rows(rate[unit], y)


def units_last(x, unit, n_unit, y=None):
    mu, tau = shared()
    with numpyro.plate("units", n_unit, dim=-1), numpyro.plate("terms", 2, dim=-2):
        own = numpyro.sample("own", dist.LogNormal(mu, tau))
    rows(own[0, unit] + own[1, unit] * x, y)


def shares(x, unit, n_unit, y=None):
    mu, _ = shared()
    with numpyro.plate("units", n_unit):
        share = numpyro.sample("share", dist.Dirichlet(jnp.exp(mu) * jnp.ones(3)))
    rows(share[unit, 0] + share[unit, 1] * x, y)


TAKEN = [
    centred,
    pytest.param(not_centred, marks=pytest.mark.long),
    vectors,
    correlated,
    positive_event,
    pytest.param(units_last, marks=pytest.mark.long),
    pytest.param(shares, marks=pytest.mark.long),
]


@pytest.mark.parametrize("model", TAKEN)
def test_a_model_of_independent_units_is_taken(model):
    assert why_not_by_unit(random_effects.batch_of(model, table())) == ""


# ---- others


def without_units(x, y=None):
    mu, _ = shared()
    rows(mu * x, y)


def by_row(unit, n_unit, x, y=None):
    mu, tau = shared()
    with numpyro.plate("rows", x.shape[0]):
        own = numpyro.sample("own", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(own, 1), obs=y)


def crossed(unit, n_unit, group, n_group, y=None):
    mu, tau = shared()
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(mu, tau))
    with numpyro.plate("groups", n_group):
        other = numpyro.sample("other", dist.Normal(0, tau))
    rows(own[unit] + other[group], y)


def both(unit, n_unit, group, n_group, y=None):
    mu, tau = shared()
    with numpyro.plate("units", n_unit, dim=-2), numpyro.plate("groups", n_group, dim=-1):
        own = numpyro.sample("own", dist.Normal(mu, tau))
    rows(own[unit, group], y)


def factored(unit, n_unit, y=None):
    centred(unit, n_unit, y)
    numpyro.factor("more", -1.0)


def counting(unit, n_unit, n_rows, y=None):
    centred(unit, n_unit, y)


def around_their_mean(unit, n_unit, y=None):
    mu, tau = shared()
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(0, tau))
    rows(mu + own[unit] - own.mean(), y)


def one_after_the_other(unit, n_unit, y=None):
    mu, tau = shared()
    own = numpyro.sample("own", dist.GaussianRandomWalk(tau, num_steps=n_unit))
    rows(mu + own[unit], y)


def not_by_row(unit, n_unit, y=None):
    mu, tau = shared()
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(mu, tau))
    covariance = jnp.eye(unit.shape[0])
    numpyro.sample("y", dist.MultivariateNormal(own[unit], covariance), obs=y)


def nothing_shared(unit, n_unit, y=None):
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(0, 1))
    rows(own[unit], y)


def nowhere_finite(unit, n_unit, y=None):
    mu, tau = shared()
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(mu, tau))
    with numpyro.plate("rows", unit.shape[0]):
        # Some outcomes are negative.
        numpyro.sample("y", dist.LogNormal(own[unit], 1), obs=y)


REFUSED = {
    without_units: "the model has no latent sites of units",
    by_row: "the latent site own is indexed by rows",
    crossed: "the latent site other is indexed by group, not by unit alone",
    both: "the latent site own is indexed by unit and group, not by unit alone",
    factored: "the model adds to its density by numpyro.factor (more)",
    counting: "the model takes n_rows, the number of all rows",
    around_their_mean: "its density is no sum over the levels of unit",
    one_after_the_other: "the latent site own stands in no plate over the levels of unit",
    not_by_row: "the model gives its rows no log likelihood one by one",
    nothing_shared: "no latent site is shared by its units",
    nowhere_finite: "its density is finite at none of 10 draws from the prior",
}


@pytest.mark.parametrize("model", REFUSED)
def test_another_is_refused_with_its_reason(model):
    assert why_not_by_unit(random_effects.batch_of(model, table())) == REFUSED[model]


def test_without_a_column_of_units_the_latent_sites_belong_to_none():
    batch = random_effects.batch_of(centred, table(), unit=None)
    assert why_not_by_unit(batch) == (
        "the latent site own belongs to no unit: data.unit names none that the model takes"
    )


def test_a_site_that_is_not_compared_is_refused():
    batch = random_effects.batch_of(centred, table(), compare=["mu"])
    assert why_not_by_unit(batch) == (
        "all rows share the latent site tau, and model.compare leaves it out"
    )
