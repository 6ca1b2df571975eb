"""Heterogeneity in regressions whose scores and posteriors are known exactly."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import rankdata

from scalecheck.checks import heterogeneity
from scalecheck.checks.heterogeneity import Scores
from scalecheck.checks.moments import Moments
from scalecheck.checks.score_test import _statistics, p_value, standardise_scores

NAMES = ["alpha", "beta", "gamma"]
N_REPLICATIONS = 400
# Three binomial sds around 5 %; docs/statistics.md found 5.5 % for the better of sum and maximum.
LOWEST, HIGHEST = 0.017, 0.09


def fit(x, y, level, unit=None):
    """Scores, pooled and level posteriors of a regression that believes in unit variance."""
    n_levels, n_parameters = level.max() + 1, x.shape[1]
    parts = [(x[level == k], y[level == k]) for k in range(n_levels)]
    information = np.stack([rows.T @ rows for rows, _ in parts])
    moment = np.stack([rows.T @ outcome for rows, outcome in parts])
    flat = 0.01 * np.eye(n_parameters)
    covariance = np.linalg.inv(np.concatenate([information.sum(0)[None], information]) + flat)
    mean = np.einsum("kij,kj->ki", covariance, np.concatenate([moment.sum(0)[None], moment]))
    moments = Moments(mean, covariance, np.full(n_levels + 1, 1e9))
    score = (y - x @ mean[0])[:, None] * x
    levels = Moments(*(part[1:] for part in moments))
    return Scores(score, information, level, unit), moments.only(0), levels


def regression(rng, *, sizes=(50,) * 8, noise=1.0, slope=(), drift=0.0):
    """Rows of a regression, one level after the other; `slope` is added to beta by level."""
    level = np.repeat(np.arange(len(sizes)), sizes)
    x = np.column_stack([np.ones(len(level)), rng.standard_normal((len(level), 2))])
    y = x @ [0.3, 0.5, -0.3] + noise * rng.standard_normal(len(level))
    y += x[:, 1] * np.pad(slope, (0, len(sizes) - len(slope)))[level]
    y += drift * x[:, 1] * (level >= len(sizes) // 2)
    return x, y, level


def check(rng, scores, pooled, levels, **changes):
    labels = [f"s{k}" for k in range(len(scores.information))]
    settings = {"weight": 1.0, "kind": "heterogeneous", "ordered": False, "names": NAMES}
    settings |= {"fits": ("axis-source",), "rng": rng, **changes}
    return heterogeneity.check_heterogeneity("source", labels, scores, pooled, levels, **settings)


def rejects(p):
    return np.mean(np.array(p) < 0.05)


@pytest.mark.parametrize(
    ("setting", "ordered"),
    [
        pytest.param({}, False, marks=pytest.mark.long),
        ({"noise": 2.0}, False),
        pytest.param({"noise": 2.0}, True, marks=pytest.mark.long),
        pytest.param({"sizes": (200, 100, 50, 20, 10)}, False, marks=pytest.mark.long),
    ],
)
def test_true_parameters_are_rejected_at_the_stated_level_whatever_the_dispersion(setting, ordered):
    rng = np.random.default_rng(1)
    p = []
    for _ in range(N_REPLICATIONS):
        x, y, level = regression(rng, **setting)
        p.append(p_value(standardise_scores(fit(x, y, level)[0]), ordered, rng))
    assert LOWEST < rejects(p) < HIGHEST


@pytest.mark.long
def test_units_are_flipped_whole_or_their_dependence_is_taken_for_heterogeneity():
    """Whole units lie in one level here: 40 units of 10 rows share an intercept."""
    rng = np.random.default_rng(2)
    whole, by_row = [], []
    for _ in range(100):
        x, _, level = regression(rng)
        unit = np.arange(len(level)) // 10
        y = x[:, 1] + rng.standard_normal(len(level)) + rng.standard_normal(40)[unit]
        scores = fit(x, y, level, unit)[0]
        whole.append(p_value(standardise_scores(scores), False, rng))
        by_row.append(p_value(standardise_scores(scores._replace(unit=None)), False, rng))
    assert rejects(whole) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert rejects(by_row) > 0.3


def test_flipped_sums_are_those_of_flipping_every_row_by_hand():
    rng = np.random.default_rng(3)
    level, unit = np.array([2, 0, 1, 0, 2, 1, 1, 0]), np.array([7, 7, 3, 3, 5, 5, 9, 9])
    scores, _, _ = fit(rng.standard_normal((8, 2)), rng.standard_normal(8), level, unit)
    flow = standardise_scores(scores)
    signs = np.array(list(product([-1.0, 1.0], repeat=4)))
    u, by_level = flow.by_level(flow.sums(signs))
    pooled = np.linalg.inv(scores.information.sum(axis=0))
    outer = np.linalg.inv(scores.score.T @ scores.score)
    for flip, sign in enumerate(signs):
        of_unit = dict(zip([3, 5, 7, 9], sign, strict=True))
        flipped = scores.score * np.array([of_unit[code] for code in unit])[:, None]
        for k in range(3):
            sums = flipped[level == k].sum(axis=0)
            by_hand = sums - scores.information[k] @ pooled @ flipped.sum(axis=0)
            assert np.allclose(u[flip, k], by_hand @ flow.root)
            size = by_hand @ outer @ by_hand / np.mean(level == k)
            assert by_level[flip, k] == pytest.approx(size)


@pytest.mark.parametrize(("shared", "status"), [(False, "not run"), (True, "run")])
def test_levels_with_parameters_of_their_own_have_nothing_to_differ_in(shared, status):
    """An intercept per level; with a slope that they share there is something to test."""
    rng = np.random.default_rng(6)
    level = np.repeat(np.arange(3), 60)
    x = np.eye(3)[level]
    if shared:
        x = np.column_stack([x, rng.standard_normal(len(level))])
    names = [f"parameter {i}" for i in range(x.shape[1])]
    scores, pooled, _ = fit(x, rng.standard_normal(len(level)), level)
    finding, _ = check(rng, scores, pooled, None, names=names)
    assert (finding.p is None) == (status == "not run")
    assert ("parameters of its own" in finding.message) == (status == "not run")


def test_random_flips_agree_with_all_flips():
    rng = np.random.default_rng(4)
    x, y, level = regression(rng, sizes=(30, 30, 30), slope=(0, 0, 0.4))
    unit = np.arange(90) % 10
    flow = standardise_scores(fit(x, y, level, unit)[0])
    signs = np.array([[1.0] * 10, *product([-1.0, 1.0], repeat=10)])
    by_level = flow.by_level(flow.sums(signs))[1].round(8)
    statistics = np.stack([by_level.sum(axis=1), by_level.max(axis=1)], axis=1)
    best = rankdata(-statistics[1:], method="max", axis=0).min(axis=1)
    exact = (best <= best[-1]).mean()  # the last of all flips is the observed
    p = p_value(flow, False, rng)
    assert abs(p - exact) < 4 * np.sqrt(exact * (1 - exact) / 1000)


def test_three_units_cannot_say_anything_surely():
    """A quarter of all flips leave the sums as they are, up to their common sign."""
    rng = np.random.default_rng(14)
    x, y, level = regression(rng, sizes=(30, 30, 30), slope=(-5, 0, 5))
    flow = standardise_scores(fit(x, y, level, level)[0])
    assert p_value(flow, False, rng) > 0.2


def test_the_fluctuation_of_each_parameter_is_its_formula():
    x, y, level = regression(np.random.default_rng(15), sizes=(100, 40, 10))
    scores, pooled, levels = fit(x, y, level)
    shifts = heterogeneity._shifts(scores, pooled, levels)
    covariance, total = pooled.covariance[0], scores.score.sum(axis=0)
    outer = covariance @ scores.score.T @ scores.score @ covariance
    part = np.linalg.inv(scores.information.sum(axis=0)) @ total
    for k, share in enumerate((100 / 150, 40 / 150, 10 / 150)):
        u = scores.score[level == k].sum(axis=0) - scores.information[k] @ part
        assert np.allclose(shifts.moved[k], (covariance @ u) ** 2 / share / np.diag(outer))


def test_a_level_that_differs_is_named_with_its_parameter_and_both_extremes():
    rng = np.random.default_rng(5)
    named = 0
    for _ in range(40):
        x, y, level = regression(rng, slope=(0, 0, 1.0))
        finding, table = check(rng, *fit(x, y, level))
        named += finding.p < 0.05 and (finding.level, finding.parameter) == ("s2", "beta")
    assert named >= 36
    assert finding.large
    assert finding.message.startswith("beta differs along source: lowest at s")
    assert "highest at s2 (" in finding.message
    assert finding.message.endswith("pooled value): model it per source")
    share = table.drop_duplicates("level").set_index("level")["share"]
    assert share.idxmax() == "s2"
    assert share.sum() == pytest.approx(1)


def test_a_column_that_the_model_uses_has_the_wrong_form_instead():
    rng = np.random.default_rng(6)
    x, y, level = regression(rng, slope=(0, 0, 1.0))
    scores, pooled, _ = fit(x, y, level)
    finding, _ = check(rng, scores, pooled, None, kind="misfit")
    assert finding.kind == "misfit"
    assert "most at s2" in finding.message
    assert finding.message.endswith("the model's dependence on source has the wrong form")


def test_one_step_from_the_scores_is_the_level_posterior():
    """Scores of a normal model are linear, so that one Newton step is exact up to the prior."""
    rng = np.random.default_rng(7)
    x, y, level = regression(rng, slope=(0.5,))
    scores, pooled, levels = fit(x, y, level)
    _, table = check(rng, scores, pooled, levels)
    step = table["level_mean"] - table["pooled_mean"]
    assert np.allclose(table["one_step"], step, atol=1e-3)
    assert np.allclose(table["one_step_sd"], table["level_sd"], rtol=1e-3)
    by_posterior, _ = check(rng, scores, pooled, levels)
    by_score, _ = check(rng, scores, pooled, None)
    largest = (step / table["level_sd"]).abs().max()
    assert by_posterior.effect.value == pytest.approx(largest)
    assert by_score.effect.value == pytest.approx(largest, abs=0.01)
    assert by_score.effect.high - by_score.effect.low == pytest.approx(2 * 1.96)


def test_a_change_point_is_found_more_often_when_the_levels_are_ordered():
    rng = np.random.default_rng(8)
    ordered, not_ordered = [], []
    for _ in range(100):
        x, y, level = regression(rng, drift=0.3)
        flow = standardise_scores(fit(x, y, level)[0])
        ordered.append(p_value(flow, True, rng))
        not_ordered.append(p_value(flow, False, rng))
    assert rejects(ordered) > rejects(not_ordered) + 0.1


@pytest.mark.long
def test_a_slow_drift_is_found_more_often_when_the_levels_are_ordered():
    """Found in two studies of three, though no level stands out."""
    slope = tuple(0.45 * (np.arange(8) / 7 - 0.5))
    rng = np.random.default_rng(9)
    ordered, not_ordered = [], []
    for _ in range(100):
        x, y, level = regression(rng, slope=slope)
        flow = standardise_scores(fit(x, y, level)[0])
        ordered.append(p_value(flow, True, rng))
        not_ordered.append(p_value(flow, False, rng))
    assert rejects(ordered) > rejects(not_ordered) + 0.1


def test_the_trend_of_a_parameter_is_its_formula():
    """Its one-step estimate as a sum over time, over its own sd under the outer product."""
    scores, pooled, _ = fit(*regression(np.random.default_rng(10), slope=(0.5, 0, 0, 0, -0.5)))
    flow = standardise_scores(scores)
    covariance = np.linalg.inv(scores.information.sum(axis=0))
    total = np.stack([scores.score[scores.level == k].sum(axis=0) for k in range(8)])
    step = covariance @ total.sum(axis=0)
    u = total - scores.information @ step
    trend = (np.arange(8) / 8 + 1 / 16 - 0.5) @ u @ covariance
    spread = np.diag(covariance @ scores.score.T @ scores.score @ covariance)
    observed = _statistics(flow, flow.observed(), True)[0]
    assert observed[3] == pytest.approx((trend**2 / spread).max())


def test_parameters_that_no_row_moves_drop_out_and_units_of_the_rest_do_not_matter():
    x, y, level = regression(np.random.default_rng(9), slope=(0, 0.4))
    scores, pooled, levels = fit(x, y, level)
    before, _ = check(np.random.default_rng(1), scores, pooled, levels)
    scale = np.diag([1e3, 1e-3, 1.0, 0.0])[:3]
    idle = Scores(scores.score @ scale, scale.T @ scores.information @ scale, level)
    wide = np.diag([1e-3, 1e3, 1.0, 0.0])[:3]
    covariance = wide.T @ pooled.covariance @ wide + np.diag([0, 0, 0, 1.0])
    moments = Moments(pooled.mean @ wide, covariance, pooled.ess)
    names = [*NAMES, "idle"]
    after, _ = check(np.random.default_rng(1), idle, moments, None, names=names)
    assert after.p == before.p
    assert after.parameter == before.parameter
    assert "; the rows move 3 of 4 directions" in after.message


def test_small_p_values_are_resolved_by_more_flips():
    rng = np.random.default_rng(10)
    x, y, level = regression(rng, slope=(0, 0, 2.0))
    assert p_value(standardise_scores(fit(x, y, level)[0]), False, rng) == pytest.approx(1e-4)


def test_a_pass_says_so_and_few_rows_are_only_indicative():
    rng = np.random.default_rng(11)
    x, y, level = regression(rng, sizes=(50, 50, 4))
    finding, _ = check(rng, *fit(x, y, level))
    assert finding.message.startswith("no parameter differs along source")
    assert finding.message.endswith("; indicative: a level has only 4 rows")


def test_levels_without_rows_are_left_out():
    rng = np.random.default_rng(12)
    x, y, level = regression(rng, sizes=(50, 50))
    scores, pooled, levels = fit(x, y, level)
    spread = Moments(*(np.insert(part, 1, np.nan, axis=0) for part in levels))
    information = np.insert(scores.information, 1, 0.0, axis=0)
    apart = scores._replace(level=2 * level, information=information)
    finding, table = check(np.random.default_rng(1), apart, pooled, spread)
    assert list(table["level"].unique()) == ["s0", "s2"]
    assert finding.p == check(np.random.default_rng(1), scores, pooled, levels)[0].p


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s._replace(level=np.zeros_like(s.level)), "fewer than two levels with rows"),
        (
            lambda s: s._replace(information=0 * s.information),
            "information of the fit along source",
        ),
        (lambda s: s._replace(score=s.score * np.nan), "is not a number"),
    ],
)
def test_what_cannot_be_compared_is_not_run_and_says_why(change, reason):
    rng = np.random.default_rng(13)
    x, y, level = regression(rng)
    scores, pooled, levels = fit(x, y, level)
    finding, table = check(rng, change(scores), pooled, levels)
    assert (finding.p, finding.axis, finding.fit) == (None, "source", "axis-source")
    assert reason in finding.message
    assert table.empty


def test_few_rows_for_each_parameter_make_no_true_model_change():
    """Sums of scores at an estimate cancel, single ones are smaller: without a correction the mean p is .40."""
    rng, found, n_rows, n_levels = np.random.default_rng(31), [], 40, 8
    for _ in range(100):
        x = np.eye(3)[rng.integers(3, size=n_rows)]
        y = rng.standard_normal(n_rows)
        level = np.arange(n_rows) % n_levels
        scores, _, _ = fit(x, y, level)
        flow = standardise_scores(scores)
        plain = flow._replace(regained=np.ones(n_levels))
        found.append([p_value(one, False, np.random.default_rng(7)) for one in (flow, plain)])
    corrected, plain = np.mean(found, axis=0)
    assert corrected == pytest.approx(0.5, abs=3 * np.sqrt(1 / 12 / 100))
    assert plain < corrected - 0.03
