"""What significant findings mean: guarded precedence.

One defect makes several families speak. A parameter that differs between groups widens the spread
of subsets, moves the next increment and surprises it; the axis says most, so that the others are
heard only where no axis is. The smallest p would mislead: ranks end at 1 / (S + 1) and tie.

Formulas and sources: docs/statistics.md, "The verdict".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from scalecheck.checks.finding import Finding
from scalecheck.checks.statistic_design import LAG

MISFIT, HETEROGENEOUS = "misfit", "heterogeneous"

# An axis whose p is larger than this does not outweigh a surprise that speaks of misfit, nor stand
# beside a stronger axis. No p of an axis is smaller than 1 in 10,000; where two statistics are ranked
# together, or four over time, so many in 10,000 can be the smallest.
WEAK_AXIS = 4.5e-4

# A surprise that leads with an axis is believed where that axis' own test is at most this.
SUPPORTED = 0.05


class Attribution(NamedTuple):
    """What the findings mean.

    Attributes
    ----------
    misfit
        The likelihood or the functional form is wrong.
    heterogeneous
        Parameters differ along an axis that the model does not use, or over time.
    axis
        The axis that is named; None where none is.
    family
        The family that decided; None where nothing was seen.
    """

    misfit: bool
    heterogeneous: bool
    axis: str | None = None
    family: str | None = None


class FindingsByFamily(NamedTuple):
    """What the rules look at.

    Attributes
    ----------
    seen
        Significant findings by family, the smallest p first; of equal ones the largest effect.
    axes
        Every finding of heterogeneity, significant or not.
    """

    seen: Mapping[str, list[Finding]]
    axes: Sequence[Finding]

    def most_significant(self, family: str) -> Finding | None:
        """Give the most significant finding of a family; None where it saw nothing."""
        return next(iter(self.seen.get(family, [])), None)


def attribute_findings(seen: Sequence[Finding], every: Sequence[Finding]) -> Attribution:
    """Attribute what was seen; the first rule that has an answer gives it.

    Parameters
    ----------
    seen
        Findings that are significant among all.
    every
        All findings: what an axis' own test says counts even where it is not significant.
    """
    by_family: dict[str, list[Finding]] = {}
    for finding in sorted(seen, key=_by_significance):
        by_family.setdefault(finding.family, []).append(finding)
    found = FindingsByFamily(by_family, [one for one in every if one.family == "heterogeneity"])
    answers = (rule(found) for rule in _PRECEDENCE)
    return next((answer for answer in answers if answer), Attribution(False, False))


def _by_significance(finding: Finding) -> tuple[float, float]:
    size = finding.effect.value if finding.effect else 0.0
    return 1.0 if finding.p is None else finding.p, -size


def _by_axes(found: FindingsByFamily) -> Attribution | None:
    """1. The axis with the smallest p; weaker ones beside it may be its shadows."""
    first = found.most_significant("heterogeneity")
    if first is None:
        return None
    if contradiction := _outweighing(first, found):
        return _one(contradiction, MISFIT, contradiction.axis)
    others = [one for one in found.seen["heterogeneity"][1:] if not _is_weak(one)]
    kinds = {first.kind, *(one.kind for one in others)}
    return Attribution(MISFIT in kinds, HETEROGENEOUS in kinds, first.axis, "heterogeneity")


def _outweighing(axis: Finding, found: FindingsByFamily) -> Finding | None:
    """Exceptions to 1: a surprise that speaks of misfit, beside an axis that no model uses.

    The axis is weak; or it is time, with no other beside it, and the surprise is that neighbours
    resemble each other: sums over blocks of time then differ, though nothing changes.
    """
    surprise = found.most_significant("surprise")
    if surprise is None or surprise.kind != MISFIT or axis.kind != HETEROGENEOUS:
        return None
    if _is_weak(axis):
        return surprise
    alone = all(_is_weak(other) for other in found.seen["heterogeneity"][1:])
    led_by = surprise.effect.name if surprise.effect else ""
    is_shadow = alone and axis.axis == _time(found) and led_by.endswith(LAG)
    return surprise if is_shadow else None


def _is_weak(axis: Finding) -> bool:
    return axis.p is not None and axis.p > WEAK_AXIS


def _by_surprise(found: FindingsByFamily) -> Attribution | None:
    """2. The leading statistic of a surprise, with the axis that it names."""
    surprise = found.most_significant("surprise")
    if surprise and surprise.kind == HETEROGENEOUS and not _is_supported(surprise, found):
        return _one(surprise, MISFIT, None)
    return surprise and _one(surprise, surprise.kind, surprise.axis)


def _is_supported(surprise: Finding, found: FindingsByFamily) -> bool:
    """Whether the axis of a surprise shows in its own test; time needs no other witness."""
    if surprise.axis is None or surprise.axis == _time(found):
        return True
    own = [one.p for one in found.axes if one.axis == surprise.axis and one.p is not None]
    return min(own, default=1.0) <= SUPPORTED


def _time(found: FindingsByFamily) -> str | None:
    """Name of the axis of time: the only one whose test is not that of a fit pooled over levels."""
    over_time = (one.axis for one in found.axes if not (one.fit or "").startswith("axis-"))
    return next(over_time, None)


def _by_others(found: FindingsByFamily) -> Attribution | None:
    """3. The first of the other families that speaks.

    Random subsets are exchangeable: where they disagree, the variance is wrong. (Where they agree too well, that
    says something of the table and nothing of the model.) Drift says itself whether the dispersion of the
    subsets, or random order, explains it. Where no posterior spoke, effort says that some rows are harder than
    others, and then scaling that the geometry changes with the rows.
    """
    spoke = (found.most_significant(name) for name in ("agreement", "drift", "effort", "scaling"))
    said = [finding for finding in spoke if finding]
    first = next((one for one in said if one.family != "agreement" or one.kind), None)
    if first is None:
        return Attribution(False, False, None, said[0].family) if said else None
    kind = {"drift": first.kind, "effort": HETEROGENEOUS}.get(first.family, MISFIT)
    axis = _time(found) if first.family == "drift" else first.axis
    return _one(first, kind, axis if kind == HETEROGENEOUS else None)


def _one(finding: Finding, kind: str, axis: str | None) -> Attribution:
    return Attribution(kind == MISFIT, kind == HETEROGENEOUS, axis, finding.family)


# Adaptation has no rule: a warmup that failed says nothing of the model.
_PRECEDENCE: tuple[Callable[[FindingsByFamily], Attribution | None], ...] = (
    _by_axes,
    _by_surprise,
    _by_others,
)
