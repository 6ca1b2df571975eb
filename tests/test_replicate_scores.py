"""Scores of replicates: centred where the model is true, and as large as its information says."""

import functools

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import test_predictive
from scipy.special import expit

from scalecheck.checks.form import check_form, terms_of
from scalecheck.checks.score_test import run_score_test
from scalecheck.checks.scores import ScoreSums, scaled_replicates, unordered
from scalecheck.checks.standardised_scores import standardise_scores
from scalecheck.evaluation.replicate_scores import (
    MOST_ROWS,
    no_replicate_scores,
    replicate_scores,
)
from scalecheck.evaluation.row_scores import row_scores

likelihood_of = functools.cache(test_predictive.likelihood_of)
THETA = np.array([-0.5, 0.4])
N_SETS = 2_000


def rare(x, y=None):
    intercept = numpyro.sample("intercept", dist.Normal(0, 1))
    slope = numpyro.sample("slope", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.BernoulliLogits(intercept + slope * x), obs=y)


def masked(x, y=None):
    intercept = numpyro.sample("intercept", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]), numpyro.handlers.mask(mask=x > 0):
        numpyro.sample("y", dist.Normal(intercept, 1.0), obs=y)


@pytest.fixture(scope="module", autouse=True)
def double():
    """As `examine` asks."""
    with jax.enable_x64(True):
        yield


def values_of(n_rows, seed=1, bend=0.0):
    rng = np.random.default_rng(seed)
    x = np.exp(0.5 * rng.standard_normal(n_rows))
    mean = expit(THETA[0] + THETA[1] * x + bend * (np.log(x) - 0.8 * (x - 1)))
    return {"x": x, "y": (rng.random(n_rows) < mean).astype(float)}


def test_scores_of_replicates_are_centred_and_vary_as_the_information_says():
    likelihood, values = likelihood_of(rare), values_of(1500)
    contrast = np.stack([np.log(values["x"]), values["x"] ** 2], axis=1)
    found = [
        *replicate_scores(likelihood, values, THETA, contrast, N_SETS, np.random.default_rng(2))
    ]
    total, along, squares = (
        np.concatenate([getattr(one, n) for one in found]) for n in found[0]._fields
    )
    assert (total.shape, along.shape, squares.shape) == ((N_SETS, 2), (N_SETS, 2, 2), (N_SETS, 2))
    p = expit(THETA[0] + THETA[1] * values["x"])
    x = np.stack([np.ones(1500), values["x"]], axis=1)
    for sums, by in [(total, x), *((along[:, c], x * contrast[:, [c]]) for c in range(2))]:
        variance = (p * (1 - p)) @ by**2
        mcse = np.sqrt(variance / N_SETS)
        assert (np.abs(sums.mean(axis=0)) < 4 * mcse).all()
        assert sums.var(axis=0) == pytest.approx(variance, rel=4 * np.sqrt(2 / N_SETS))
    assert squares.mean(axis=0) == pytest.approx((p * (1 - p)) @ x**2, rel=0.02)


def at_maximum(likelihood, values, along):
    """Find the maximum by Newton's method, and the scores there."""
    theta = THETA
    for _ in range(20):
        (scores,) = row_scores(likelihood, values, [along], theta)
        theta = theta + np.linalg.solve(scores.information.sum(axis=0), scores.score.sum(axis=0))
    return theta, scores


def check(values, seed):
    likelihood = likelihood_of(rare)
    terms = terms_of({"x": values["x"]})
    theta, scores = at_maximum(likelihood, values, terms.along)
    rng = np.random.default_rng(seed)
    return check_form(
        terms,
        scores,
        lambda n: replicate_scores(likelihood, values, theta, terms.along.contrast, n, rng),
        names=["intercept", "slope"],
        fits=["increment-01"],
        weight=1.0,
        rng=rng,
    )


