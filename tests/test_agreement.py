"""Agreement of subsets whose posteriors are known exactly: normal outcomes of known variance."""

import numpy as np
import pytest
from scipy.stats import chi2

from scalecheck.checks import agreement
from scalecheck.checks.moments import IDENTIFIED, Moments, Prior, whiten

# 400 replications of a 5 % test reject between 1.7 and 8.3 % (three binomial sds). The family asks
# two halves, so it may be below: docs/statistics.md found 1.8 to 6.0 %.
N_REPLICATIONS = 400
LOWEST, HIGHEST = 0.01, 0.083
FOREVER = 1e9


def subsets(rng, *, n_subsets=8, n_rows=50, n_parameters=3, prior_sd=2.5, noise=1.0):
    """Exact posteriors of regressions that believe in unit variance; the truth is a prior draw."""
    truth = min(prior_sd, 1.0) * rng.standard_normal(n_parameters)
    x = rng.standard_normal((n_subsets, n_rows, n_parameters))
    y = x @ truth + noise * rng.standard_normal((n_subsets, n_rows))
    precision = x.swapaxes(1, 2) @ x + np.eye(n_parameters) / prior_sd**2
    covariance = np.linalg.inv(precision)
    mean = np.einsum("kij,knj,kn->ki", covariance, x, y)
    return Moments(mean, covariance, np.full(n_subsets, FOREVER))


def estimated(rng, exact, ess):
    """The same moments, estimated from `ess` independent draws."""
    root = np.linalg.cholesky(exact.covariance)
    normal = rng.standard_normal((len(exact.mean), ess, exact.mean.shape[1]))
    draws = exact.mean[:, None] + normal @ root.swapaxes(1, 2)
    deviation = draws - draws.mean(axis=1, keepdims=True)
    covariance = deviation.swapaxes(1, 2) @ deviation / (ess - 1)
    return Moments(draws.mean(axis=1), covariance, np.full(len(draws), float(ess)))


def prior_of(prior_sd, n_parameters):
    return Prior(np.zeros(n_parameters), prior_sd**2 * np.eye(n_parameters))


def check(moments, prior, own=None):
    n_fits, n_parameters = moments.mean.shape
    names = [f"beta[{j}]" for j in range(n_parameters)]
    own = np.ones(n_parameters, bool) if own is None else np.array(own)
    return agreement.check_agreement(
        moments, prior, names=names, own=own, fits=[f"subset-{k}" for k in range(n_fits)]
    )


def rejects(p):
    return np.mean(np.array(p) < 0.05)


@pytest.mark.parametrize("noise", [0.6, 1.0, 1.6])
def test_both_halves_are_their_closed_forms_for_one_parameter(noise):
    """They differ, and both have to reject."""
    rng = np.random.default_rng(1)
    exact = subsets(rng, n_parameters=1, prior_sd=0.3, noise=noise)
    moments = estimated(rng, exact, ess=40)
    prior = Prior(np.array([0.2]), np.array([[0.09]]))
    m, v, e = moments.mean[:, 0], moments.covariance[:, 0, 0], 40
    c = (e - 1 - 2) / (e - 1)
    information = c / v - 1 / 0.09
    theta = (c * m / v - 0.2 / 0.09) / information
    w = 1 / (1 / information + c / v / information**2 / e)
    natural = (w * (theta - np.average(theta, weights=w)) ** 2).sum()
    pooled_variance = v.mean() - v.mean() ** 2 / 0.09 + v.mean() / e
    pooled = ((m - m.mean()) ** 2).sum() / pooled_variance
    finding, table = check(moments, prior)
    # The prior tells as much as a fifth of the rows do: too much to ask whether subsets differ by too little.
    assert np.allclose(table["statistic"], [natural, pooled, pooled], rtol=1e-10)
    assert (table["df"] == 7).all()
    assert finding.p == pytest.approx(min(1, 2 * chi2.sf([natural, pooled], 7).max()))
    assert finding.effect.value == pytest.approx(min(natural, pooled) / 7)


