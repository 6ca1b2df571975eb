"""Scores, information and predictions against closed forms."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import small_studies

from scalecheck.checks.scores import ordered, unordered
from scalecheck.evaluation.row_scores import row_scores
from scalecheck.model import density
from scalecheck.study.plan import Slice

N_ROWS = 60
PLAN = {"subsets": {"count": 1, "size": 30}, "increments": {"start": 30, "end": 30}}
LOGISTIC = """
def model(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 2).expand([2]).to_event(1))
    s = numpyro.sample("s", dist.HalfNormal(1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=b[0] + b[1] * x * s), obs=y)
"""


@pytest.fixture(scope="module", autouse=True)
def double():
    """As `examine` asks for evidence."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def logistic(tmp_path_factory):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(N_ROWS)
    table = pd.DataFrame({"x": x, "y": rng.random(N_ROWS) < 1 / (1 + np.exp(-x))}).astype(float)
    with jax.enable_x64(False):
        return small_studies.make(tmp_path_factory.mktemp("logistic"), table, LOGISTIC, **PLAN)


LEVEL = np.arange(N_ROWS) % 3


def every(level):
    """What is asked of levels without an order."""
    return unordered(tuple(f"l{k}" for k in range(level.max() + 1)), level)


def test_scores_and_information_of_a_logistic_regression(logistic):
    """With u = log s: eta = b0 + b1 x exp(u), score (y - p) d eta, Hessian -p (1 - p) d eta d eta' + (y - p) d2 eta."""
    evidence = logistic.evidence()
    values = evidence.columns([Slice("arrival", 0, N_ROWS)])
    theta = np.array([0.3, -0.8, 0.4])
    along = ordered(("a", "b", "c"), LEVEL, values["x"].astype(float))
    scores, _ = row_scores(evidence.likelihood, values, [along, every(LEVEL)], theta)
    x, y, s = values["x"].astype(float), values["y"], np.exp(theta[2])
    p = 1 / (1 + np.exp(-theta[0] - theta[1] * x * s))
    first = np.stack([np.ones(N_ROWS), x * s, theta[1] * x * s], axis=1)
    second = np.zeros((N_ROWS, 3, 3))
    second[:, 1, 2] = second[:, 2, 1] = x * s
    second[:, 2, 2] = theta[1] * x * s
    hessian = -(p * (1 - p))[:, None, None] * first[:, :, None] * first[:, None]
    hessian += (y - p)[:, None, None] * second
    assert evidence.likelihood.vector.names == ("b[0]", "b[1]", "s")
    np.testing.assert_allclose(scores.score, (y - p)[:, None] * first, rtol=1e-9, atol=1e-12)
    information = [-hessian[LEVEL == k].sum(axis=0) for k in range(3)]
    np.testing.assert_allclose(scores.information, information, rtol=1e-9, atol=1e-12)
    by_contrast = -np.einsum("ns,nde->sde", along.contrast, hessian)
    np.testing.assert_allclose(scores.along, by_contrast, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(scores.level, LEVEL)
    assert scores.unit is None


def test_scores_sum_to_the_gradient_of_the_log_density_less_that_of_the_prior(logistic):
    evidence = logistic.evidence()
    values = evidence.columns([Slice("arrival", 0, N_ROWS)])
    rows, theta = evidence.likelihood.rows(values), np.array([0.3, -0.8, 0.4])
    energy = density.potential(evidence.likelihood.function(rows.counts))

    def log_density(theta, weight):
        arrays = {**rows.arrays, "row_mask": jnp.full(N_ROWS, weight)}
        return -energy(**arrays)(evidence.likelihood.vector.unpack(theta))

    gradient_of = jax.jit(jax.grad(log_density))
    gradient = [gradient_of(theta, weight) for weight in (True, False)]
    (found,) = row_scores(evidence.likelihood, values, [every(LEVEL)], theta)
    found = found.score.sum(axis=0)
    np.testing.assert_allclose(found, gradient[0] - gradient[1], rtol=1e-9)


def test_scores_of_a_normal_mean(conjugate):
    evidence = conjugate.evidence()
    values = conjugate.values("increment-03", "x", "y")
    level = np.zeros(len(values["y"]), int)
    (scores,) = row_scores(evidence.likelihood, values, [every(level)], np.array([0.7]))
    np.testing.assert_allclose(scores.score[:, 0], values["y"] - 0.7, rtol=1e-12)
    np.testing.assert_allclose(scores.information, [[[len(level)]]], rtol=1e-12)


def test_the_prior_is_that_of_the_preflight(conjugate, logistic):
    prior = conjugate.evidence().prior
    assert prior.mean[0] == pytest.approx(0, abs=4 / density.PRIOR_DRAWS**0.5)
    assert prior.covariance[0, 0] == pytest.approx(1, abs=4 * (2 / density.PRIOR_DRAWS) ** 0.5)
    assert logistic.evidence().prior.covariance.shape == (3, 3)


def test_random_numbers_depend_on_the_seed_and_the_purpose(conjugate):
    evidence = conjugate.evidence()
    drawn = [evidence.rng(purpose).random() for purpose in ("a", "b", "a")]
    assert drawn[0] == drawn[2] != drawn[1]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            """
            def model(x, y=None):
                mu = numpyro.sample("mu", dist.Normal(0, 1))
                n = x.shape[0]
                numpyro.sample("y", dist.MultivariateNormal(mu * jnp.ones(n), jnp.eye(n)), obs=y)
            """,
            "the model gives its rows no log likelihood one by one",
        ),
        (
            """
            def model(x, y=None):
                mu = numpyro.sample("mu", dist.Normal(0, 1))
                with numpyro.plate("rows", x.shape[0]):
                    z = numpyro.sample("z", dist.Normal(0, 1))
                    numpyro.sample("y", dist.Normal(mu + z, 1), obs=y)
            """,
            r"latent sites that are not compared across fits \(z\)",
        ),
        (
            """
            def model(x, y=None):
                mu = numpyro.sample("mu", dist.Normal(0, 1))
                numpyro.factor("penalty", -(mu**4))
                with numpyro.plate("rows", x.shape[0]):
                    numpyro.sample("y", dist.Normal(mu, 1), obs=y)
            """,
            r"adds to its density by numpyro.factor \(penalty\)",
        ),
    ],
)
def test_a_model_whose_rows_cannot_be_checked_says_why(tmp_path, source, words):
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"x": rng.standard_normal(N_ROWS), "y": rng.standard_normal(N_ROWS)})
    with jax.enable_x64(False):
        small = small_studies.make(tmp_path, table, source, **PLAN)
    assert re.search(words, small.evidence().likelihood.no_row_checks() or "")


def test_a_model_of_independent_rows_can_be_checked(conjugate, logistic):
    assert conjugate.evidence().likelihood.no_row_checks() is None
    assert logistic.evidence().likelihood.no_row_checks() is None
