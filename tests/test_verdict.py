"""How findings become one verdict."""

import numpy as np
import pandas as pd
import pytest
from judged_findings import along, finding, judged_as, speaks

from scalecheck.checks import finding_table, verdict
from scalecheck.checks.attribution import HETEROGENEOUS, MISFIT
from scalecheck.checks.finding import not_run
from scalecheck.checks.unusable_fits import UnusableFit
from scalecheck.checks.verdict import STRONG, Judged, Share
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline import verdict as verdict_program

ALPHA = 0.05
FAMILIES = verdict.FAMILIES


EQUAL = dict.fromkeys("abcd", Share(1.0, 1.0))


def adjusted(*findings, shares=EQUAL):
    return [judged.p_adjusted for judged in verdict.judge(findings, ALPHA, shares)]


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        # Holm (1979): 4 x .01; 3 x .03; 2 x .04 < .09; .2
        (
            [("a", 0.01, 1), ("b", 0.04, 1), ("c", 0.03, 1), ("d", 0.2, 1)],
            [0.04, 0.09, 0.09, 0.2],
        ),
        # one family, weighted: .01 / .5; .02 x .5 / .25; .3 x .25 / .25
        ([("a", 0.01, 0.5), ("a", 0.02, 0.25), ("a", 0.3, 0.25)], [0.02, 0.04, 0.3]),
        # weights decide the order: .02 / .8 before .01 / .2
        ([("a", 0.01, 0.2), ("a", 0.02, 0.8)], [0.025, 0.025]),
        # b comes before the rest of a, which then has the whole error rate, but not less than b
        ([("a", 0.004, 0.5), ("a", 0.03, 0.5), ("b", 0.02, 1)], [0.016, 0.04, 0.04]),
        # all of a is rejected: b inherits
        ([("a", 0.004, 0.5), ("a", 0.01, 0.5), ("b", 0.03, 1)], [0.016, 0.02, 0.03]),
        # weights that were planned and not spent stay where they are: 2 x .01 / .5; .03, nothing left
        ([("a", 0.01, 0.5), ("b", 0.03, 1)], [0.04, 0.04]),
        ([("a", 0.9, 0.5), ("b", 0.8, 1)], [1.0, 1.0]),
    ],
)
def test_adjusted_p_values_are_those_computed_by_hand(findings, expected):
    made = [finding(family, p, float(weight)) for family, p, weight in findings]
    np.testing.assert_allclose(np.array(adjusted(*made), float), expected, rtol=1e-12)


def test_families_divide_the_error_rate_by_their_shares():
    """Of .6, .3 and .1: .02 / .6; then .03 x .4 / .3; then .2."""
    given = {"a": 0.6, "b": 0.3, "c": 0.1, "d": 0.5}
    shares = {family: Share(share, 1.0) for family, share in given.items()}
    made = [finding("a", 0.02), finding("b", 0.03), finding("c", 0.2)]
    np.testing.assert_allclose(adjusted(*made, shares=shares), [0.02 / 0.6, 0.04, 0.2])
    assert sum(share.given for share in verdict.SHARES.values()) == pytest.approx(1)


def test_what_a_family_does_not_spend_is_divided_among_all():
    """Of .6 and .4 x .5 together .8: .02 x .8 / .6; then .4 x .5 of .4, but no less than p."""
    shares = {"a": Share(0.6, 1.0), "b": Share(0.4, 0.5)}
    made = [finding("a", 0.02), finding("b", 0.3)]
    np.testing.assert_allclose(adjusted(*made, shares=shares), [0.02 * 0.8 / 0.6, 0.3])


def test_a_finding_that_was_not_run_pays_nothing_and_costs_nothing():
    alone = adjusted(finding("a", 0.01), finding("b", 0.02))
    other = adjusted(finding("a", 0.01), not_run("c", "no", weight=1.0), finding("b", 0.02))
    assert other == [alone[0], None, alone[1]]