@pytest.mark.parametrize(
    ("setting", "ess"),
    [
        pytest.param({}, None, marks=pytest.mark.long),
        pytest.param({}, 50, marks=pytest.mark.long),
        pytest.param({"n_parameters": 8, "n_rows": 30}, 400, marks=pytest.mark.long),
        pytest.param({"prior_sd": 0.1, "n_rows": 20}, None, marks=pytest.mark.long),
        ({"prior_sd": 0.15, "n_rows": 20}, 400),
    ],
)
def test_true_models_are_rejected_at_the_stated_level(setting, ess):
    rng = np.random.default_rng(2)
    p = []
    for _ in range(N_REPLICATIONS):
        exact = subsets(rng, **setting)
        moments = exact if ess is None else estimated(rng, exact, ess)
        prior = prior_of(setting.get("prior_sd", 2.5), setting.get("n_parameters", 3))
        p.append(check(moments, prior)[0].p)
    assert LOWEST < rejects(p) < HIGHEST


def test_without_the_monte_carlo_error_false_alarms_more_than_double():
    """A strong prior shrinks the spread of the posterior means, but not their MCSE."""
    rng = np.random.default_rng(3)
    with_error, without = [], []
    for _ in range(N_REPLICATIONS):
        exact = subsets(rng, prior_sd=0.15, n_rows=20, n_parameters=8, n_subsets=16)
        noise = np.linalg.cholesky(exact.covariance / 20) @ rng.standard_normal((16, 8, 1))
        noisy = exact._replace(mean=exact.mean + noise[..., 0])
        prior = prior_of(0.15, 8)
        known = noisy._replace(ess=np.full(16, 20.0))
        with_error.append(agreement._pooled(whiten(known, prior), IDENTIFIED).upper)
        without.append(agreement._pooled(whiten(noisy, prior), IDENTIFIED).upper)
    assert LOWEST < rejects(with_error) < HIGHEST
    assert rejects(without) > 2 * rejects(with_error)


def test_a_strong_prior_blinds_the_naive_comparison_but_not_this_one():
    rng = np.random.default_rng(4)
    naive, ours = [], []
    for _ in range(N_REPLICATIONS):
        moments = subsets(rng, prior_sd=0.1, n_rows=20, n_parameters=2)
        precision = np.linalg.inv(moments.covariance)
        centre = np.linalg.solve(precision.sum(0), np.einsum("kij,kj->i", precision, moments.mean))
        residual = moments.mean - centre
        statistic = np.einsum("ki,kij,kj", residual, precision, residual)
        naive.append(chi2.sf(statistic, 2 * 7))
        ours.append(check(moments, prior_of(0.1, 2))[0].p)
    assert rejects(naive) == 0
    assert LOWEST < rejects(ours) < HIGHEST


def test_overdispersion_is_found_and_its_size_is_covered_by_the_interval():
    rng = np.random.default_rng(5)
    findings = [check(subsets(rng, noise=1.6), prior_of(2.5, 3))[0] for _ in range(200)]
    assert rejects([finding.p for finding in findings]) > 0.8
    assert all(finding.kind == "misfit" for finding in findings)
    covered = np.mean([f.effect.low < 1.6**2 < f.effect.high for f in findings])
    assert abs(covered - 0.89) < 3 * np.sqrt(0.89 * 0.11 / 200)


def test_a_strong_finding_names_the_parameter_and_the_remedy():
    rng = np.random.default_rng(6)
    moments = subsets(rng)
    moments.mean[:, 1] += 3 * np.sqrt(moments.covariance[:, 1, 1]) * np.tile([1, -1], 4)
    finding, table = check(moments, prior_of(2.5, 3))
    assert finding.large
    assert finding.parameter == "beta[1]"
    assert finding.message.startswith("the subsets differ by more than the posteriors say")
    assert "chiefly in beta[1]: allow for overdispersion" in finding.message
    parameters = table.set_index("parameter")
    assert parameters["p_holm"]["beta[1]"] == pytest.approx(3 * parameters["p_upper"]["beta[1]"])


