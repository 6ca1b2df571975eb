"""Heterogeneity in regressions whose scores and posteriors are known exactly."""

from itertools import product

import numpy as np
import pytest

from scalecheck.checks import heterogeneity
from scalecheck.checks.moments import Moments
from scalecheck.checks.score_statistics import AxisStatistic, AxisStatistics, Null
from scalecheck.checks.score_test import run_score_test
from scalecheck.checks.scores import LINEAR, LOG, SQUARE, Scores, ordered, unordered
from scalecheck.checks.standardised_scores import MOST_UNITS, standardise_scores

NAMES = ["alpha", "beta", "gamma"]
N_REPLICATIONS = 400
# Three binomial sds around 5 %; docs/statistics.md found 5.5 % for the better of sum and maximum.
LOWEST, HIGHEST = 0.017, 0.09


def asked(level, values=None):
    """Levels, and shapes along values."""
    labels = tuple(f"s{k}" for k in range(level.max() + 1))
    return unordered(labels, level) if values is None else ordered(labels, level, values)


def p_value(scores, rng, shapes=()):
    return run_score_test(standardise_scores(scores), shapes, 1.0, rng).p


def fit(x, y, level, unit=None, values=None):
    """Scores, pooled and level posteriors of a regression that believes in unit variance."""
    along = asked(level, values)
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
    contrasts = np.einsum("ns,nd,ne->sde", along.contrast, x, x)
    scores = Scores(score, information, level, along.contrast, contrasts, unit)
    return scores, moments.only(0), levels