PLANNED = (
    ("agreement", [1.0]),
    ("heterogeneity", [1 / 3] * 3),
    ("form", [1.0]),
    ("drift", [*[0.1] * 5, 0.5]),
    ("surprise", [0.2] * 5),
    ("effort", [0.5, 0.5]),
    ("scaling", [1 / 3] * 3),
    ("adaptation", [1 / 6] * 6),
)
SHARES = [(family, weight) for family, weights in PLANNED for weight in weights]


def study_of(p):
    """Findings as a study has them: every family, with 3 axes and 6 increments."""
    return [finding(f, float(q), w) for (f, w), q in zip(SHARES, p, strict=True)]


@pytest.mark.parametrize("broken", [[], [1], [1, 10, 11], [1, 2, 4, 5, 10, 11, 12, 16, 18]])
def test_false_alarms_stay_at_the_level_whatever_else_is_wrong(broken):
    """P-values of true nulls, uniform where their family spends what it is given, beside findings that are certain."""
    rng, n_studies = np.random.default_rng(1), 1000
    true = [i for i in range(len(SHARES)) if i not in broken]
    alarms = 0
    spent = np.array([verdict.SHARES[family].spent for family, _ in SHARES])
    for uniform in rng.random((n_studies, len(SHARES))):
        p = np.where(rng.random(len(SHARES)) < spent, uniform, 1.0)
        p[broken] = 0.0
        judged = verdict.judge(study_of(p), ALPHA)
        assert all(judged[i].seen for i in broken)
        alarms += any(judged[i].seen for i in true)
    sd = np.sqrt(ALPHA * (1 - ALPHA) / n_studies)
    assert alarms / n_studies < ALPHA + 3 * sd
    assert alarms / n_studies > 0.5 * ALPHA  # Holm wastes something, but not this much


@pytest.mark.parametrize(
    ("p", "large", "status"),
    [
        (0.0049, True, "strong"),
        (0.0049, False, "suspect"),
        (0.0051, True, "suspect"),
        (0.049, True, "suspect"),
        (0.05, True, "pass"),
        (None, True, "not run"),
    ],
)
def test_status_needs_a_small_p_and_for_strong_a_large_effect(p, large, status):
    (judged,) = verdict.judge([finding(p=p, large=large)], ALPHA)
    assert judged.status == status
    assert judged.seen == (status in ("suspect", "strong"))


def test_strong_alone_is_strong_among_any_others():
    """What stops the chain of increments must not be taken back by the verdict."""
    rng = np.random.default_rng(2)
    n_strong = 0
    for _ in range(300):
        p = rng.random(len(SHARES)) ** rng.integers(1, 12)
        for part in (study_of(p), study_of(p)[rng.integers(len(SHARES)) :]):
            judged = verdict.judge(part, ALPHA)
            for one, found in zip(part, judged, strict=True):
                if verdict.is_strong_alone(one, ALPHA):
                    n_strong += 1
                    assert found.status == "strong"
    assert n_strong > 200


def test_strong_alone_needs_a_large_effect_and_a_run():
    assert verdict.is_strong_alone(finding(p=1e-9), ALPHA)
    assert not verdict.is_strong_alone(finding(p=1e-9, large=False), ALPHA)
    assert not verdict.is_strong_alone(not_run("drift", "no", weight=1.0), ALPHA)
    spent = sum(share.given * share.spent for share in verdict.SHARES.values())
    enough = verdict.SHARES["agreement"].given / spent * STRONG * ALPHA
    assert verdict.is_strong_alone(finding(p=0.99 * enough), ALPHA)
    assert not verdict.is_strong_alone(finding(p=0.99 * enough, weight=0.5), ALPHA)


def ran(family="drift", status="pass", fits=()):
    return judged_as(status, family, 0.5, kind="misfit", size=1.0, fits=fits)


def did_not(family, message="why"):
    return Judged(not_run(family, message), None, "not run")


