"""The statistics of a block against the same computed by hand, one member at a time."""

import jax
import numpy as np
import pytest
from scipy.stats import norm, rankdata

from scalecheck.checks import replicate_statistics, statistic_design
from scalecheck.checks.replicate_statistics import N_REFERENCE, Members
from scalecheck.checks.statistic_design import BlockColumn, Design

N, MEMBERS = 60, 7


@pytest.fixture(scope="module", autouse=True)
def double():
    """As `examine` asks."""
    with jax.enable_x64(True):
        yield


def block(rng, *, ordered=True):
    covariates = (
        BlockColumn("x", rng.gamma(2, size=N), True),
        BlockColumn("treated", rng.integers(2, size=N), True),
        BlockColumn("year", np.arange(N) // 9, False),
    )
    groups = (BlockColumn("site", rng.integers(5, size=N), False),)
    follows = np.ones(N, bool)
    follows[[0, 20]] = False
    return Design(covariates, groups, ordered, follows, np.ones(N, bool))


def measured(rng, a_block, outcome, reference, fitted, values=()):
    """Measure outcomes `(n, member)`; scores are arbitrary numbers."""
    statistics, weights = statistic_design.lay_out(a_block, fitted, values, scored=True)
    log_score = norm.logpdf(outcome)
    forms = rng.random((2, outcome.shape[1]))
    found = measure(weights, np.sort(reference, 1), outcome, log_score, *forms)
    return dict(zip([s.name for s in statistics], found.T, strict=True)), forms


def measure(weights, reference, outcome, log_score, dispersion=None, score=None):
    z = np.asarray(jax.jit(replicate_statistics.z_scores)(reference, outcome))
    members = Members(outcome.T, z.T, log_score.T, dispersion, score)
    return replicate_statistics.measure_replicates(weights, members)


def between(values, codes, squares=None):
    """Mean over levels of (sum of values) ** 2 / (sum of squares)."""
    squares = np.ones(len(values)) if squares is None else squares
    levels = np.unique(codes)
    return np.mean([values[codes == k].sum() ** 2 / squares[codes == k].sum() for k in levels])


def standard(values):
    return (values - values.mean()) / values.std()


def test_every_statistic_is_what_its_name_says():
    rng = np.random.default_rng(1)
    a_block = block(rng)
    reference = rng.standard_normal((N, N_REFERENCE))
    outcome = np.round(rng.standard_normal((N, MEMBERS)) * 2) / 2
    fitted = rng.standard_normal(N)
    found, forms = measured(rng, a_block, outcome, reference, fitted, (0.0, 1.0))
    x, treated, year = (standard(c.values) for c in a_block.covariates)
    site, time, fit = a_block.groups[0].values, standard(np.arange(N)), standard(fitted)
    for m in range(MEMBERS):
        below = (reference < outcome[:, [m]]).sum(1)
        z = norm.ppf((below + 0.5) / (N_REFERENCE + 1))
        dev, spread = z - z.mean(), z**2 - (z**2).mean()
        slope = (dev * x) @ np.ones(N) / (x**2).sum()
        lowest = np.sort(norm.logpdf(outcome[:, m]))[:2]
        by_hand = {
            "log score": norm.logpdf(outcome[:, m]).mean(),
            "lowest log scores": lowest.mean(),
            "mean": z.mean(),
            "variance": z.var(),
            "skewness": (dev**3).mean() / z.std() ** 3,
            "kurtosis": (dev**4).mean() / z.var() ** 2,
            "score dispersion": forms[0, m],
            "sum of scores": forms[1, m],
            "share of 0": (outcome[:, m] == 0).mean(),
            "share of 1": (outcome[:, m] == 1).mean(),
            "z ~ x": (z * x).mean(),
            "z ~ treated": (z * treated).mean(),
            "z ~ year": (z * year).mean(),
            "z ~ x^2": (z * standard(x**2)).mean(),
            "z ~ year^2": (z * standard(year**2)).mean(),
            "z ~ fit^2": (z * standard(fit**2)).mean(),
            "z ~ time": (z * time).mean(),
            "z x ~ time": (z * standard(x * time)).mean(),
            "z treated ~ time": (z * standard(treated * time)).mean(),
            "z^2 ~ x": (z**2 * x).mean(),
            "z^2 ~ treated": (z**2 * treated).mean(),
            "z^2 ~ year": (z**2 * year).mean(),
            "z^2 ~ fit": (z**2 * fit).mean(),
            "lag 1": sum(dev[i] * dev[i - 1] for i in range(1, N) if i != 20) / N,
            "z by site": between(dev, site),
            "z^2 by site": between(spread, site),
            "z x by site": between(dev * x - slope * x**2, site, x**2),
        }
        assert set(found) == {*by_hand, "z treated by site"}
        for name, value in by_hand.items():
            assert found[name][m] == pytest.approx(value, rel=1e-5, abs=1e-9), name


def test_within_levels_neither_their_means_nor_their_slopes_count():
    rng = np.random.default_rng(11)
    site, x = np.append(np.arange(N - 3) % 4, [4, 4, 4]), rng.gamma(2, size=N)
    columns = (BlockColumn("x", x, True),), (BlockColumn("site", site, False),)
    every = np.ones(N, bool)
    design = Design(*columns, True, every, every, ("site",))
    statistics, weights = statistic_design.lay_out(design, np.zeros(N), (), scored=False)
    names = ("WITHIN_VARIANCE", "WITHIN_KURTOSIS", "LAG")
    assert [one.what for one in statistics] == [getattr(statistic_design, n) for n in names]
    noise = rng.standard_normal((N, MEMBERS))
    slopes = np.append(rng.standard_normal(4), 0.0)  # the last site has too few rows for a slope
    shifted = noise + (rng.standard_normal(5)[site] + slopes[site] * x)[:, None]

    def within(z):
        members = Members(z.T, z.T, z.T, None, None)
        return replicate_statistics.measure_replicates(weights, members)

    np.testing.assert_allclose(within(shifted)[:, :-1], within(noise)[:, :-1], atol=1e-9)
    assert (within(shifted)[:, -1] > within(noise)[:, -1]).all()
    # By least squares, level by level.
    left = noise[:, 0].copy()
    for level in range(5):
        own = site == level
        by = np.stack([np.ones(N), x], axis=1)[own, : 1 if level == 4 else 2]
        left[own] -= by @ np.linalg.lstsq(by, left[own], rcond=None)[0]
    share = 1 - (left**2).sum() / (noise[:, 0] ** 2).sum()
    lag = left[1:] @ left[:-1] / N
    scale = np.array([np.sqrt((left[site == level] ** 2).mean()) for level in range(5)])
    scaled = left / scale[site]
    kurtosis = ((scaled - scaled.mean()) ** 4).mean() / scaled.var() ** 2
    assert within(noise)[0] == pytest.approx([left.var(), kurtosis, lag, share], rel=1e-6)


def test_ties_share_the_middle_rank():
    rng = np.random.default_rng(2)
    reference = np.sort(rng.poisson(2, (N, N_REFERENCE)).astype(float), axis=1)
    outcome = rng.poisson(2, (N, MEMBERS)).astype(float)
    found = jax.jit(replicate_statistics.z_scores)(reference, outcome)
    for m in range(MEMBERS):
        both = np.concatenate([outcome[:, [m]], reference], axis=1)
        rank = rankdata(both, axis=1)[:, 0]
        np.testing.assert_allclose(found[:, m], norm.ppf((rank - 0.5) / (N_REFERENCE + 1)))


def test_outcomes_beyond_the_reference_stay_finite():
    reference = np.tile(np.arange(N_REFERENCE, dtype=float), (3, 1))
    found = jax.jit(replicate_statistics.z_scores)(
        reference, np.array([[-np.inf], [np.inf], [1e300]])
    )
    extreme = norm.ppf(0.5 / (N_REFERENCE + 1))
    np.testing.assert_allclose(found[:, 0], [extreme, -extreme, -extreme])


SCATTERED = np.random.default_rng(7).random(N) < 0.7


@pytest.mark.parametrize(
    "takes_part", [np.arange(N) < 47, SCATTERED], ids=["rows that pad", "masked"]
)
def test_rows_that_take_no_part_change_nothing(takes_part):
    """Whatever stands in them; only what happens over time knows that they were there."""
    rng = np.random.default_rng(3)
    whole = block(rng)
    reference, outcome = rng.standard_normal((N, N_REFERENCE)), rng.standard_normal((N, MEMBERS))
    outcome[~takes_part] = -999
    fitted = rng.standard_normal(N)

    def cut(c):
        return c._replace(values=c.values[takes_part])

    alone = Design(
        tuple(map(cut, whole.covariates)),
        tuple(map(cut, whole.groups)),
        True,
        (whole.follows & np.roll(takes_part, 1))[takes_part],
        np.ones(takes_part.sum(), bool),
    )
    within, _ = measured(
        np.random.default_rng(0),
        whole._replace(takes_part=takes_part),
        outcome,
        reference,
        fitted,
        (-999.0,),
    )
    expected, _ = measured(
        np.random.default_rng(0),
        alone,
        outcome[takes_part],
        reference[takes_part],
        fitted[takes_part],
        (-999.0,),
    )
    assert within.keys() == expected.keys()
    for name in within:
        if takes_part is not SCATTERED or "time" not in name:
            np.testing.assert_allclose(within[name], expected[name], atol=1e-6, err_msg=name)


def test_what_says_nothing_is_no_statistic():
    rng = np.random.default_rng(4)
    a_block = Design(
        (BlockColumn("one", np.ones(N), True),),
        (BlockColumn("all", np.zeros(N, int), True), BlockColumn("row", np.arange(N), True)),
        False,
        np.ones(N, bool),
        np.ones(N, bool),
    )
    statistics, weights = statistic_design.lay_out(a_block, rng.random(N), (), scored=False)
    assert [s.name for s in statistics[6:]] == ["z ~ fit^2", "z^2 ~ fit"]
    assert weights.pairs is None
    assert weights.levels == ()


def test_many_covariates_are_not_all_used():
    rng = np.random.default_rng(5)
    columns = tuple(BlockColumn(f"x{j}", rng.random(N), True) for j in range(40))
    a_block = Design(columns, (), True, np.ones(N, bool), np.ones(N, bool))
    statistics, _ = statistic_design.lay_out(a_block, rng.random(N), (), scored=True)
    counts = [s.what for s in statistics]
    assert counts.count(statistic_design.LINEAR) == statistic_design.MOST_COVARIATES
    assert counts.count(statistic_design.SLOPE_TIME) == statistic_design.MOST_SLOPES


def test_an_impossible_outcome_has_a_finite_score():
    rng = np.random.default_rng(6)
    statistics, weights = statistic_design.lay_out(block(rng), rng.random(N), (), scored=False)
    outcome = rng.standard_normal((N, 2))
    log_score = norm.logpdf(outcome)
    log_score[0] = -np.inf, np.nan
    reference = np.sort(rng.standard_normal((N, N_REFERENCE)), axis=1)
    found = measure(weights, reference, outcome, log_score)
    assert found.shape == (2, len(statistics))
    assert np.isfinite(found).all()
    assert (found[:, 1] < -1e5).all()
