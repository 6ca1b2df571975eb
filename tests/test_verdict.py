"""How findings become one verdict."""

import numpy as np
import pytest

from scalecheck import conclude, records, verdict
from scalecheck.checks.finding import Effect, Finding, not_run
from scalecheck.verdict import STRONG, Attribution, Judged

ALPHA = 0.05
FAMILIES = ("agreement", "heterogeneity", "drift", "surprise")


def finding(family="agreement", p=0.5, weight=1.0, large=True, kind="misfit", **where):
    effect = Effect("dispersion", 1.7, 1.4, 2.1)
    return Finding(
        family=family,
        p=p,
        weight=weight,
        large=large,
        effect=effect,
        kind=kind,
        message="m",
        **where,
    )


def adjusted(*findings):
    return [judged.p_adjusted for judged in verdict.judge(findings, ALPHA)]


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
    np.testing.assert_allclose(adjusted(*made), expected, rtol=1e-12)


def test_a_finding_that_was_not_run_pays_nothing_and_costs_nothing():
    alone = adjusted(finding("a", 0.01), finding("b", 0.02))
    other = adjusted(finding("a", 0.01), not_run("c", "no", weight=1.0), finding("b", 0.02))
    assert other == [alone[0], None, alone[1]]


def study_of(p, rng=None):
    """Findings as a study has them: 1 agreement, 3 axes, 5 steps and their sum, 5 surprises."""
    families = ["agreement"] + ["heterogeneity"] * 3 + ["drift"] * 6 + ["surprise"] * 5
    weights = [1.0, *[1 / 3] * 3, *[0.1] * 5, 0.5, *[0.2] * 5]
    return [finding(f, float(q), w) for f, w, q in zip(families, weights, p, strict=True)]


@pytest.mark.parametrize("broken", [[], [1], [1, 9, 10], [1, 2, 4, 9, 10, 11]])
def test_false_alarms_stay_at_the_level_whatever_else_is_wrong(broken):
    """Uniform p-values of true nulls, beside findings that are certain."""
    rng, n_studies = np.random.default_rng(1), 1000
    true = [i for i in range(15) if i not in broken]
    alarms = 0
    for p in rng.random((n_studies, 15)):
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
        p = rng.random(15) ** rng.integers(1, 12)
        for part in (study_of(p), study_of(p)[rng.integers(15) :]):
            judged = verdict.judge(part, ALPHA)
            for one, found in zip(part, judged, strict=True):
                if verdict.is_strong_alone(one, len(FAMILIES), ALPHA):
                    n_strong += 1
                    assert found.status == "strong"
    assert n_strong > 200


def test_strong_alone_needs_a_large_effect_and_a_run():
    assert verdict.is_strong_alone(finding(p=1e-9), 4, ALPHA)
    assert not verdict.is_strong_alone(finding(p=1e-9, large=False), 4, ALPHA)
    assert not verdict.is_strong_alone(not_run("drift", "no", weight=1.0), 4, ALPHA)
    assert not verdict.is_strong_alone(finding(p=0.2 * STRONG * ALPHA, weight=0.5), 4, ALPHA)


def seen(family, p=1e-6, kind="misfit", status="suspect"):
    return Judged(finding(family, p, kind=kind), p, status)


MISFIT, HETEROGENEOUS = Attribution(True, False), Attribution(False, True)