PASSED, SUSPECT_ONE, STRONG_ONE = ran(), ran(status="suspect"), ran(status="strong")
UNUSABLE = {"subset-02": UnusableFit("R-hat of mu is 1.2 (over 1.01): raise sampler.warmup")}
WHY = "subset-02: R-hat of mu is 1.2 (over 1.01): raise sampler.warmup"
AT_FAULT = ran("adaptation", "strong", ("subset-02",))


@pytest.mark.parametrize(
    ("judged", "unusable", "expected"),
    [
        ([PASSED], {}, ("adequate", "")),
        ([PASSED, SUSPECT_ONE], {}, ("suspect", "")),
        ([STRONG_ONE, SUSPECT_ONE], {}, ("breaks", "")),
        ([PASSED], UNUSABLE, ("inconclusive", WHY)),
        ([SUSPECT_ONE], UNUSABLE, ("inconclusive", WHY)),
        # a strong finding needs the fits that it rests on, and no others
        ([STRONG_ONE], UNUSABLE, ("breaks", "")),
        ([ran("drift", "strong", ("increment-01", "increment-02"))], UNUSABLE, ("breaks", "")),
        ([PASSED, AT_FAULT], UNUSABLE, ("inconclusive", WHY)),
        ([AT_FAULT, STRONG_ONE], UNUSABLE, ("breaks", "")),
        ([PASSED, AT_FAULT], {}, ("breaks", "")),
        # nothing ran because no fit can be used: what to repair says more
        ([did_not("drift")], UNUSABLE, ("inconclusive", WHY)),
    ],
)
def test_the_verdict_is_that_of_the_worst_and_inconclusive_says_why(judged, unusable, expected):
    assert verdict.decide(judged, unusable) == expected


LEVEL = {"level-source-01": UnusableFit("ESS of mu is 90 (under 400): raise sampler.draws")}


@pytest.mark.parametrize(
    ("judged", "expected"),
    [
        ([PASSED], "adequate"),
        ([ran("heterogeneity", "strong", ("increment-04", "subset-01"))], "breaks"),
        # the leapfrogs of chains that never mixed are those of a transient
        ([PASSED, ran("effort", "strong", ("level-source-01", "level-source-02"))], "suspect"),
    ],
)
def test_a_level_that_cannot_be_used_is_not_needed(judged, expected):
    assert verdict.decide(judged, LEVEL, needed=["increment-04"])[0] == expected


def apart(rhat, cause="modes", worst="mu", advice="the chains sit in different modes: look"):
    reason = f"R-hat of {worst} is {rhat:.2f} (over 1.01): {advice}"
    return UnusableFit(reason, cause, worst, advice, rhat, 20.0)


def slow(ess, advice="raise sampler.draws"):
    return UnusableFit(
        f"ESS of mu is {ess} (under 400): {advice}", "slow", "mu", advice, 1.0, float(ess)
    )


def fits(*found):
    return {f"subset-{i:02}": one for i, one in enumerate(found, 1)}