def test_a_missing_logarithm_is_measured_in_the_sds_of_the_model():
    values = values_of(1500, bend=1.2)
    finding, table = check(values, 3)
    assert finding.p < 2e-3
    assert finding.message.startswith("the effect of x bends (intercept, ")
    # The score test of the model, by hand, at its own maximum.
    x = np.stack([np.ones(1500), values["x"]], axis=1)
    theta = np.zeros(2)
    for _ in range(20):
        p = expit(x @ theta)
        w = p * (1 - p)
        theta = theta + np.linalg.solve((x * w[:, None]).T @ x, x.T @ (values["y"] - p))
    log = np.log(values["x"])
    left = log - x @ np.linalg.solve((x * w[:, None]).T @ x, (x * w[:, None]).T @ log)
    z = left @ (values["y"] - p) / np.sqrt(w @ left**2)
    seen = table.set_index("term").loc["log(x)", "z"]
    assert seen == pytest.approx(z, rel=5 / np.sqrt(2 * 999))


def along_groups(values, seed, *, asked):
    """Test the intercept along groups of 20 rows; `asked`: replicates are."""
    likelihood = likelihood_of(rare)
    along = unordered(tuple("abcdefghij"), np.arange(len(values["y"])) % 10)
    theta, scores = at_maximum(likelihood, values, along)
    rng = np.random.default_rng(seed)
    by_level = (along.level[:, None] == np.arange(10)).astype(float)

    def replicates(n):
        return replicate_scores(likelihood, values, theta, by_level, n, rng)

    return run_score_test(standardise_scores(scores), (), 1.0, rng, replicates if asked else None).p


def seldom(seed, by_group=0.0):
    """One row in twelve."""
    rng = np.random.default_rng(seed)
    p = expit(-2.4 + by_group * (np.arange(200) % 10 == 0))
    return {"x": rng.standard_normal(200), "y": (rng.random(200) < p).astype(float)}


def test_replicates_only_ever_raise_the_p_of_an_axis_and_leave_what_is_certain():
    alone, both = (
        np.array([along_groups(seldom(seed), seed, asked=asked) for seed in range(25)])
        for asked in (False, True)
    )
    assert (both >= alone).all()
    assert (both[alone >= 0.05] == alone[alone >= 0.05]).all()
    assert along_groups(seldom(1, by_group=4.0), 1, asked=True) < 1e-3


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_the_dispersion_of_replicates_is_that_of_the_observed(factor):
    squares = np.array([3.0, 40.0])

    def of(factor):
        rng = np.random.default_rng(5)
        values = values_of(100)
        for one in replicate_scores(likelihood_of(rare), values, THETA, np.ones((100, 1)), 9, rng):
            yield ScoreSums(one.total * factor, one.along * factor, one.squares * factor**2)

    (found,) = scaled_replicates(lambda n: of(factor), squares)(9)
    (expected,) = scaled_replicates(lambda n: of(1.0), squares)(9)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other)
    (own,) = of(1.0)
    np.testing.assert_allclose(expected.total, own.total * np.sqrt(squares / own.squares))


def test_a_replicate_without_a_finite_score_leaves_the_test_to_signs():
    values = seldom(1, by_group=4.0)
    along = unordered(tuple("abcdefghij"), np.arange(200) % 10)
    flow = standardise_scores(at_maximum(likelihood_of(rare), values, along)[1])

    def replicates(n):
        nothing = np.zeros((n, 2))
        yield ScoreSums(nothing, np.full((n, 10, 2), np.nan), nothing)

    alone, both = (
        run_score_test(flow, (), 1.0, np.random.default_rng(7), one).p for one in (None, replicates)
    )
    assert both == alone < 0.01


@pytest.mark.long
def test_levels_with_few_rare_outcomes_of_a_true_model_are_rejected_no_more_often_than_stated():
    p = np.array([along_groups(seldom(seed), seed, asked=True) for seed in range(200)])
    assert (p < 0.05).mean() < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
    assert (p < 0.5).mean() > 0.3


@pytest.mark.long
def test_rare_outcomes_of_a_true_model_are_rejected_at_the_stated_level():
    p = np.array([check(values_of(200, seed), seed)[0].p for seed in range(400)])
    assert 0.03 < (p < 0.05).mean() < 0.08
    assert (p < 0.01).mean() < 0.025


@pytest.mark.parametrize(
    ("function", "n_rows", "words"),
    [(rare, 100, None), (rare, MOST_ROWS + 1, "are more than"), (masked, 100, "masked")],
)
def test_where_there_are_no_replicates_it_is_said_why(function, n_rows, words):
    reason = no_replicate_scores(likelihood_of(function), n_rows)
    assert reason is None if words is None else words in reason