def test_subsets_that_share_rows_agree_too_well():
    rng = np.random.default_rng(7)
    moments = subsets(rng)
    moments = moments._replace(mean=moments.mean[:1] + 0.3 * (moments.mean - moments.mean[:1]))
    finding, table = check(moments, prior_of(2.5, 3))
    assert finding.p < 0.01
    assert finding.kind == ""
    assert not finding.large
    assert finding.effect.high < 0.8
    assert "look for duplicates" in finding.message
    known = table[table["half"].str.endswith("well known")]
    assert finding.p == pytest.approx(2 * known["p_lower"].max())
    assert check(moments, prior_of(2.5, 3), own=[False] * 3)[0].p > 0.5


def test_a_parameter_that_subsets_share_says_nothing_of_the_others():
    """What all subsets know from the same levels agrees too well; that no row stands twice is asked of the rest."""
    rng = np.random.default_rng(7)
    moments, prior = subsets(rng), prior_of(2.5, 3)
    shared = moments.mean.copy()
    shared[:, 0] = shared[0, 0]
    same = moments._replace(mean=shared)
    finding, table = check(same, prior, own=[False, True, True])
    alone, _ = check(moments.of(np.array([False, True, True])), prior_of(2.5, 2))
    assert set(table.loc[table["half"].str.endswith("well known"), "df"]) == {14}
    assert finding.p > 0.05
    assert alone.p > 0.05


def heavy_tailed(rng, n_rows=60):
    """Effects under a horseshoe of known scales: the prior pulls some of them, and is anything but normal."""
    scale = np.array([0.02, 0.05, 2.0, 5.0])
    truth = scale * rng.standard_normal(4)
    x = rng.standard_normal((8, n_rows, 4))
    y = x @ truth + rng.standard_normal((8, n_rows))
    precision = x.swapaxes(1, 2) @ x + np.diag(scale**-2)
    covariance = np.linalg.inv(precision)
    mean = np.einsum("kij,knj,kn->ki", covariance, x, y)
    # What a horseshoe tells of each effect before the data: a wide prior, though each posterior has a narrow one.
    return Moments(mean, covariance, np.full(8, FOREVER)), prior_of(20.0, 4)


def test_a_prior_that_is_learned_makes_no_subsets_agree_too_well():
    rng = np.random.default_rng(17)
    found = [check(*heavy_tailed(rng), own=[False] * 4)[0] for _ in range(200)]
    unguarded = [check(*heavy_tailed(rng))[0] for _ in range(200)]
    assert rejects([one.p for one in found]) < HIGHEST
    assert rejects([one.p for one in unguarded]) > 0.4


