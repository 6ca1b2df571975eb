"""Findings as checks give them, and as the verdict judges them."""

import dataclasses

from scalecheck.checks.finding import Effect, Finding
from scalecheck.checks.verdict import Judged

TIME = "year"


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


def along(axis, p: float | None = 1e-4, *, used=False, status="suspect", size=1.7):
    """Judge heterogeneity along an axis; `used`: the model has it as a column."""
    kind = "misfit" if used else "heterogeneous"
    return judged_as(status, "heterogeneity", p, kind=kind, size=size, axis=axis)


def beside(one):
    """Judge an axis beside which a misfit is seen, too."""
    return one._replace(finding=dataclasses.replace(one.finding, beside="misfit"))


def quiet(*axes, p=0.5):
    """Axes along which nothing is significant."""
    return [along(axis, p, used=axis == "x", status="pass") for axis in axes]


def lacks(columns, p=1e-4):
    """Judge a missing term."""
    return judged_as("suspect", "form", p, kind="misfit", size=5.0, axis=columns)


def leads(kind, axis=None, p=1e-3, size=5.0):
    """Judge a surprise by the meaning of its leading statistic."""
    return judged_as("suspect", "surprise", p, kind=kind, size=size, axis=axis)


def speaks(family, kind="misfit", p=1e-6, **where):
    return judged_as("suspect", family, p, kind=kind, size=1.7, **where)


def judged_as(status, family, p, *, kind, size, **where):
    made = dataclasses.replace(finding(family, p, kind=kind, **where), effect=of_size(size))
    return Judged(made, None if p is None else min(1.0, 5 * p), status)


def of_size(size):
    return Effect("size", size, size - 1, size + 1)
