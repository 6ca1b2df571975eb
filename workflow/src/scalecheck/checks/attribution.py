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

# An axis whose p is larger than this does not outweigh a surprise that speaks of misfit, nor stand beside a stronger
# axis. The smallest p that flips give is 1 in 1,000 plus 3,000 over the share of the axis: 2.5e-4 where there is one.
WEAK_AXIS = 4.5e-4

# A missing term beside a stronger axis is a defect of its own where its p is at most this.
SURE_TERM = 0.005

# A surprise that leads with an axis is believed where that axis' own test is at most this.
SUPPORTED = 0.05


class Place(NamedTuple):
    """Where a defect is seen.

    Attributes
    ----------
    family
        The family that names it.
    axis
        The axis; None where none is.
    """

    family: str
    axis: str | None


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
    beside
        Where a second defect is seen, of the other kind; None: there is none.
    """

    misfit: bool
    heterogeneous: bool
    axis: str | None = None
    family: str | None = None
    beside: Place | None = None


class FindingsByFamily(NamedTuple):
    """What the rules look at.

    Attributes
    ----------
    seen
        Significant findings by family, the most significant for its share of the family first; of equal ones the
        largest effect.
    axes
        Every finding of heterogeneity, significant or not.
    time
        Name of the axis of time; None where rows have no order.
    """

    seen: Mapping[str, list[Finding]]
    axes: Sequence[Finding]
    time: str | None

    @property
    def along_columns(self) -> list[Finding]:
        """Significant findings along columns, the smallest p first."""
        found = [*self.seen.get("heterogeneity", []), *self.seen.get("form", [])]
        return sorted(found, key=by_significance)

    def most_significant(self, family: str) -> Finding | None:
        """Give the most significant finding of a family; None where it saw nothing."""
        return next(iter(self.seen.get(family, [])), None)


def attribute_findings(
    seen: Sequence[Finding], every: Sequence[Finding], time: str | None
) -> Attribution:
    """Attribute what was seen; the first rule that has an answer gives it.

    Parameters
    ----------
    seen
        Findings that are significant among all.
    every
        All findings: what an axis' own test says counts even where it is not significant.
    time
        Name of the axis of time; None where rows have no order.
    """
    by_family: dict[str, list[Finding]] = {}
    for finding in sorted(seen, key=_by_significance_in_family):
        by_family.setdefault(finding.family, []).append(finding)
    axes = [one for one in every if one.family == "heterogeneity"]
    found = FindingsByFamily(by_family, axes, time)
    answers = (rule(found) for rule in _PRECEDENCE)
    return next((answer for answer in answers if answer), Attribution(False, False))


def by_significance(finding: Finding) -> tuple[float, float]:
    """Sort findings by p, of equal ones the largest effect first."""
    size = finding.effect.value if finding.effect else 0.0
    return 1.0 if finding.p is None else finding.p, -size


def _by_significance_in_family(finding: Finding) -> tuple[float, float]:
    """Sort findings of a family by p over their share of it, of equal ones the largest effect first.

    To the fourth digit: ranks end at 1 in 3,000 of a share, whatever it is.
    """
    p, size = by_significance(finding)
    return round(p / finding.weight, 4), size


def _by_axes(found: FindingsByFamily) -> Attribution | None:
    """1. The axis, or the covariate that lacks a term, with the smallest p; weaker ones may be its shadows.

    A second defect is named beside it: another such axis or covariate of the other kind, or what stays in the rows when
    the axes are taken out.
    """
    axes = found.along_columns
    if not axes:
        return None
    first = axes[0]
    if contradiction := _outweighing(first, found):
        return _one(contradiction, MISFIT, contradiction.axis)
    others = [Place(one.family, one.axis) for one in axes[1:] if _is_second(one, first)]
    others += [Place("surprise", None) for one in axes if one.beside and one.beside != first.kind]
    kinds = {MISFIT, HETEROGENEOUS} if others else {first.kind}
    beside = others[0] if others else None
    return Attribution(MISFIT in kinds, HETEROGENEOUS in kinds, first.axis, first.family, beside)


def _is_second(other: Finding, first: Finding) -> bool:
    """Whether a finding is a defect of its own beside the first: of the other kind, and no shadow."""
    # Groups that differ bend no effect of a covariate that is spread over them alike.
    least = SURE_TERM if other.family == "form" else WEAK_AXIS
    return other.kind != first.kind and other.p is not None and other.p <= least


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
    alone = all(_is_weak(other) for other in found.along_columns[1:])
    led_by = surprise.effect.name if surprise.effect else ""
    is_shadow = alone and axis.axis == found.time and led_by.endswith(LAG)
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
    if surprise.axis is None or surprise.axis == found.time:
        return True
    own = [one.p for one in found.axes if one.axis == surprise.axis and one.p is not None]
    return min(own, default=1.0) <= SUPPORTED


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
    axis = found.time if first.family == "drift" else first.axis
    return _one(first, kind, axis if kind == HETEROGENEOUS else None)


def _one(finding: Finding, kind: str, axis: str | None) -> Attribution:
    return Attribution(kind == MISFIT, kind == HETEROGENEOUS, axis, finding.family)


# Adaptation has no rule: a warmup that failed says nothing of the model.
_PRECEDENCE: tuple[Callable[[FindingsByFamily], Attribution | None], ...] = (
    _by_axes,
    _by_surprise,
    _by_others,
)