@pytest.mark.parametrize(
    ("unusable", "why"),
    [
        (fits(apart(1.9)), "subset-01: R-hat of mu is 1.90 (over 1.01): the chains sit in"),
        (
            fits(*(apart(1.9 + 0.3 * i) for i in range(8))),
            "8 of 20 fits: R-hat of mu is 1.9 to 4: the chains sit in different modes: look",
        ),
        (fits(apart(2.0), apart(2.0)), "2 of 20 fits: R-hat of mu is 2: the chains sit"),
        (fits(slow(90), slow(70)), "2 of 20 fits: ESS of mu is 70 to 90: raise sampler.draws"),
        (
            fits(apart(3.0), apart(2.0, worst="tau")),
            "2 of 20 fits: the highest R-hat is 2 to 3: the chains",
        ),
        (
            fits(apart(3.0, worst="mu[0]"), apart(2.0, worst="mu[1]")),
            "2 of 20 fits: R-hat of mu is 2 to 3: the chains",
        ),
        # what differs from fit to fit is said of the worst
        (
            fits(slow(90, "raise sampler.draws to 300"), slow(50, "raise sampler.draws to 900")),
            "ESS of mu is 50 to 90: in subset-02, the worst, raise sampler.draws to 900",
        ),
        (fits(apart(np.inf), apart(2.0)), "R-hat of mu is 2 to infinite: the chains"),
        # the most frequent cause comes first, and each has one sentence
        (
            fits(slow(90), apart(2.0), apart(3.0)),
            "2 of 20 fits: R-hat of mu is 2 to 3: the chains sit in different modes: look;"
            " subset-01: ESS of mu is 90",
        ),
        # without draws: the sentence of the first, for all that are mended alike
        (
            fits(
                UnusableFit("chain 1 stalled: raise it"), UnusableFit("chain 2 stalled: raise it")
            ),
            "2 of 20 fits, as subset-01: chain 1 stalled: raise it",
        ),
    ],
)
def test_why_a_study_is_inconclusive_has_one_sentence_for_each_cause(unusable, why):
    needed = [f"subset-{i:02}" for i in range(1, 21)]
    name, found = verdict.decide([PASSED], unusable, needed=needed)
    assert name == "inconclusive"
    assert why in found
    assert "more" not in found
    assert len(found.split("; ")) == len({one.cause for one in unusable.values()})


def test_nothing_is_attributed_to_a_finding_that_rests_on_what_cannot_be_used():
    accused = ran("scaling", "suspect", ("increment-02", "subset-02"))
    assert verdict.attribute([accused], time=None).misfit
    assert not verdict.attribute([accused], UNUSABLE, time=None).misfit
    assert (
        verdict.attribute([accused, ran("drift", "suspect")], UNUSABLE, time=None).family == "drift"
    )


UNIDENTIFIED = [
    did_not("agreement", "a subset identifies no direction beyond the prior: use larger ones"),
    did_not("heterogeneity", "data.axes names no axis"),
    did_not("drift", "500 rows identify no direction beyond the prior"),
    did_not("drift", "500 rows identify no direction beyond the prior"),
]


def test_a_study_that_identifies_no_parameter_is_inconclusive_and_says_what_to_change():
    name, why = verdict.decide([*UNIDENTIFIED, ran("surprise"), ran("effort")], {})
    assert name == "inconclusive"
    assert why.startswith("no check could compare the parameters: agreement: a subset identifies")
    assert "use larger ones" in why
    assert why.count("500 rows") == 1
    other = did_not("drift", "1000 rows identify no direction beyond the prior")
    _, why = verdict.decide([*UNIDENTIFIED, other, ran("surprise")], {})
    assert "drift, 2 times, as here: 500 rows identify" in why
    assert "1000 rows" not in why


@pytest.mark.parametrize("family", ["agreement", "heterogeneity", "drift"])
def test_one_family_that_compares_parameters_is_enough(family):
    assert verdict.decide([*UNIDENTIFIED, ran(family)], {}) == ("adequate", "")


def test_a_model_without_parameters_is_judged_by_surprise_alone():
    absent = [did_not(family, "the model has no parameters") for family in FAMILIES]
    for status, expected in (("pass", "adequate"), ("suspect", "suspect"), ("strong", "breaks")):
        judged = [*absent, ran("surprise", status)]
        assert verdict.decide(judged, {}, has_parameters=False) == (expected, "")


def test_a_study_that_checked_nothing_is_inconclusive():
    name, why = verdict.decide([did_not(family) for family in FAMILIES], {})
    assert name == "inconclusive"
    assert why.startswith("no check could be made")


