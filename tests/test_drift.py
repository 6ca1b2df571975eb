"""Nested increments whose posteriors are known exactly: normal outcomes of known variance."""

import numpy as np
import pytest
from scipy.stats import chi2

from scalecheck.checks import drift
from scalecheck.checks.moments import Moments, Prior

ROWS = (60, 120, 240, 480)
NAMES = ["alpha", "beta", "gamma"]
N_REPLICATIONS = 400
# 400 replications of a 5 % test reject between 1.7 and 8.3 %; asking two variances costs a little.
LOWEST, HIGHEST = 0.01, 0.083
FOREVER = 1e9


def increments(rng, *, rows=ROWS, prior_sd=2.5, noise=1.0, change=0.0):
    """Exact posteriors of regressions that believe in unit variance; beta changes half-way."""
    truth = min(prior_sd, 1.0) * rng.standard_normal(3)
    x = rng.standard_normal((rows[-1], 3))
    y = x @ truth + noise * rng.standard_normal(rows[-1])
    y[rows[-1] // 2 :] += change * x[rows[-1] // 2 :, 1]
    precision = [x[:n].T @ x[:n] + np.eye(3) / prior_sd**2 for n in rows]
    covariance = np.linalg.inv(np.stack(precision))
    mean = [v @ x[:n].T @ y[:n] for v, n in zip(covariance, rows, strict=True)]
    return Moments(np.stack(mean), covariance, np.full(len(rows), FOREVER))


def estimated(rng, exact, ess):
    """The same moments, estimated from `ess` independent draws."""
    root = np.linalg.cholesky(exact.covariance)
    normal = rng.standard_normal((len(exact.mean), ess, exact.mean.shape[1]))
    draws = exact.mean[:, None] + normal @ root.swapaxes(1, 2)
    deviation = draws - draws.mean(axis=1, keepdims=True)
    covariance = deviation.swapaxes(1, 2) @ deviation / (ess - 1)
    return Moments(draws.mean(axis=1), covariance, np.full(len(draws), float(ess)))


def check(moments, rows=ROWS, *, prior_sd=2.5, dispersion=1.0):
    fits = [f"increment-{k}" for k in range(1, len(rows) + 1)]
    prior = Prior(np.zeros(3), prior_sd**2 * np.eye(3))
    looks = len(rows) - 1
    context = drift.Context(prior, NAMES, dispersion)
    return drift.check_drift(moments, rows, fits, looks, context)


def family(findings):
    return min(min(1.0, finding.p / finding.weight) for finding in findings)


def rejects(p):
    return np.mean(np.array(p) < 0.05)


def test_both_variances_are_their_closed_forms_for_one_parameter():
    v, v_after, m, m_after, prior_variance, e, e_after = 0.04, 0.015, 0.1, 0.35, 0.2, 300.0, 700.0
    moments = Moments(
        np.array([[m], [m_after]]), np.array([[[v]], [[v_after]]]), np.array([e, e_after])
    )
    prior = Prior(np.zeros(1), np.array([[prior_variance]]))
    noise = v / e + v_after / e_after
    expected = 1 / ((1 / v_after - 1 / prior_variance) / 3 + 1 / prior_variance)
    hausman = (m_after - m) ** 2 / (v - v_after + noise)
    predicted = (m_after - m) ** 2 / (expected - v_after + noise)
    context = drift.Context(prior, ["mu"])
    (finding,), table = drift.check_drift(moments, [100, 300], ["a", "b"], 1, context)
    assert table["hausman"].item() == pytest.approx(hausman)
    assert table["predicted"].item() == pytest.approx(predicted)
    assert finding.p == pytest.approx(max(chi2.sf(hausman, 1), chi2.sf(predicted, 1)))
    assert finding.effect.value == pytest.approx((m_after - m) / np.sqrt(v))
    usual = np.sqrt(max(v - v_after, expected - v_after) + noise) / np.sqrt(v)
    assert finding.effect.high - finding.effect.value == pytest.approx(1.96 * usual)
    assert table["contraction"].item() == pytest.approx(np.log(v / v_after) / np.log(3))


@pytest.mark.parametrize(("prior_sd", "ess"), [(2.5, None), (2.5, 100), (0.1, 400)])
def test_true_models_are_rejected_at_the_stated_level(prior_sd, ess):
    rng = np.random.default_rng(1)
    families, steps = [], []
    for _ in range(N_REPLICATIONS):
        exact = increments(rng, prior_sd=prior_sd)
        moments = exact if ess is None else estimated(rng, exact, ess)
        findings, _ = check(moments, prior_sd=prior_sd)
        families.append(family(findings))
        steps += [finding.p for finding in findings[:-1]]
    assert LOWEST < rejects(families) < HIGHEST
    assert 0.025 < rejects(steps) < 0.07  # 1,200 steps


def test_without_the_monte_carlo_error_false_alarms_double():
    """Prior-dominated posteriors hardly move, but their estimates do."""
    rng = np.random.default_rng(2)
    with_error, without = [], []
    for _ in range(N_REPLICATIONS):
        exact = increments(rng, rows=(60, 75), prior_sd=0.1)
        root = np.linalg.cholesky(exact.covariance / 50)
        noisy = exact._replace(
            mean=exact.mean + (root @ rng.standard_normal((2, 3, 1)))[..., 0], ess=np.full(2, 50.0)
        )
        with_error.append(check(noisy, (60, 75), prior_sd=0.1)[0][0].p)
        surely = noisy._replace(ess=np.full(2, FOREVER))
        without.append(check(surely, (60, 75), prior_sd=0.1)[0][0].p)
    assert LOWEST / 2 < rejects(with_error) < HIGHEST
    assert rejects(without) > 2 * rejects(with_error)


def test_naive_looking_after_every_increment_rejects_far_too_often():
    rng = np.random.default_rng(3)
    rows = tuple(60 * 2**k for k in range(7))
    naive, ours = [], []
    for _ in range(200):
        findings, _ = check(increments(rng, rows=rows), rows)
        naive.append(min(finding.p for finding in findings))
        ours.append(family(findings))
    assert rejects(naive) > 0.17
    assert rejects(ours) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_a_change_of_regime_is_found_where_it_happened():
    rng = np.random.default_rng(4)
    right = 0
    for _ in range(50):
        findings, _ = check(increments(rng, change=0.6))
        step = findings[2]
        right += family(findings) < 0.05 and (step.parameter, step.kind) == (
            "beta",
            "heterogeneous",
        )
        assert step.fit == "increment-4"
    assert right >= 45
    assert "from 240 to 480 rows beta moved by" in step.message
    assert step.large


def test_a_shift_that_the_dispersion_explains_is_a_misfit():
    rng = np.random.default_rng(5)
    kinds = []
    for _ in range(100):
        moments = increments(rng, noise=1.6)
        kinds += [f.kind for f in check(moments, dispersion=1.6**2)[0] if f.p / f.weight < 0.05]
    assert len(kinds) > 50
    assert kinds.count("misfit") > 0.9 * len(kinds)


def test_in_random_order_no_parameter_changes_with_the_rows():
    moments = increments(np.random.default_rng(6), change=0.6)
    prior = Prior(np.zeros(3), 2.5**2 * np.eye(3))
    fits = [f"increment-{k}" for k in range(1, len(ROWS) + 1)]
    context = drift.Context(prior, NAMES, ordered=False)
    findings, _ = drift.check_drift(moments, ROWS, fits, len(ROWS) - 1, context)
    assert {finding.kind for finding in findings} == {"misfit"}
    assert "though rows come in random order" in findings[2].message


def test_a_single_step_is_judged_as_in_the_whole_chain():
    moments = increments(np.random.default_rng(6), change=0.6)
    findings, _ = check(moments, dispersion=1.3)
    for k, finding in enumerate(findings[:-1]):
        alone, _ = drift.check_drift_step(
            (moments.only(k), moments.only(k + 1)),
            (ROWS[k], ROWS[k + 1]),
            (f"increment-{k + 1}", f"increment-{k + 2}"),
            1 / 6,
            drift.Context(Prior(np.zeros(3), 2.5**2 * np.eye(3)), NAMES, 1.3, True),
        )
        assert alone == finding


def test_half_of_the_error_rate_goes_to_the_steps_and_half_to_their_sum():
    findings, table = check(increments(np.random.default_rng(7)))
    assert [finding.weight for finding in findings] == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert [finding.fit for finding in findings] == [*(f"increment-{k}" for k in (2, 3, 4)), None]
    steps = table.drop_duplicates("fit")
    statistic = min(steps["hausman"].sum(), steps["predicted"].sum())
    assert findings[-1].p == pytest.approx(chi2.sf(statistic, 9))
    (only,), _ = check(increments(np.random.default_rng(7), rows=(60, 120)), (60, 120))
    assert only.weight == 1


def test_posteriors_contract_with_the_rows_and_a_strong_prior_lets_them_contract_less():
    tables = {}
    for prior_sd in (2.5, 0.1):
        rng = np.random.default_rng(8)
        steps = [check(increments(rng, prior_sd=prior_sd), prior_sd=prior_sd)[1] for _ in range(50)]
        tables[prior_sd] = [table["contraction"].mean() for table in steps]
        expected = [table["contraction_expected"].mean() for table in steps]
        error = np.std(tables[prior_sd]) / np.sqrt(50)
        assert abs(np.mean(tables[prior_sd]) - np.mean(expected)) < 4 * error
    assert np.mean(tables[2.5]) == pytest.approx(1, abs=0.05)
    assert np.mean(tables[0.1]) < 0.8


def test_the_units_of_the_parameters_do_not_matter():
    rng = np.random.default_rng(9)
    moments = estimated(rng, increments(rng), 300)
    scale = np.array([[1e4, 0, 0], [3.0, 1e-3, 0], [0, 1.0, 1.0]])
    moved = Moments(moments.mean @ scale.T + 5, scale @ moments.covariance @ scale.T, moments.ess)
    prior = Prior(np.full(3, 5.0), 2.5**2 * scale @ scale.T)
    context = drift.Context(prior, NAMES)
    findings, _ = drift.check_drift(moved, ROWS, list("abcd"), 3, context)
    original = [finding.p for finding in check(moments)[0]]
    assert [finding.p for finding in findings] == pytest.approx(original, rel=1e-5)


def test_small_growth_is_only_indicative():
    findings, _ = check(increments(np.random.default_rng(10), rows=(60, 70)), (60, 70))
    assert findings[0].message.endswith("indicative: let increments grow by a factor of 2")


def test_what_cannot_be_compared_is_not_run_and_says_why():
    moments = increments(np.random.default_rng(11))
    (alone,), table = check(moments.only(0), (60,))
    assert alone.p is None
    assert "at least two usable increments" in alone.message
    assert table.empty
    lost = moments._replace(ess=np.array([100.0, np.nan, 100.0, 100.0]))
    findings, table = check(lost)
    assert [finding.p is None for finding in findings] == [True, True, False]
    assert list(table["fit"].unique()) == ["increment-4"]
    idle = increments(np.random.default_rng(11), prior_sd=0.005)
    assert all("identify no direction" in f.message for f in check(idle, prior_sd=0.005)[0])


def test_single_precision_moments_give_the_same_verdict():
    moments = increments(np.random.default_rng(12))
    single = Moments(*(part.astype(np.float32) for part in moments))
    original = [finding.p for finding in check(moments)[0]]
    assert [finding.p for finding in check(single)[0]] == pytest.approx(original, rel=1e-3)
