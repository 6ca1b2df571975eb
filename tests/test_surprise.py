"""Surprise of new rows whose predictive distribution is known exactly."""

import jax
import numpy as np
import pytest
from scipy.stats import binom, kstest, norm, poisson

from scalecheck.checks import (
    member_ranks,
    replicate_statistics,
    statistic_design,
    statistic_messages,
    surprise,
)
from scalecheck.checks.replicate_statistics import N_REFERENCE, Members
from scalecheck.checks.statistic_design import BlockColumn, Design, Statistic
from scalecheck.checks.statistic_messages import Setting
from scalecheck.checks.surprise import NewRows

N, REPLICATES = 300, 499
STEP = NewRows("increment-02", 501, 800, 500, ("increment-01", "increment-02"), 1.0)
SETTING = Setting("arrival", learned=True)
X = np.random.default_rng(0).standard_normal(N)
SITE = np.random.default_rng(1).integers(12, size=N)
BLOCK = Design(
    (BlockColumn("x", X, True),),
    (BlockColumn("site", SITE, False),),
    True,
    np.ones(N, bool),
    np.ones(N, bool),
)
NORMAL = norm(0.5 * X, 1)
COUNTS = poisson(np.exp(1 + 0.3 * X))


@pytest.fixture(scope="module", autouse=True)
def double():
    """As `examine` asks."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def measure():
    """Measure outcomes `(member, n)` of known distribution, all programs compiled once."""
    program = jax.jit(replicate_statistics.z_scores)

    def of(distribution, outcome, values=()):
        rng = np.random.default_rng(2)
        reference = distribution.rvs((N_REFERENCE, N), random_state=rng).astype(float)
        log_density = getattr(distribution, "logpdf", None) or distribution.logpmf
        statistics, weights = statistic_design.lay_out(
            BLOCK, reference.mean(axis=0), values, scored=False
        )
        z = np.asarray(program(np.sort(reference.T, axis=1), outcome.T)).T
        members = Members(outcome, z, log_density(outcome), None, None)
        return statistics, replicate_statistics.measure_replicates(weights, members)

    return of


def with_replicates(distribution, observed, rng):
    replicates = distribution.rvs((REPLICATES, N), random_state=rng).astype(float)
    return np.concatenate([np.asarray(observed, float)[None], replicates])


def check(statistics, values, rng, more=lambda: iter([])):
    return surprise.check_surprise(statistics, values, more, step=STEP, setting=SETTING, rng=rng)


def leading(table):
    return table.loc[table["leading"], "statistic"].item()


@pytest.mark.parametrize(
    "distribution",
    [
        pytest.param(NORMAL, marks=pytest.mark.long, id="normal"),
        pytest.param(COUNTS, id="counts"),
        pytest.param(binom(1, 0.1), marks=pytest.mark.long, id="binary"),
    ],
)
def test_p_values_of_a_true_model_are_uniform_for_the_family_and_for_each_statistic(
    measure, distribution
):
    """Every member is as good an observed one as any, and ties among their statistics are many."""
    rng = np.random.default_rng(3)
    outcomes = distribution.rvs((600, N), random_state=rng).astype(float)
    statistics, values = measure(distribution, outcomes, (0.0,))
    p, single = [], []
    for member in range(300):
        others = rng.permutation(np.delete(np.arange(600), member))
        further = [values[others[199:]]]
        finding, table = check(
            statistics, values[[member, *others[:199]]], rng, lambda further=further: further
        )
        p.append(finding.p)
        single.append(table.set_index("statistic")["p"])
    assert kstest(p, "uniform").pvalue > 0.01
    for name in single[0].index:
        assert kstest([one[name] for one in single], "uniform").pvalue > 0.001, name


def clustered(rng):
    return 0.5 * X + 0.6 * rng.standard_normal(12)[SITE] + rng.standard_normal(N)


def autoregressive(rng):
    noise = rng.standard_normal(N)
    for i in range(1, N):
        noise[i] = 0.5 * noise[i - 1] + np.sqrt(0.75) * noise[i]
    return 0.5 * X + noise


def contaminated(rng):
    return NORMAL.rvs(random_state=rng) + 6 * rng.standard_normal(N) * (rng.random(N) < 0.03)


DEFECTS = {
    "shift": (NORMAL, lambda rng: NORMAL.rvs(random_state=rng) + 0.6, {"mean"}),
    "narrow": (
        NORMAL,
        lambda rng: norm.rvs(0.5 * X, 0.6, random_state=rng),
        {"variance", "log score"},
    ),
    "square": (NORMAL, lambda rng: NORMAL.rvs(random_state=rng) + 0.4 * (X**2 - 1), {"z ~ x^2"}),
    "spread": (
        NORMAL,
        lambda rng: norm.rvs(0.5 * X, np.exp(0.4 * X), random_state=rng),
        {"z^2 ~ x", "lowest log scores"},
    ),
    "sites": (NORMAL, clustered, {"z by site"}),
    "memory": (NORMAL, autoregressive, {"lag 1"}),
    "outliers": (NORMAL, contaminated, {"kurtosis", "lowest log scores"}),
    "slope over time": (
        NORMAL,
        lambda rng: NORMAL.rvs(random_state=rng) + 1.5 * (np.arange(N) / N - 0.5) * X,
        {"z x ~ time"},
    ),
    "trend": (
        NORMAL,
        lambda rng: NORMAL.rvs(random_state=rng) + 2 * (np.arange(N) / N - 0.5),
        {"z ~ time"},
    ),
    "overdispersion": (
        COUNTS,
        lambda rng: rng.poisson(COUNTS.mean() * rng.gamma(2, size=N) / 2),
        {"variance", "lowest log scores", "log score"},
    ),
    "zeros": (
        COUNTS,
        lambda rng: COUNTS.rvs(random_state=rng) * (rng.random(N) > 0.15),
        {"share of 0", "variance"},
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_each_defect_leads_with_its_statistic(measure, defect):
    rng = np.random.default_rng(4)
    distribution, draw, accepted = DEFECTS[defect]
    found = []
    for _ in range(10):
        members = with_replicates(distribution, draw(rng), rng)
        finding, table = check(*measure(distribution, members, (0.0,)), rng)
        found.append(leading(table))
        # Without further replicates, the p of the second comparison is 1.
        assert finding.p == 1
        assert table["p"].min() == 1 / (REPLICATES + 1)
        assert finding.large
    assert sum(name in accepted for name in found) >= 9, found


def test_a_finding_says_what_was_seen_and_what_to_do(measure):
    rng = np.random.default_rng(5)
    shifted = with_replicates(NORMAL, NORMAL.rvs(random_state=rng) + 0.4, rng)
    statistics, values = measure(NORMAL, shifted)
    finding, table = check(statistics, values, rng, more=lambda: [values[1:]])
    assert finding.message.startswith("rows 501 to 800 lie above what the model predicts: ")
    assert finding.message.endswith("sds from the prediction after 500 rows)")
    assert (finding.kind, finding.axis) == ("heterogeneous", "arrival")
    (row,) = table[table["leading"]].itertuples()
    assert finding.effect.name == "studentised mean"
    assert finding.effect.value == pytest.approx(row.studentised)
    assert finding.effect.high - finding.effect.low == pytest.approx(2 * 1.96)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_only_the_two_most_extreme_are_compared_with_more(rank):
    rng = np.random.default_rng(6)
    values = np.linspace(-1, 1, 1000)[:, None]
    values[0] = [2.0, 0.9989, 0.9969][rank - 1]
    values[-1] = -1.1 if rank == 1 else 1.0
    asked = []

    def more():
        for _ in range(20):
            asked.append(1)
            yield rng.uniform(-1, 1, (1000, 1))

    finding, _ = check([Statistic(statistic_design.LINEAR, "x")], values, rng, more)
    assert bool(asked) == (rank <= 2) or finding.p > 0.002


def test_the_longer_comparison_is_valid_and_ends_early_where_p_is_clear():
    rng = np.random.default_rng(7)
    chunks_read = []

    def chunks(n):
        for _ in range(n):
            chunks_read.append(1)
            yield rng.random(100)

    p = np.array([member_ranks._sequential(rng.random(), chunks(5)) for _ in range(4000)])
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) <= level + 3 * np.sqrt(level / 4000)
    assert len(chunks_read) < 4000 * 2.5
    assert member_ranks._sequential(2.0, chunks(5)) == 1 / 501


def test_what_no_replicate_does_has_the_smallest_p():
    """Where all replicates agree, they have no sd."""
    rng = np.random.default_rng(8)
    values = np.zeros((1000, 1))
    values[0] = 1e-3
    more = np.zeros((1000, 1))
    statistic = [Statistic(statistic_design.VALUE, "3")]
    finding, _ = check(statistic, values, rng, lambda: [more] * 19)
    assert finding.p == 1 / 19_001
    finding, table = check(statistic, more, rng)
    assert finding.p > 0.002 or finding.p == 1
    assert table.empty


def test_a_sum_of_scores_leads_where_it_is_furthest_out_on_its_own_scale():
    """What changed says more than the covariate along which it shows most."""
    rng = np.random.default_rng(9)
    values = np.stack([rng.standard_normal(1000), rng.chisquare(3, 1000)], axis=1)
    values[0] = 6, 40
    statistics = [Statistic(statistic_design.LINEAR, "x"), Statistic(statistic_design.SCORE)]
    finding, table = check(statistics, values, rng)
    assert leading(table) == statistic_design.SCORE
    assert finding.kind == "heterogeneous"
    assert table["studentised"].idxmax() == 0
    values[0] = 12, 12
    assert leading(check(statistics, values, rng)[1]) == "z ~ x"


def test_a_long_tail_does_not_crowd_out_other_statistics():
    """Of 20,000 members under the model, no statistic is the most extreme much more often than others."""
    rng = np.random.default_rng(11)
    values = np.stack(
        [rng.standard_normal(20_000), rng.chisquare(3, 20_000), -rng.chisquare(2, 20_000)], axis=1
    )
    statistics = [
        Statistic(what)
        for what in (statistic_design.MEAN, statistic_design.SCORE, statistic_design.LOW_TAIL)
    ]
    evidence = member_ranks.Scale.of(statistics, values[:1000]).extremeness(values)
    extreme = np.argsort(-evidence.max(axis=1))[:200]
    shares = np.bincount(evidence[extreme].argmax(axis=1), minlength=3) / 200
    assert (shares > 0.1).all()


USED, OTHER = {"used": True}, {"used": False}
MEANINGS = [
    (Statistic(statistic_design.MEAN), "heterogeneous", "arrival"),
    (Statistic(statistic_design.SCORE), "heterogeneous", "arrival"),
    (Statistic(statistic_design.TIME), "heterogeneous", "arrival"),
    (Statistic(statistic_design.SLOPE_TIME, "x"), "heterogeneous", "arrival"),
    (Statistic(statistic_design.LINEAR, "x", **USED), "misfit", "x"),
    (Statistic(statistic_design.SQUARE, "x", **USED), "misfit", "x"),
    (Statistic(statistic_design.SPREAD, "x", **USED), "misfit", "x"),
    (Statistic(statistic_design.LINEAR, "x", **OTHER), "heterogeneous", "x"),
    (Statistic(statistic_design.GROUP, None, "g", **USED), "misfit", "g"),
    (Statistic(statistic_design.GROUP, None, "g", **OTHER), "heterogeneous", "g"),
    (Statistic(statistic_design.GROUP_SLOPE, "x", "g", **OTHER), "heterogeneous", "g"),
    (Statistic(statistic_design.GROUP_SPREAD, None, "g", **OTHER), "heterogeneous", "g"),
    (Statistic(statistic_design.LOG_SCORE), "misfit", None),
    (Statistic(statistic_design.LOW_TAIL), "misfit", None),
    (Statistic(statistic_design.VARIANCE), "misfit", None),
    (Statistic(statistic_design.SKEWNESS), "misfit", None),
    (Statistic(statistic_design.KURTOSIS), "misfit", None),
    (Statistic(statistic_design.DISPERSION), "misfit", None),
    (Statistic(statistic_design.VALUE, "0"), "misfit", None),
    (Statistic(statistic_design.SPREAD_FIT), "misfit", None),
    (Statistic(statistic_design.SQUARE_FIT), "misfit", None),
    (Statistic(statistic_design.LAG), "misfit", None),
    (Statistic(statistic_design.WITHIN_VARIANCE), "misfit", None),
    (Statistic(statistic_design.WITHIN_KURTOSIS), "misfit", None),
]


@pytest.mark.parametrize(("statistic", "kind", "axis"), MEANINGS)
def test_a_statistic_means_a_kind_and_an_axis_and_says_what_to_do(statistic, kind, axis):
    assert statistic_messages.meaning(statistic, SETTING) == (kind, axis)
    for above in (False, True):
        words = statistic_messages.sentence(statistic, above=above)
        assert "{" not in words
        assert "None" not in words


def test_every_statistic_has_a_meaning():
    assert {statistic.what for statistic, _, _ in MEANINGS} == set(statistic_messages._SENTENCES)


def test_rows_in_random_order_or_without_parameters_cannot_show_a_change_over_time():
    for setting in (Setting(None, learned=True), Setting("arrival", learned=False)):
        meaning = statistic_messages.meaning(Statistic(statistic_design.MEAN), setting)
        assert meaning == ("misfit", None)


def test_a_message_names_all_rows_where_nothing_was_learned():
    rng = np.random.default_rng(10)
    step = STEP._replace(first=1, before=0)
    values = rng.standard_normal((1000, 1))
    for observed, end in ((0.0, "0 sds)"), (9.0, "sds from the prediction of the model)")):
        values[0] = observed
        finding, _ = surprise.check_surprise(
            [Statistic(statistic_design.VARIANCE)],
            values,
            lambda: [values[1:]],
            step=step,
            setting=SETTING,
            rng=rng,
        )
        assert finding.message.startswith("rows 1 to 800 ")
        assert finding.message.endswith(end) or observed == 0