def test_every_family_is_named_and_an_absent_one_did_not_run():
    findings = verdict.add_families_not_run([finding("drift", 0.2), finding("drift", 0.3)])
    assert {one.family for one in findings} == set(FAMILIES)
    assert len(findings) == len(FAMILIES) + 1
    assert all(one.message for one in findings if one.p is None)
    assert verdict.add_families_not_run(findings) == findings


def test_findings_survive_their_table(tmp_path):
    findings = [
        finding("heterogeneity", 1 / 3, 1 / 3, axis="country", level="NA", parameter="beta[0]"),
        finding(
            "heterogeneity",
            0.1,
            1 / 3,
            axis="year",
            level="2018",
            kind=HETEROGENEOUS,
            beside=MISFIT,
        ),
        finding(
            "drift", 5.59386102530187e-09, 0.1, large=False, fit="increment-02", fits=("a", "b")
        ),
        finding("surprise", 0.001, 0.2, axis="year", fit="increment-03", kind="heterogeneous"),
        finding("effort", 0.02, 1.0, fit="subset-01", kind="heterogeneous", fits=("subset-01",)),
        finding("scaling", 0.3, 0.5, fit="increment-03"),
        finding("adaptation", 1.0, 0.25, large=False, fit="increment-03"),
        not_run("surprise", 'why, "exactly"', weight=1.0),
        not_run("agreement", "fewer than 3 of 8"),
    ]
    path = tmp_path / "findings.csv"
    formats.write_table(path, finding_table.findings_table(findings))
    assert finding_table.findings_of(formats.read_table(path)) == findings


def test_a_table_of_findings_that_were_all_not_run_survives(tmp_path):
    findings = [not_run("surprise", "no", weight=1.0), not_run("drift", "no", weight=1.0)]
    path = tmp_path / "findings.csv"
    formats.write_table(path, finding_table.findings_table(findings))
    assert finding_table.findings_of(formats.read_table(path)) == findings


def test_first_seen_is_the_smallest_increment_at_which_its_own_check_spoke():
    increments = pd.DataFrame({"fit": ["increment-01", "increment-02"], "rows": [500, 1000]})

    def first(*judged):
        return verdict_program._first_seen(list(judged), increments)

    assert first(along("source"), ran("effort", "strong")) is None
    assert first(speaks("drift", fit="increment-02"), speaks("drift")) == 1000
    together = speaks("surprise", fits=("increment-01", "increment-02"))
    assert first(together) == 1000
    assert first(together, speaks("scaling", fit="increment-01")) == 500
    for family in ("surprise", "scaling", "adaptation"):
        assert first(speaks(family, fit="increment-01"), speaks("drift", fit="increment-02")) == 500
    assert first(speaks("adaptation", fit="subset-01")) is None


def test_ranks_among_simulated_studies_are_found_by_family_axis_and_fit(tmp_path):
    folder = StudyFolder(tmp_path)
    rows = [("drift", "", "increment-02", 0.02), ("heterogeneity", "NA", "", np.nan)]
    rows.append(("", "", "", 0.013))
    table = pd.DataFrame(rows, columns=["family", "axis", "fit", "p_simulated"])
    formats.write_table(folder.table("simulated"), table)
    assert verdict_program._simulated(folder) == {
        ("drift", "", "increment-02"): 0.02,
        finding_table.WHOLE_STUDY: 0.013,
    }
    assert finding_table.identity(
        finding("drift", fit="increment-02")
    ) in verdict_program._simulated(folder)


def test_a_finding_in_json_has_the_keys_of_the_contract():
    (judged,) = verdict.judge([finding(p=0.01, axis="source", level="a")], ALPHA)
    assert verdict.as_json(judged) == {
        "family": "agreement",
        "status": "suspect",
        "p": 0.01,
        "p_adjusted": 0.01,
        "p_simulated": None,
        "effect": {"name": "dispersion", "value": 1.7, "low": 1.4, "high": 2.1},
        "where": {"axis": "source", "level": "a", "parameter": None, "fit": None},
        "message": "m",
    }