@pytest.mark.parametrize(
    ("judged", "expected"),
    [
        ([], Attribution(False, False)),
        ([seen("agreement", 0.5, status="pass")], Attribution(False, False)),
        # 1. axes come first; surprise, agreement and drift beside them say nothing new
        ([seen("heterogeneity", kind="heterogeneous")], HETEROGENEOUS),
        ([seen("heterogeneity", kind="misfit")], MISFIT),
        ([seen("heterogeneity", kind="heterogeneous"), seen("surprise")], HETEROGENEOUS),
        ([seen("heterogeneity", kind="heterogeneous"), seen("agreement")], HETEROGENEOUS),
        ([seen("heterogeneity", kind="misfit"), seen("drift", kind="heterogeneous")], MISFIT),
        (
            [seen("heterogeneity", kind="heterogeneous"), seen("heterogeneity", kind="misfit")],
            Attribution(True, True),
        ),
        # the exception: an axis that is no model column, with a p that is not small, and a surprise
        ([seen("heterogeneity", 2e-3, kind="heterogeneous"), seen("surprise")], MISFIT),
        ([seen("heterogeneity", 3e-4, kind="heterogeneous"), seen("surprise")], HETEROGENEOUS),
        ([seen("heterogeneity", 4e-4, kind="heterogeneous"), seen("surprise")], MISFIT),
        ([seen("heterogeneity", 2e-3, kind="heterogeneous"), seen("agreement")], HETEROGENEOUS),
        ([seen("heterogeneity", 2e-3, kind="misfit"), seen("surprise")], MISFIT),
        # the strongest axis decides whether the exception holds
        (
            [
                seen("heterogeneity", 2e-3, kind="heterogeneous"),
                seen("heterogeneity", 1e-6, kind="misfit"),
                seen("surprise"),
            ],
            Attribution(True, True),
        ),
        # 2. surprise, 3. agreement, then drift
        ([seen("surprise"), seen("drift", kind="heterogeneous")], MISFIT),
        ([seen("agreement"), seen("drift", kind="heterogeneous")], MISFIT),
        ([seen("drift", kind="heterogeneous")], HETEROGENEOUS),
        ([seen("drift", kind="misfit")], MISFIT),
        (
            [seen("heterogeneity", 0.5, "heterogeneous", "pass"), seen("drift", kind="misfit")],
            MISFIT,
        ),
    ],
)
def test_attribution_is_the_guarded_precedence(judged, expected):
    assert verdict.attribute(judged) == expected
    assert verdict.attribute(judged[::-1]) == expected


STRONG_ONE, SUSPECT_ONE = seen("drift", status="strong"), seen("drift", status="suspect")
PASSED = seen("drift", 0.5, status="pass")
UNUSABLE = {"subset-02": "R-hat of mu is 1.2 (over 1.01): raise sampler.warmup"}


@pytest.mark.parametrize(
    ("judged", "unusable", "expected"),
    [
        ([PASSED], {}, "adequate"),
        ([PASSED, SUSPECT_ONE], {}, "suspect"),
        ([STRONG_ONE, SUSPECT_ONE], {}, "misfit"),
        ([PASSED], UNUSABLE, "inconclusive"),
        ([SUSPECT_ONE], UNUSABLE, "inconclusive"),
        ([STRONG_ONE], UNUSABLE, "misfit"),
    ],
)
def test_the_verdict_is_that_of_the_worst_and_inconclusive_says_why(judged, unusable, expected):
    name, why = verdict.decide(judged, unusable)
    assert name == expected
    assert bool(why) == (expected == "inconclusive")
    if why:
        assert why == f"subset-02: {UNUSABLE['subset-02']}"


def test_findings_survive_their_table(tmp_path):
    findings = [
        finding("heterogeneity", 1 / 3, 1 / 3, axis="country", level="NA", parameter="beta[0]"),
        finding("heterogeneity", 0.1, 1 / 3, axis="year", level="2018", kind="heterogeneous"),
        finding(
            "drift", 5.59386102530187e-09, 0.1, large=False, fit="increment-02", fits=("a", "b")
        ),
        not_run("surprise", 'why, "exactly"', weight=1.0),
        not_run("agreement", "fewer than 3 of 8"),
    ]
    path = tmp_path / "findings.csv"
    records.write_table(path, conclude.findings_table(findings))
    assert conclude.findings_of(records.read_table(path)) == findings


def test_a_table_of_findings_that_were_all_not_run_survives(tmp_path):
    findings = [not_run("surprise", "no", weight=1.0), not_run("drift", "no", weight=1.0)]
    path = tmp_path / "findings.csv"
    records.write_table(path, conclude.findings_table(findings))
    assert conclude.findings_of(records.read_table(path)) == findings


def test_a_finding_in_json_has_the_keys_of_the_contract():
    (judged,) = verdict.judge([finding(p=0.01, axis="source", level="a")], ALPHA)
    assert verdict.as_json(judged) == {
        "family": "agreement",
        "status": "suspect",
        "p": 0.01,
        "p_adjusted": 0.01,
        "effect": {"name": "dispersion", "value": 1.7, "low": 1.4, "high": 2.1},
        "where": {"axis": "source", "level": "a", "parameter": None, "fit": None},
        "message": "m",
    }


def test_families_of_later_versions_are_not_run_and_say_why():
    later = verdict.later_findings()
    assert [one.family for one in later] == ["effort", "scaling", "adaptation"]
    assert all(one.p is None and "later version" in one.message for one in later)


def test_a_study_that_checked_nothing_is_inconclusive():
    name, why = verdict.decide(
        [verdict.Judged(finding, None, "not run") for finding in verdict.later_findings()], {}
    )
    assert name == "inconclusive"
    assert why.startswith("no check could be made")
