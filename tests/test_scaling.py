"""Scaling: leapfrogs of an increment against what the ones before it predict."""

import numpy as np
import pytest
from scipy.stats import t as student

from scalecheck.checks import scaling
from scalecheck.checks.scaling import Growth

ROWS = 100 * 2 ** np.arange(8)
NOISES = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "t4": lambda rng, size: rng.standard_t(4, size) / np.sqrt(2),
    "skew": lambda rng, size: (rng.gamma(2, size=size) - 2) / np.sqrt(2),
}


def studies(n_studies, n_fits, sd, kind, seed):
    """Log2 leapfrogs `(study, increment, chain)` along lines of their own."""
    rng = np.random.default_rng(seed)
    slope = rng.normal(0.1, 0.2, (n_studies, 1, 1))
    line = 3 + slope * np.arange(n_fits)[:, None]
    return line + sd * NOISES[kind](rng, (n_studies, n_fits, 4))


def p_of_last(log2):
    found = np.array(
        [
            scaling.predict_leapfrogs(ROWS[: len(y) - 1], y[:-1], float(ROWS[len(y) - 1]))
            for y in log2
        ]
    )
    mean, scale, df = found.T
    return student.sf((log2[:, -1].mean(axis=1) - mean) / scale, df)


def growth(log2, usable=None):
    log2 = np.asarray(log2, dtype=float)
    if log2.ndim == 1:
        log2 = np.repeat(log2[:, None], 4, axis=1)
    names = [f"increment-{i + 1:02d}" for i in range(len(log2))]
    ready = np.ones(len(log2), dtype=bool) if usable is None else np.array(usable)
    return Growth(names, ROWS[: len(log2)], 2**log2, ready)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("n_fits", [3, 4, 6])
def test_lines_alarm_at_their_level(kind, n_fits):
    """Chain noise of .1 to .3: at most 5 and 1 %, within three standard errors."""
    p = np.concatenate([p_of_last(studies(300, n_fits, sd, kind, 1)) for sd in (0.1, 0.2, 0.3)])
    for level in (0.05, 0.01):
        assert np.mean(p < level) <= level + 3 * np.sqrt(level / len(p))


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("n_fits", [3, 4, 6])
def test_a_doubling_is_found_from_the_third_increment_on(kind, n_fits):
    log2 = studies(400, n_fits, 0.15, kind, 2)
    log2[:, -1] += 1
    assert np.mean(p_of_last(log2) < 0.05) >= 0.96


@pytest.mark.parametrize("leapfrogs", [[12, 12, 15, 22], [13, 9, 7, 7]])
def test_known_trends_of_parametrisations_are_no_alarm(leapfrogs):
    """Non-centred and centred effects at 100 to 6,400 rows."""
    trend = growth(np.log2(leapfrogs))._replace(rows=100 * 4 ** np.arange(4))
    findings, _ = scaling.check_scaling(trend, np.full(4, np.nan), looks=2)
    assert all(finding.p / finding.weight > 0.05 for finding in findings)
    assert ("centring them" in findings[-1].message) == (leapfrogs[-1] > leapfrogs[0])


def test_a_jump_is_large_dated_and_says_what_to_do():
    findings, table = scaling.check_scaling(
        growth([3, 3.1, 3.2, 5.3, 5.4]), np.full(5, np.nan), looks=3
    )
    assert [finding.fit for finding in findings] == [f"increment-0{i}" for i in (3, 4, 5)]
    before, jump, _ = findings
    assert (before.large, jump.large, jump.kind) == (False, True, "misfit")
    assert jump.p < 0.001
    assert jump.effect.low < 2**2 < jump.effect.high
    assert "increment-04 (800 rows) takes 39.4 leapfrogs" in jump.message
    assert table["predicted"].isna().tolist() == [True, True, False, False, False]
    assert table["p"][3] == jump.p
    assert sum(finding.weight for finding in findings) == pytest.approx(1)


def test_a_look_says_what_the_check_says():
    log2 = studies(1, 6, 0.1, "normal", 3)[0]
    findings, _ = scaling.check_scaling(growth(log2), np.full(6, np.nan), looks=4)
    looks = [scaling.check_scaling_step(growth(log2[:n]), looks=4) for n in (3, 4, 5, 6)]
    assert findings == looks


def test_nothing_of_an_increment_enters_its_prediction():
    log2 = studies(1, 4, 0.1, "normal", 4)[0]
    stuck = log2.copy()
    stuck[-1, 0] = 10
    _, one = scaling.check_scaling(growth(log2), np.full(4, np.nan), looks=2)
    _, other = scaling.check_scaling(growth(stuck), np.full(4, np.nan), looks=2)
    assert one["predicted"][3] == other["predicted"][3]


def test_a_stuck_chain_is_seen_though_its_posterior_is_unusable_and_predicts_nothing():
    log2 = 3 + np.zeros((5, 4))
    log2[3, 0] = 10
    findings, _ = scaling.check_scaling(growth(log2, [1, 1, 1, 0, 1]), np.full(5, np.nan), looks=3)
    third, stuck, after = findings
    assert stuck.p < 0.01 < third.p
    assert stuck.large
    assert "increment-04" not in after.fits
    assert after.effect.value == pytest.approx(1, abs=0.01)


def test_two_usable_increments_have_to_come_before():
    flags = [0, 1, 1, 1]
    findings, table = scaling.check_scaling(
        growth([3, 3, 3, 3], flags), np.full(4, np.nan), looks=2
    )
    assert [finding.p is None for finding in findings] == [True, False]
    assert "before increment-03" in findings[0].message
    assert table["ratio"].isna().tolist() == [True, True, True, False]


@pytest.mark.parametrize("n_fits", [0, 1, 2])
def test_fewer_than_three_increments_are_not_judged(n_fits):
    given = growth(np.full((n_fits, 4), 3.0))
    (finding,), table = scaling.check_scaling(given, np.full(n_fits, 1e-5), looks=1)
    assert finding.p is None
    assert f"at least 3 increments, got {n_fits}" in finding.message
    assert len(table) == n_fits


def test_a_model_that_is_not_sampled_has_no_scaling():
    still = growth(np.zeros((3, 2)))._replace(leapfrogs=np.zeros((3, 2)))
    (finding,), _ = scaling.check_scaling(still, np.zeros(3), looks=1)
    assert finding.p is None


def test_the_cost_of_a_gradient_is_told_where_it_is_not_linear():
    rows = ROWS[:5].astype(float)
    cubic, _ = scaling.check_scaling(growth([3] * 5), 1e-5 + 1e-12 * rows**3, looks=3)
    linear, table = scaling.check_scaling(growth([3] * 5), 1e-5 + 1e-8 * rows, looks=3)
    assert "like n^3: twice the rows, 8 times" in cubic[-1].message
    assert "n^" not in linear[-1].message
    assert table["seconds_fitted"].to_numpy() == pytest.approx(1e-5 + 1e-8 * rows)
    assert (table["exponent"] == 1).all()
