"""Surprise of new rows whose predictive distribution is known exactly."""

import numpy as np
import pytest
from scipy.stats import kstest, norm, rankdata

from scalecheck.checks import surprise

N_REPLICATES = 199


def members(rng, *, n_rows=60, n_before=60, outcome="normal"):
    """The observed rows and replicates `(S + 1, n)`, and their log scores, all exchangeable."""
    if outcome == "binary":
        rate = rng.beta(20, 40, N_REPLICATES + 1)[:, None]
        y = (rng.random((N_REPLICATES + 1, n_rows)) < rate).astype(np.float32)
        return y, np.where(y == 1, np.log(1 / 3), np.log(2 / 3))
    mean = rng.standard_normal((N_REPLICATES + 1, 1)) / np.sqrt(n_before)
    y = mean + rng.standard_normal((N_REPLICATES + 1, n_rows))
    return y, log_score(y)


def log_score(y, n_before=60):
    return norm.logpdf(y, scale=np.sqrt(1 + 1 / n_before))


def check(rng, y, log_scores):
    return surprise.check(
        y[0],
        y[1:],
        log_scores,
        fit="increment-02",
        rows_before=500,
        rows_after=1000,
        fits=("increment-01", "increment-02"),
        weight=1.0,
        rng=rng,
    )


def leading(table):
    return table.loc[table["leading"], "statistic"].item()


@pytest.mark.parametrize("outcome", ["normal", "binary"])
def test_p_values_of_a_true_model_are_uniform_for_the_family_and_for_each_statistic(outcome):
    rng = np.random.default_rng(1)
    p, single = [], []
    for _ in range(400):
        finding, table = check(rng, *members(rng, outcome=outcome))
        p.append(finding.p)
        single.append(table.set_index("statistic")["p"])
    assert kstest(p, "uniform").pvalue > 0.01
    for statistic in single[0].index:
        assert kstest([row[statistic] for row in single], "uniform").pvalue > 0.001, statistic


def test_contamination_is_called_next_to_impossible():
    rng = np.random.default_rng(2)
    for _ in range(20):
        y, _ = members(rng, n_rows=300)
        y[0] += 6 * rng.standard_normal(300) * (rng.random(300) < 0.03)
        finding, table = check(rng, y, log_score(y))
        assert finding.p <= 0.01
        assert leading(table) in ("lowest log scores", "kurtosis")
    assert finding.large
    assert finding.message.startswith("rows 501 to 1000 contain outcomes that the model calls next")


@pytest.mark.parametrize(
    ("change", "statistic", "words"),
    [
        (lambda y: y + 1.5, "mean", "lie above what the model predicts"),
        (lambda y: y - 1.5, "mean", "lie below what the model predicts"),
        (lambda y: 0.5 * y, "variance", "vary less than the model predicts"),
        (lambda y: 1.6 * y, "variance", "vary more than the model predicts"),
        (lambda y: np.exp(y) - 1, "skewness", "have a longer upper tail"),
        (lambda y: np.sign(y) + 0.1 * y, "kurtosis", "have lighter tails"),
    ],
)
def test_each_defect_leads_with_its_statistic(change, statistic, words):
    """Log scores stay those of the truth: they would see most defects, too."""
    rng = np.random.default_rng(3)
    y, scores = members(rng, n_rows=300)
    y[0] = change(y[0])
    finding, table = check(rng, y, scores)
    by_name = table.set_index("statistic")
    assert by_name["p"][statistic] == 1 / (N_REPLICATES + 1)
    below, above = surprise.MEANINGS[statistic]
    assert words in (above if by_name["studentised"][statistic] > 0 else below)
    if statistic in ("mean", "variance"):
        assert words in finding.message


def test_too_few_improbable_outcomes_are_no_low_tail():
    rng = np.random.default_rng(4)
    y, scores = members(rng)
    scores[0] = scores[0].max()
    _, table = check(rng, y, scores)
    assert table.set_index("statistic")["p"]["lowest log scores"] > 0.9
    assert leading(table) == "log score"


def test_the_order_of_members_is_exact_and_ties_fall_at_random():
    rng = np.random.default_rng(5)
    values = rng.standard_normal((50, 200)) * 10.0 ** rng.integers(-30, 30, (50, 200))
    order = surprise._order(values, rng)
    assert (np.argsort(order, axis=1) == rankdata(values, axis=1) - 1).all()
    zeros = np.tile([0.0, -0.0, 1.0, -1.0], (4000, 1))
    rank = np.argsort(surprise._order(zeros, rng), axis=1)
    assert (rank[:, 3] == 0).all()
    assert (rank[:, 2] == 3).all()
    assert abs(np.mean(rank[:, 0] == 1) - 0.5) < 4 * np.sqrt(0.25 / 4000)


def test_chunks_of_rows_do_not_change_the_statistics(monkeypatch):
    y, _ = members(np.random.default_rng(6))
    whole = surprise._shape(y[0], y[1:], np.random.default_rng(0))
    monkeypatch.setattr(surprise, "CHUNK", 7 * len(y))
    assert np.allclose(whole, surprise._shape(y[0], y[1:], np.random.default_rng(0)))


def test_the_shape_statistics_are_moments_of_normal_scores_of_ranks():
    y, _ = members(np.random.default_rng(7))
    z = norm.ppf((rankdata(y, axis=0) - 0.5) / len(y))
    deviation = z - z.mean(axis=1, keepdims=True)
    variance = (deviation**2).mean(axis=1)
    standard = deviation / np.sqrt(variance)[:, None]
    by_hand = [z.mean(axis=1), variance, (standard**3).mean(axis=1), (standard**4).mean(axis=1)]
    assert np.allclose(surprise._shape(y[0], y[1:], np.random.default_rng(0)), by_hand)


def test_one_impossible_outcome_is_found_and_stays_finite():
    rng = np.random.default_rng(8)
    y, scores = members(rng)
    scores[0, 0] = -np.inf
    finding, _ = check(rng, y, scores)
    assert finding.p == 1 / (N_REPLICATES + 1)
    assert np.isfinite(finding.effect.value)


@pytest.mark.parametrize(
    ("n_rows", "score", "reason"), [(1, 0.0, "at least 2 new rows, got 1"), (60, np.nan, "number")]
)
def test_what_cannot_be_judged_is_not_run_and_says_why(n_rows, score, reason):
    rng = np.random.default_rng(9)
    y, scores = members(rng, n_rows=n_rows)
    finding, table = check(rng, y, scores + score)
    assert finding.p is None
    assert finding.fit == "increment-02"
    assert reason in finding.message
    assert table.empty