def test_only_subsets_of_whole_groups_agree_as_their_posteriors_say():
    """Ten rows of each of 40 groups per subset share the groups' effects: they agree too well.

    Closed form: the mean of groups whose effects have sd 0.5, rows with unit variance.
    """
    rng = np.random.default_rng(8)
    prior, n_groups, n_rows = Prior(np.zeros(1), np.array([[9.0]])), 40, 80
    found = {True: [], False: []}
    for _ in range(100):
        effect = 0.5 * rng.standard_normal(n_groups)
        y = 0.3 + effect[:, None] + rng.standard_normal((n_groups, n_rows))
        whole = y.reshape(8, n_groups // 8, n_rows)
        shared = y.reshape(n_groups, 8, n_rows // 8).swapaxes(0, 1)
        for is_whole, parts in ((True, whole), (False, shared)):
            precision = parts.shape[1] / (0.25 + 1 / parts.shape[2]) + 1 / 9
            mean = (precision - 1 / 9) / precision * parts.mean(axis=(1, 2))
            covariance = np.full((8, 1, 1), 1 / precision)
            finding, _ = check(Moments(mean[:, None], covariance, np.full(8, FOREVER)), prior)
            found[is_whole].append(finding)
    dispersion = {way: np.mean([one.effect.value for one in each]) for way, each in found.items()}
    assert dispersion[True] == pytest.approx(1, abs=4 * np.sqrt(2 / 7 / 100))
    assert dispersion[False] < 0.5
    assert rejects([one.p for one in found[True]]) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert rejects([one.p for one in found[False]]) > 0.3
    assert {one.kind for one in found[False] if one.p < 0.05} == {""}


def test_the_units_of_the_parameters_do_not_matter():
    rng = np.random.default_rng(8)
    moments, prior = estimated(rng, subsets(rng), 200), prior_of(2.5, 3)
    scale = np.array([[1e4, 0, 0], [3.0, 1e-3, 0], [0, 1.0, 1.0]])
    moved = Moments(moments.mean @ scale.T + 5, scale @ moments.covariance @ scale.T, moments.ess)
    moved_prior = Prior(prior.mean @ scale.T + 5, scale @ prior.covariance @ scale.T)
    assert check(moved, moved_prior)[0].p == pytest.approx(check(moments, prior)[0].p, rel=1e-5)


def test_directions_that_stay_at_their_prior_are_dropped_and_reported():
    rng = np.random.default_rng(9)
    moments = subsets(rng)
    idle = np.zeros((8, 4, 4))
    idle[:, :3, :3], idle[:, 3, 3] = moments.covariance, 1.0
    moments = Moments(np.pad(moments.mean, ((0, 0), (0, 1))), idle, moments.ess)
    prior = Prior(np.zeros(4), np.diag([6.25, 6.25, 6.25, 1.0]))
    finding, table = check(moments, prior)
    assert finding.message.endswith("; 1 of 4 directions not identified by a subset")
    assert list(table["df"][:2]) == [21, 21]
    assert np.isnan(table.set_index("parameter")["p_upper"]["beta[3]"])


@pytest.mark.parametrize(
    ("moments", "prior_sd", "reason"),
    [
        (subsets(np.random.default_rng(10), n_subsets=2), 2.5, "at least 3 usable subsets, got 2"),
        (subsets(np.random.default_rng(10), prior_sd=0.02), 0.02, "identifies no direction"),
        (subsets(np.random.default_rng(10))._replace(ess=np.full(8, np.nan)), 2.5, "finite"),
    ],
)
def test_what_cannot_be_compared_is_not_run_and_says_why(moments, prior_sd, reason):
    finding, table = check(moments, prior_of(prior_sd, 3))
    assert finding.p is None
    assert reason in finding.message
    assert table.empty


def test_a_posterior_along_a_curve_makes_no_subsets_agree_too_well():
    """Of `scale * z` the rows know the product: some directions are narrow for the curve's sake, in all subsets."""
    rng, found = np.random.default_rng(23), []
    for _ in range(40):
        level, n_draws = 1.0 * rng.standard_normal(4), 4000
        seen = level + 0.05 * rng.standard_normal((8, 4))
        scale = np.abs(rng.standard_normal(200_000)) + 0.05
        moments = []
        for one in seen:
            # Given the scale, each z is level / scale, known to the error of the subset; all scales by importance.
            log_weight = -0.5 * ((one / scale[:, None]) ** 2).sum(axis=1) - 4 * np.log(scale)
            weight = np.exp(log_weight - log_weight.max())
            drawn = scale[rng.choice(len(scale), n_draws, p=weight / weight.sum())]
            z = (one + 0.05 * rng.standard_normal((n_draws, 4))) / drawn[:, None]
            draws = np.column_stack([np.log(drawn), z])
            moments.append((draws.mean(axis=0), np.cov(draws, rowvar=False)))
        subsets_ = Moments(
            *(np.array(part) for part in zip(*moments, strict=True)), np.full(8, 4e3)
        )
        log_scale = np.log(scale)
        prior = Prior(np.r_[log_scale.mean(), np.zeros(4)], np.diag([log_scale.var(), 1, 1, 1, 1]))
        found.append(check(subsets_, prior)[0].p)
    assert rejects(found) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 40)
