"""To what the verdict attributes its findings: misfit or heterogeneous, which axis, which family."""

import dataclasses

import pytest
from judged_findings import TIME, along, beside, lacks, leads, quiet, speaks

from scalecheck.checks import verdict
from scalecheck.checks.attribution import Attribution, Place
from scalecheck.checks.finding import Effect

H, M = "heterogeneous", "misfit"
AXES = quiet(TIME, "source", "x", "group")
NOTHING = Attribution(False, False)


def misfit(family, axis=None):
    return Attribution(True, False, axis, family)


def heterogeneous(family, axis=None):
    return Attribution(False, True, axis, family)


# The defects of the table in docs/calibration.md, as their findings usually look.
DEFECTS = {
    "group effects": (
        [along("group"), *quiet("source", "x", TIME), leads(H, "group")],
        heterogeneous("heterogeneity", "group"),
    ),
    "group effects, seen by surprise alone": (
        [*quiet("source", "x", TIME), along("group", 0.02, status="pass"), leads(H, "group")],
        heterogeneous("surprise", "group"),
    ),
    "coefficient drift": (
        [along(TIME), *quiet("source", "x"), speaks("drift", H), leads(H, TIME)],
        heterogeneous("heterogeneity", TIME),
    ),
    "regime change, seen by drift alone": (
        [*AXES, speaks("drift", H)],
        heterogeneous("drift", TIME),
    ),
    "overdispersion": (
        [*AXES, speaks("agreement"), leads(M), speaks("drift", M)],
        misfit("surprise"),
    ),
    "overdispersion, seen by agreement and drift": (
        [*AXES, speaks("agreement"), speaks("drift", H)],
        misfit("agreement"),
    ),
    "overdispersion, seen by drift alone": ([*AXES, speaks("drift", M)], misfit("drift")),
    "quadratic term": (
        [along("x", used=True), *quiet(TIME, "source"), leads(M, "x")],
        misfit("heterogeneity", "x"),
    ),
    "quadratic term, seen by form alone": ([*AXES, lacks("x")], misfit("form", "x")),
    "quadratic term, seen by form first": (
        [along("x", 2e-3, used=True), lacks("x"), leads(M, "x")],
        misfit("form", "x"),
    ),
    "group effects, and a missing product": (
        [along("group", 1e-4, size=9.0), lacks("x and z", p=3e-4)],
        Attribution(True, True, "group", "heterogeneity", Place("form", "x and z")),
    ),
    "a bent covariate, and group effects": (
        [along("group", 3e-4), lacks("x"), leads(M, "x")],
        Attribution(True, True, "x", "form", Place("heterogeneity", "group")),
    ),
    "coefficient drift, and overdispersion": (
        [beside(along(TIME)), *quiet("source", "x"), leads(M), speaks("agreement")],
        Attribution(True, True, TIME, "heterogeneity", Place("surprise", None)),
    ),
    "coefficient drift that is not seen, and what is beside it": (
        [beside(along(TIME, 0.3, status="pass")), *quiet("source", "x"), leads(M)],
        misfit("surprise"),
    ),
    "quadratic term, seen by surprise alone": ([*AXES, leads(M, "x")], misfit("surprise", "x")),
    "contamination": ([*AXES, speaks("agreement"), leads(M)], misfit("surprise")),
    "heteroscedastic": (
        [along("x", used=True), leads(M, "x"), speaks("agreement")],
        misfit("heterogeneity", "x"),
    ),
    "zero inflation": ([*AXES, leads(M)], misfit("surprise")),
    "units in one source": (
        [along("source"), along("group", 0.004), along("x", 0.02, used=True), leads(H, "source")],
        heterogeneous("heterogeneity", "source"),
    ),
    "autocorrelation": (
        [along(TIME, 0.004), *quiet("source", "x"), leads(M, TIME)],
        misfit("surprise", TIME),
    ),
}


def resemble(p=1e-3):
    """Judge a surprise that neighbouring rows resemble each other."""
    made = leads(M, p=p)
    effect = Effect("studentised lag 1", 5.0, 4.0, 6.0)
    return made._replace(finding=dataclasses.replace(made.finding, effect=effect))


@pytest.mark.parametrize(
    ("judged", "expected"),
    [
        ([along(TIME), resemble()], misfit("surprise")),
        ([along(TIME), leads(M)], heterogeneous("heterogeneity", TIME)),
        ([along("source"), *quiet(TIME), resemble()], heterogeneous("heterogeneity", "source")),
        (
            [along(TIME, size=3.0), along("source"), resemble()],
            heterogeneous("heterogeneity", TIME),
        ),
        ([along(TIME), resemble(p=0.01), leads(H, TIME)], heterogeneous("heterogeneity", TIME)),
    ],
)
def test_blocks_of_time_differ_where_neighbours_resemble_each_other(judged, expected):
    assert verdict.attribute(judged, time=TIME) == expected


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_is_attributed_as_the_table_says(name):
    judged, expected = DEFECTS[name]
    assert verdict.attribute(judged, time=TIME) == expected
    assert verdict.attribute(judged[::-1], time=TIME) == expected


