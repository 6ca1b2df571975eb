"""The test along axes of models with latent units, on scores known in closed form."""

import intercepts
import numpy as np
import pytest

from scalecheck.checks import heterogeneity
from scalecheck.checks.moments import Moments
from scalecheck.checks.score_test import run_score_test
from scalecheck.checks.scores import LINEAR, SQUARE, ordered, scores_of_units, unordered
from scalecheck.checks.standardised_scores import standardise_scores

N_LEVELS, N_ROWS = 8, 8
N_REPLICATIONS = 250


def levels(rng, n_units, *, crossed):
    """Whole units in one level each, or every unit with a row in each level: `(unit, row)`."""
    if crossed:
        return np.tile(np.arange(N_ROWS) % N_LEVELS, (n_units, 1))
    return np.repeat(rng.permutation(np.arange(n_units) % N_LEVELS), N_ROWS).reshape(n_units, -1)


def contrast(level):
    return np.linspace(-1.5, 1.5, N_LEVELS)[level]


def asked(level, *, in_order=False):
    labels = tuple(f"r{k}" for k in range(N_LEVELS))
    return ordered(labels, level, level - 3.5) if in_order else unordered(labels, level)


def scores(data, level, *, in_order=False):
    theta, covariance = intercepts.estimate(data)
    by_row = intercepts.row_scores(data, theta).reshape(-1, 4)
    along = asked(level.ravel(), in_order=in_order)
    return scores_of_units(by_row, along, data.unit, covariance), theta


def p_value(scores, rng, *, in_order=False):
    shapes = (LINEAR, SQUARE) if in_order else ()
    return run_score_test(standardise_scores(scores), shapes, 1.0, rng).p


def normal(rng, n_units):
    return rng.standard_normal(n_units)


def heavy(rng, n_units):
    return rng.standard_t(3, n_units) / np.sqrt(3)


@pytest.mark.parametrize(
    ("n_units", "crossed", "intercept", "in_order"),
    [
        pytest.param(40, False, normal, False, marks=pytest.mark.long),
        pytest.param(100, False, heavy, False, marks=pytest.mark.long),
        (40, True, heavy, False),
        pytest.param(40, False, heavy, True, marks=pytest.mark.long),
    ],
)
def test_true_parameters_are_rejected_at_the_stated_level(n_units, crossed, intercept, in_order):
    """Between 0.9 and 9.1 % at 5 %, at most 2.9 % at 1 %: three binomial sds."""
    rng = np.random.default_rng(1)
    p = []
    for _ in range(N_REPLICATIONS):
        data = intercepts.simulate(rng, n_units, N_ROWS, intercept=intercept(rng, n_units))
        level = levels(rng, n_units, crossed=crossed)
        found, _ = scores(data, level, in_order=in_order)
        p.append(p_value(found, rng, in_order=in_order))
    assert 0.009 < np.mean(np.array(p) <= 0.05) < 0.091
    assert np.mean(np.array(p) <= 0.01) <= 0.029


def check(rng, data, level, **settings):
    found, theta = scores(data, level)
    pooled = Moments(theta[None], found.covariance[None], np.array([1000.0]))
    nan = np.full((N_LEVELS, 4), np.nan)
    none = Moments(nan, np.full((N_LEVELS, 4, 4), np.nan), nan[:, 0])
    given = {"weight": 1.0, "kind": "heterogeneous", "over_time": False, "names": intercepts.NAMES}
    given |= {"fits": ("increment-01",), "rng": rng} | settings
    along = asked(level.ravel())
    return heterogeneity.check_heterogeneity("region", along, found, pooled, none, **given)


def test_a_slope_that_differs_between_units_of_different_levels_is_found_and_named():
    rng = np.random.default_rng(2)
    for _ in range(10):
        level = levels(rng, 100, crossed=False)
        data = intercepts.simulate(rng, 100, N_ROWS, slope=0.5 + 0.4 * contrast(level[:, 0]))
        finding, table = check(rng, data, level)
        assert finding.p < 1e-3
        assert finding.parameter == "beta"
    assert finding.level in ("r0", "r7")
    assert "indicative" not in finding.message
    beta = table[table["parameter"] == "beta"]
    # One step from the scores alone finds the slopes of the levels, as far as these are alike.
    truth = 0.4 * contrast(np.arange(N_LEVELS))
    assert np.corrcoef(beta["one_step"], truth)[0, 1] > 0.9
    assert (beta["rows"] == np.bincount(level.ravel())).all()