def regression(rng, *, sizes=(50,) * 8, noise=1.0, slope=(), drift=0.0):
    """Rows of a regression, one level after the other; `slope` is added to beta by level."""
    level = np.repeat(np.arange(len(sizes)), sizes)
    x = np.column_stack([np.ones(len(level)), rng.standard_normal((len(level), 2))])
    y = x @ [0.3, 0.5, -0.3] + noise * rng.standard_normal(len(level))
    y += x[:, 1] * np.pad(slope, (0, len(sizes) - len(slope)))[level]
    y += drift * x[:, 1] * (level >= len(sizes) // 2)
    return x, y, level


def check(rng, scores, pooled, levels, *, values=None, **changes):
    along = asked(scores.level, values)
    settings = {"weight": 1.0, "kind": "heterogeneous", "over_time": False, "names": NAMES}
    settings |= {"fits": ("increment-01",), "rng": rng, **changes}
    return heterogeneity.check_heterogeneity("source", along, scores, pooled, levels, **settings)


def not_fitted(levels):
    """No level has a posterior."""
    return Moments(*(part * np.nan for part in levels))


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
        values = np.arange(1.0, len(y) + 1) if ordered else None
        shapes = (LINEAR, SQUARE, LOG) if ordered else ()
        p.append(p_value(fit(x, y, level, values=values)[0], rng, shapes))
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
        whole.append(p_value(scores, rng))
        by_row.append(p_value(scores._replace(unit=None), rng))
    assert rejects(whole) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert rejects(by_row) > 0.3


def test_flipped_sums_are_those_of_flipping_every_row_by_hand():
    rng = np.random.default_rng(3)
    level, unit = np.array([2, 0, 1, 0, 2, 1, 1, 0]), np.array([7, 7, 3, 3, 5, 5, 9, 9])
    scores, _, _ = fit(rng.standard_normal((8, 2)), rng.standard_normal(8), level, unit)
    flow = standardise_scores(scores)
    signs = np.array(list(product([-1.0, 1.0], repeat=4)))
    u = flow.fluctuation(flow.sums(signs).by_level)
    by_level = (u**2).sum(axis=-1) / flow.share
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
    scores, pooled, levels = fit(x, rng.standard_normal(len(level)), level)
    finding, _ = check(rng, scores, pooled, not_fitted(levels), names=names)
    assert (finding.p is None) == (status == "not run")
    assert ("parameters of its own" in finding.message) == (status == "not run")


def test_random_flips_agree_with_all_flips():
    rng = np.random.default_rng(4)
    x, y, level = regression(rng, sizes=(30, 30, 30), slope=(0, 0, 0.4))
    unit = np.arange(90) % 10
    flow = standardise_scores(fit(x, y, level, unit)[0])
    statistics = AxisStatistics.of(flow, ())
    signs = np.array(list(product([-1.0, 1.0], repeat=10)))
    sums = flow.sums(signs)
    regained = sums._replace(by_level=sums.by_level * flow.regained[:, None])
    null = Null(statistics.measure(regained), statistics.measure(flow.observed()))
    p = run_score_test(flow, (), 1.0, rng).p
    assert abs(p - null.p) < 4 * np.sqrt(null.p * (1 - null.p) / 1000) + 0.01


def test_three_units_cannot_say_anything_surely():
    """A quarter of all flips leave the sums as they are, up to their common sign."""
    rng = np.random.default_rng(14)
    x, y, level = regression(rng, sizes=(30, 30, 30), slope=(-5, 0, 5))
    flow = standardise_scores(fit(x, y, level, level)[0])
    assert run_score_test(flow, (), 1.0, rng).p > 0.2


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
    scores, pooled, levels = fit(x, y, level)
    finding, _ = check(rng, scores, pooled, not_fitted(levels), kind="misfit")
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
    in_sds = (step / table["level_sd"]).abs().groupby(table["parameter"]).max()
    for known in (levels, not_fitted(levels)):
        finding, _ = check(rng, scores, pooled, known)
        assert finding.effect.value == pytest.approx(in_sds[finding.parameter], abs=0.01)
        assert finding.effect.high - finding.effect.low == pytest.approx(2 * 1.96)


def test_a_change_point_is_found_more_often_when_the_levels_are_ordered():
    rng = np.random.default_rng(8)
    in_order, without = [], []
    for _ in range(100):
        x, y, level = regression(rng, sizes=(12,) * 32, drift=0.3)
        scores = fit(x, y, level, values=np.arange(len(y)) - 192.0)[0]
        in_order.append(p_value(scores, rng, (LINEAR, SQUARE)))
        without.append(p_value(fit(x, y, level)[0], rng))
    assert rejects(in_order) > rejects(without) + 0.1


@pytest.mark.long
def test_a_slow_drift_is_found_more_often_when_the_levels_are_ordered():
    """Though no level stands out."""
    slope = tuple(0.45 * (np.arange(32) / 31 - 0.5))
    rng = np.random.default_rng(9)
    in_order, without = [], []
    for _ in range(100):
        x, y, level = regression(rng, sizes=(12,) * 32, slope=slope)
        scores = fit(x, y, level, values=np.arange(len(y)) - 192.0)[0]
        in_order.append(p_value(scores, rng, (LINEAR, SQUARE)))
        without.append(p_value(fit(x, y, level)[0], rng))
    assert rejects(in_order) > rejects(without) + 0.1


def test_a_contrast_of_a_parameter_is_the_test_of_that_term_added_to_the_model():
    """The score test of `beta x time`, whose variance is that of the scores and not the model's."""
    x, y, level = regression(np.random.default_rng(10), slope=(0.5, 0, 0, 0, -0.5), noise=1.5)
    time = np.arange(len(y)) / len(y) - 0.5
    scores, pooled, _ = fit(x, y, level, values=time)
    flow = standardise_scores(scores)
    statistics = AxisStatistics.of(flow, (LINEAR, SQUARE))
    number = statistics.each.index(AxisStatistic(LINEAR, 1))
    added = time * x[:, 1]
    added = added - x @ np.linalg.lstsq(x, added, rcond=None)[0]
    residual = y - x @ pooled.mean[0]
    z = (added @ residual) / np.sqrt((added * residual) @ (added * residual))
    observed = statistics.measure(flow.observed())[0]
    assert observed[number] == pytest.approx(np.cbrt(z**2), rel=1e-3)


def bent(rng, n_rows, bend):
    """Counts of a logistic regression on a positive covariate that acts through its logarithm."""
    x = np.column_stack([np.ones(n_rows), np.clip(rng.lognormal(0.3, 0.6, n_rows), 0.5, 9.65)])
    y = rng.random(n_rows) < 1 / (1 + np.exp(0.5 - bend * np.log(x[:, 1])))
    beta = np.zeros(2)
    for _ in range(25):
        p = 1 / (1 + np.exp(-x @ beta))
        beta += np.linalg.solve((x.T * p * (1 - p)) @ x, x.T @ (y - p))
    level = np.searchsorted(np.quantile(x[:, 1], np.arange(1, 8) / 8), x[:, 1])
    along = asked(level, x[:, 1])
    weighted = x * (p * (1 - p))[:, None]
    information = np.stack([weighted[level == k].T @ x[level == k] for k in range(8)])
    contrasts = np.einsum("ns,nd,ne->sde", along.contrast, weighted, x)
    scores = Scores((y - p)[:, None] * x, information, level, along.contrast, contrasts)
    return scores, along


def test_a_bend_is_found_by_its_shape_and_the_slope_that_the_model_has_is_not_tested():
    rng = np.random.default_rng(20)
    found, bends = [], []
    for _ in range(40):
        scores, along = bent(rng, 1_600, 1.3)
        flow = standardise_scores(scores)
        assert AxisStatistic(LINEAR, 0) not in AxisStatistics.of(flow, along.shapes).each
        tested = run_score_test(flow, along.shapes, 1.0, rng)
        found.append(tested.p)
        bends.append(tested.leading.what in (SQUARE, LOG))
    assert np.mean(np.array(bends)[np.array(found) < 0.01]) > 0.8
    # Three sds below .86, the share of 200 other tables.
    assert np.mean(np.array(found) < 0.01) > 0.69


@pytest.mark.long
def test_a_linear_effect_does_not_bend():
    rng = np.random.default_rng(21)
    p = []
    for _ in range(N_REPLICATIONS):
        scores, along = bent(rng, 400, 0.0)
        p.append(p_value(scores, rng, along.shapes))
    assert LOWEST < rejects(p) < HIGHEST


@pytest.mark.parametrize("n_in_level", [2, pytest.param(5, marks=pytest.mark.long), 12])
def test_many_small_levels_keep_the_level_of_the_test(n_in_level):
    rng = np.random.default_rng(22)
    p = []
    for _ in range(N_REPLICATIONS // 2):
        x, y, level = regression(rng, sizes=(n_in_level,) * (240 // n_in_level), noise=1.5)
        p.append(p_value(fit(x, y, level)[0], rng))
    assert rejects(p) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_small_levels_that_differ_are_found_together_and_the_worst_are_named():
    """Two kinds of plates of 12 rows: each alone says little."""
    rng = np.random.default_rng(23)
    kind = rng.random(200) < 0.1
    x, y, level = regression(rng, sizes=(12,) * 200, slope=2.0 * kind)
    scores, pooled, levels = fit(x, y, level)
    finding, table = check(rng, scores, pooled, not_fitted(levels))
    assert finding.p < 1e-3
    assert finding.parameter == "beta"
    q = table.drop_duplicates("level")["q"].to_numpy()
    stand_out = q <= heterogeneity.DEVIANT
    assert (stand_out & kind).sum() > 10
    assert (stand_out & ~kind).sum() <= 0.3 * stand_out.sum()
    assert f"{stand_out.sum()} of 200 levels stand out" in finding.message


def test_a_direction_without_information_is_left_out_and_named():
    """Two parameters of which the rows know the sum: the other directions are still compared."""
    rng = np.random.default_rng(24)
    x, y, level = regression(rng, slope=(0, 0, 1.5))
    scores, pooled, levels = fit(x, y, level)
    double = np.column_stack([np.eye(3), [0, 0, 1.0]]) + 1e-5 * rng.standard_normal((3, 4))
    noise = 1e-3 * rng.standard_normal(len(y))
    score = scores.score @ double + noise[:, None] * [0, 0, 0, 1.0]
    information = np.einsum("di,kde,ej->kij", double, scores.information, double)
    wide = scores._replace(
        score=score,
        information=information,
        contrast=np.zeros((len(y), 0)),
        along=np.zeros((0, 4, 4)),
    )
    moments = Moments(np.zeros((1, 4)), np.eye(4)[None], pooled.ess)
    empty = Moments(np.full((8, 4), np.nan), np.full((8, 4, 4), np.nan), np.full(8, np.nan))
    finding, _ = check(rng, wide, moments, empty, names=[*NAMES, "delta"])
    assert finding.p < 1e-3
    assert "left out, because the rows have no information on it: " in finding.message


@pytest.mark.parametrize("sizes", [(MOST_UNITS // 3,) * 8, (12,) * 1500 + (3000,) * 4])
def test_of_very_many_rows_neighbours_in_large_levels_are_flipped_together(sizes):
    rng = np.random.default_rng(25)
    x, y, level = regression(rng, sizes=sizes)
    scores, _, _ = fit(x, y, level)
    flow = standardise_scores(scores)
    assert flow.n_units < len(y)
    # A level that is flipped whole looks the same under any signs.
    parts = np.diff(flow.bounds)
    assert (parts >= np.minimum(sizes, 12)).all()
    observed = flow.observed().by_level[0]
    by_hand = np.stack(
        [scores.score[level == k].sum(axis=0) @ flow.root for k in range(len(sizes))]
    )
    np.testing.assert_allclose(observed, by_hand, atol=1e-10)
    signs = rng.choice([-1.0, 1.0], size=(200, flow.n_units))
    spread = np.sqrt((flow.sums(signs).by_level ** 2).mean(axis=(0, 2)))
    square = ((scores.score @ flow.root) ** 2).mean(axis=1)
    expected = np.sqrt(np.bincount(level, square))
    assert np.median(spread / expected) == pytest.approx(1, abs=0.05)


def test_small_levels_of_very_many_rows_are_found_as_those_of_few():
    rng = np.random.default_rng(26)
    n_levels = 3 * MOST_UNITS // 12
    x, y, level = regression(rng, sizes=(12,) * n_levels, slope=0.5 * rng.standard_normal(n_levels))
    assert p_value(fit(x, y, level)[0], rng) == pytest.approx(1 / 4000)


def test_levels_that_are_one_unit_each_have_nothing_to_compare():
    rng = np.random.default_rng(27)
    x, y, level = regression(rng, sizes=(10,) * 24)
    scores, pooled, levels = fit(x, y, level, level)
    finding, _ = check(rng, scores, pooled, levels)
    assert finding.p is None
    assert finding.message.startswith("each level of source is one unit")


@pytest.mark.parametrize(
    ("values", "shapes"),
    [
        (1.7e18 + 1e5 * np.arange(1000), (LINEAR, SQUARE, LOG)),
        (np.ones(1000), ()),
        (np.arange(1000.0) % 2, (LINEAR,)),
    ],
)
def test_shapes_of_an_axis_are_those_that_its_values_can_have(values, shapes):
    along = asked(np.arange(1000) % 4, values)
    assert along.shapes == shapes
    assert along.contrast.shape == (1000, len(shapes))


def test_what_deviates_most_is_named_also_where_nothing_does():
    null = Null(np.random.default_rng(28).normal(10, 1, (999, 3)), np.array([[9.9, 9.0, 8.0]]))
    assert null.deviation.argmax() == 0
    assert null.p > 0.5


def test_parameters_that_no_row_moves_drop_out_and_units_of_the_rest_do_not_matter():
    x, y, level = regression(np.random.default_rng(9), slope=(0, 0.4))
    scores, pooled, levels = fit(x, y, level)
    before, _ = check(np.random.default_rng(1), scores, pooled, levels)
    scale = np.diag([1e3, 1e-3, 1.0, 0.0])[:3]
    information = scale.T @ scores.information @ scale
    nothing = np.zeros((0, 4, 4))
    idle = Scores(scores.score @ scale, information, level, scores.contrast, nothing)
    wide = np.diag([1e-3, 1e3, 1.0, 0.0])[:3]
    covariance = wide.T @ pooled.covariance @ wide + np.diag([0, 0, 0, 1.0])
    moments = Moments(pooled.mean @ wide, covariance, pooled.ess)
    names = [*NAMES, "idle"]
    none = Moments(np.full((8, 4), np.nan), np.full((8, 4, 4), np.nan), np.full(8, np.nan))
    after, _ = check(np.random.default_rng(1), idle, moments, none, names=names)
    assert after.p == before.p
    assert after.parameter == before.parameter
    assert "; the rows move 3 of 4 directions" in after.message


def test_small_p_values_are_resolved_by_more_flips():
    rng = np.random.default_rng(10)
    x, y, level = regression(rng, sizes=(200,) * 8, slope=(0, 0, 2.0))
    assert p_value(fit(x, y, level)[0], rng) == pytest.approx(1 / 4000)
    flow = standardise_scores(fit(x, y, level)[0])
    assert run_score_test(flow, (), 0.25, rng).p == pytest.approx(1 / 13_000)


def test_a_pass_says_so_and_few_rows_are_only_indicative():
    rng = np.random.default_rng(11)
    x, y, level = regression(rng, sizes=(40, 40, 4))
    finding, _ = check(rng, *fit(x, y, level))
    assert finding.message.startswith("no parameter differs along source")
    assert finding.message.endswith("; indicative: fewer than 100 rows (84)")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s._replace(level=np.zeros_like(s.level)), "fewer than two levels with rows"),
        (lambda s: s._replace(information=0 * s.information), "no information on any parameter"),
        (lambda s: s._replace(score=s.score * np.nan), "is not a number"),
    ],
)
def test_what_cannot_be_compared_is_not_run_and_says_why(change, reason):
    rng = np.random.default_rng(13)
    x, y, level = regression(rng)
    scores, pooled, levels = fit(x, y, level)
    finding, table = check(rng, change(scores), pooled, levels)
    assert (finding.p, finding.axis, finding.fit) == (None, "source", "increment-01")
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
        each = (run_score_test(one, (), 1.0, np.random.default_rng(7)) for one in (flow, plain))
        found.append([tested.p for tested in each])
    corrected, plain = np.mean(found, axis=0)
    assert corrected == pytest.approx(0.5, abs=3 * np.sqrt(1 / 12 / 100))
    assert plain < corrected - 0.03