def weighed(one, weight):
    return one._replace(finding=dataclasses.replace(one.finding, weight=weight))


def test_the_step_or_the_sum_of_a_family_decides_that_is_smaller_for_its_share():
    step = weighed(leads("heterogeneous", TIME, p=3.5e-4), 1 / 6)
    together = weighed(leads("misfit", p=3.5e-4), 0.5)
    assert verdict.attribute([step, together], time=TIME).misfit
    assert verdict.attribute(
        [step, weighed(leads("misfit", p=1.5e-3), 0.5)], time=TIME
    ).heterogeneous
    # At the floors of both ranks, which differ in the last digit, the larger effect decides.
    floor = weighed(leads("heterogeneous", TIME, p=1 / 18_001, size=9.0), 1 / 6)
    assert verdict.attribute(
        [floor, weighed(leads("misfit", p=1 / 6_001), 0.5)], time=TIME
    ).heterogeneous


@pytest.mark.parametrize(
    ("judged", "expected"),
    [
        ([], NOTHING),
        (AXES, NOTHING),
        # 1. the axis with the smallest p; of equal ones the largest effect
        ([along("a", 2e-4), along("b", 1e-4)], heterogeneous("heterogeneity", "b")),
        ([along("a", size=2.0), along("b", size=3.0)], heterogeneous("heterogeneity", "b")),
        ([along("a"), speaks("agreement"), leads(M)], heterogeneous("heterogeneity", "a")),
        # both kinds, where both axes are certain; a weak axis is the shadow of a strong one
        (
            [along("a", size=3.0), along("x", used=True)],
            Attribution(True, True, "a", "heterogeneity", Place("heterogeneity", "x")),
        ),
        ([along("a"), along("x", 2e-3, used=True)], heterogeneous("heterogeneity", "a")),
        ([along("a", 2e-3), along("x", used=True), leads(M)], misfit("heterogeneity", "x")),
        # the exception: a weak axis that no model uses, beside a surprise that speaks of misfit
        ([along("a", 6e-4), leads(M)], misfit("surprise")),
        ([along("a", 4e-4), leads(M)], heterogeneous("heterogeneity", "a")),
        ([along("a", 6e-4), leads(H, "a")], heterogeneous("heterogeneity", "a")),
        ([along("a", 6e-4), speaks("agreement")], heterogeneous("heterogeneity", "a")),
        ([along("x", 6e-4, used=True), leads(M)], misfit("heterogeneity", "x")),
        # the loudest increment leads
        (
            [along("a", 4e-4), leads(M, size=5.0), leads(H, "a", size=9.0)],
            heterogeneous("heterogeneity", "a"),
        ),
        ([*AXES, leads(M, p=0.002), leads(H, TIME, p=0.001)], heterogeneous("surprise", TIME)),
        # 2. an axis that a surprise leads with must show in its own test; time need not
        ([*AXES, leads(H, "group")], misfit("surprise")),
        (
            [along("group", 0.05, status="pass"), leads(H, "group")],
            heterogeneous("surprise", "group"),
        ),
        ([along("group", None, status="not run"), leads(H, "group")], misfit("surprise")),
        ([leads(H, "plane")], misfit("surprise")),
        ([*AXES, leads(H, TIME)], heterogeneous("surprise", TIME)),
        ([*AXES, leads(H)], heterogeneous("surprise")),
        # 3. agreement before drift; drift says itself what it means
        ([*AXES, speaks("drift", H), speaks("agreement")], misfit("agreement")),
        ([speaks("drift", H)], heterogeneous("drift", TIME)),
        # cost speaks only where no posterior did; a failed warmup says nothing of the model
        ([*AXES, speaks("effort", H)], heterogeneous("effort")),
        (
            [speaks("effort", H, axis="source"), speaks("scaling")],
            heterogeneous("effort", "source"),
        ),
        ([speaks("scaling")], misfit("scaling")),
        ([speaks("scaling"), speaks("effort", H), speaks("drift", M)], misfit("drift")),
        ([*AXES, speaks("adaptation")], NOTHING),
    ],
)
def test_attribution_is_the_guarded_precedence(judged, expected):
    assert verdict.attribute(judged, time=TIME) == expected
    assert verdict.attribute(judged[::-1], time=TIME) == expected