def test_an_intercept_that_differs_within_units_is_found_and_named():
    rng = np.random.default_rng(3)
    level = levels(rng, 100, crossed=True)
    data = intercepts.simulate(rng, 100, N_ROWS)
    data = data._replace(y=data.y + 0.4 * contrast(level))
    finding, table = check(rng, data, level)
    assert finding.p == pytest.approx(1 / 4000)
    assert finding.parameter == "mu"
    assert (table["rows"] == 100).all()


def test_rows_of_one_unit_taken_one_by_one_reject_true_models():
    """Whose intercepts the test would take for those of the levels."""
    rng = np.random.default_rng(4)
    p = []
    for _ in range(30):
        level = levels(rng, 40, crossed=False)
        data = intercepts.simulate(rng, 40, N_ROWS)
        found, _ = scores(data, level)
        residual = data.y - data.y.mean() - 0.5 * data.x
        by_row = np.stack([residual, residual * data.x], axis=-1).reshape(-1, 2)
        alone = found._replace(
            score=by_row,
            level=level.ravel(),
            size=None,
            covariance=None,
            information=found.information[:, :2, :2],
            contrast=np.zeros((len(by_row), 0)),
            along=np.zeros((0, 2, 2)),
        )
        p.append(p_value(alone, rng))
    assert np.mean(np.array(p) < 0.05) > 0.5


def test_units_of_an_axis_between_them_are_entries_and_others_keep_their_rows():
    rng = np.random.default_rng(5)
    data = intercepts.simulate(rng, 40, N_ROWS)
    nested, theta = scores(data, levels(rng, 40, crossed=False))
    np.testing.assert_allclose(nested.score, intercepts.scores(data, theta), rtol=1e-8)
    assert (nested.rows() == nested.units() * N_ROWS).all()
    crossed, _ = scores(data, levels(rng, 40, crossed=True))
    assert len(crossed.score) == 40 * N_ROWS
    assert (crossed.rows() == 40).all()
    assert (crossed.units() == 40).all()
    total = nested.information.sum(axis=0)
    np.testing.assert_allclose(total @ nested.covariance, np.eye(4), atol=1e-8)


def test_the_movement_of_a_parameter_is_its_formula():
    rng = np.random.default_rng(6)
    data = intercepts.simulate(rng, 24, N_ROWS)
    found, _ = scores(data, levels(rng, 24, crossed=False))
    flow = standardise_scores(found)
    covariance, outer = found.covariance, found.score.T @ found.score
    share, total = found.units() / 24, found.score.sum(axis=0)
    expected = np.zeros(4)
    for k, part in enumerate(share):
        u = found.score[found.level == k].sum(axis=0) - part * total
        expected += (covariance @ u) ** 2 / part / np.diag(covariance @ outer @ covariance)
    u = flow.fluctuation(flow.observed().by_level)[0]
    moved = ((u @ flow.directions.T) ** 2 / flow.share[:, None]).sum(axis=0)
    np.testing.assert_allclose(moved, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("n_units", "words"),
    [(32, "a level has only 4 units"), (39, "a level has only 4 units"), (40, None)],
)
def test_few_units_are_only_indicative(n_units, words):
    rng = np.random.default_rng(7)
    level = levels(rng, n_units, crossed=False)
    finding, _ = check(rng, intercepts.simulate(rng, n_units, N_ROWS), level)
    assert ("indicative" in finding.message) == (words is not None)
    assert words is None or finding.message.endswith(f"; indicative: {words}")
    crossed = levels(rng, 32, crossed=True)
    finding, _ = check(rng, intercepts.simulate(rng, 32, N_ROWS), crossed)
    assert finding.message.endswith("; indicative: fewer than 40 units (32)")
