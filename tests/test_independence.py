"""What of a model is independent: rows, units, or nothing that a check could use."""

import intercepts
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan

from scalecheck.evaluation.unit_scores import no_unit_scores, why_dependent


def likelihood(latent, unit="clinic", compare=None):
    """A model whose rows depend on what `latent` returns for each clinic, or for each row."""

    def model(x, clinic, n_clinic, y=None):
        mu = numpyro.sample("mu", dist.Normal(0, 1))
        effect = latent(n_clinic, x.shape[0])
        by_row = effect if effect.shape == x.shape else effect[clinic]
        numpyro.sample("y", dist.Normal(mu + by_row, 1), obs=y)

    data = intercepts.simulate(np.random.default_rng(1), 3, 2)
    return intercepts.likelihood(model, data, unit=unit, compare=compare)


def found(*arguments, **settings):
    one = likelihood(*arguments, **settings)
    return why_dependent(one.hidden, one.unit)


def none(n_clinics, n_rows):
    return jnp.zeros(n_rows)


def plated(n_clinics, n_rows):
    with numpyro.plate("clinics", n_clinics):
        return numpyro.sample("u", dist.Normal(0, 1))


def batched(n_clinics, n_rows):
    return numpyro.sample("u", dist.Normal(0, 1).expand([n_clinics]).to_event(1))


def coefficients(n_clinics, n_rows):
    with numpyro.plate("kinds", 2, dim=-2), numpyro.plate("clinics", n_clinics, dim=-1):
        return numpyro.sample("u", dist.Normal(0, 1)).sum(axis=0)


def of_rows(n_clinics, n_rows):
    with numpyro.plate("all", n_rows):
        return numpyro.sample("z", dist.Normal(0, 1))


def walk(n_clinics, n_rows):
    return numpyro.sample("u", dist.GaussianRandomWalk(1.0, num_steps=n_clinics))


def scanned(n_clinics, n_rows):
    def step(before, _):
        after = numpyro.sample("u", dist.Normal(before, 1))
        return after, after

    return scan(step, 0.0, jnp.arange(n_clinics))[1]


def process(n_clinics, n_rows):
    covariance = jnp.eye(n_clinics) + 0.5
    return numpyro.sample("u", dist.MultivariateNormal(0, covariance))


def contrasts(n_clinics, n_rows):
    with numpyro.plate("others", n_clinics - 1):
        return jnp.append(numpyro.sample("u", dist.Normal(0, 1)), 0.0)


def pairs(n_clinics, n_rows):
    with numpyro.plate("a", n_clinics, dim=-2), numpyro.plate("b", n_rows, dim=-1):
        return numpyro.sample("u", dist.Normal(0, 1))[0]


def both(n_clinics, n_rows):
    return of_rows(n_clinics, n_rows) + plated(n_clinics, n_rows).sum()


@pytest.mark.parametrize(
    ("latent", "unit"),
    [
        (none, None),
        (of_rows, None),
        (of_rows, "clinic"),
        (plated, "clinic"),
        (batched, "clinic"),
        (coefficients, "clinic"),
        (both, "clinic"),
    ],
)
def test_rows_or_units_are_independent(latent, unit):
    assert found(latent, unit) == ""


@pytest.mark.parametrize("latent", [walk, scanned, process, contrasts])
def test_latent_sites_in_no_plate_belong_to_no_unit(latent):
    assert found(latent).startswith(
        "the latent site u stands in no plate over the levels of clinic"
    )


def test_other_latent_sites_say_what_stands_in_the_way():
    assert "u is a group, indexed by clinic: set data.unit to clinic if" in found(plated, None)
    other = found(plated, "hospital")
    assert "indexed by clinic but data.unit is hospital: with crossed or nested" in other
    assert "indexed by clinic and row" in found(pairs)
    shared = likelihood(
        lambda *sizes: numpyro.sample("b", dist.Normal(0, 1).expand([1])), compare=("mu",)
    )
    reason = why_dependent(shared.hidden, "clinic")
    assert reason == "model.compare leaves out the latent site b, which all rows share"


def walk_of_rows(n_clinics, n_rows):
    return numpyro.sample("u", dist.GaussianRandomWalk(1.0, num_steps=n_rows))


@pytest.mark.parametrize("series", [walk, walk_of_rows])
def test_new_rows_of_a_series_continue_the_old_ones_and_are_not_drawn_anew(series):
    assert likelihood(series).no_new_rows().startswith("the latent site u stands in no plate")
    assert likelihood(series).no_predictions() is None


@pytest.mark.parametrize("independent", [none, plated, batched, of_rows])
def test_rows_and_units_that_are_independent_can_be_predicted(independent):
    assert likelihood(independent).no_new_rows() is None


def test_factors_and_rows_without_a_likelihood_of_their_own_are_refused():
    def penalised(n_clinics, n_rows):
        u = plated(n_clinics, n_rows)
        numpyro.factor("penalty", -u.sum())
        return u

    assert "numpyro.factor (penalty)" in no_unit_scores(likelihood(penalised))
    assert no_unit_scores(likelihood(plated)) is None
