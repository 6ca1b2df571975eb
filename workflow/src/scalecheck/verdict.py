"""From findings to one verdict, with the family-wise rate of false alarms controlled."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from scalecheck.checks.finding import Finding

# A finding is strong below this share of alpha, and when its effect is large.
STRONG = 0.1

LATER = {
    "effort": "the comparison of leapfrogs between subsets comes with a later version",
    "scaling": "the regression of cost on rows comes with a later version",
    "adaptation": "the watch over warmup comes with a later version",
}

# An axis whose p is larger than this does not outweigh a surprise that speaks of misfit. No p is smaller than 1 in
# 10,000; where two or three statistics are ranked together, 2 or 3 in 10,000 can be the smallest.
_WEAK_AXIS = 3e-4


class Judged(NamedTuple):
    """A finding among all others.

    Attributes
    ----------
    finding
        As the check made it.
    p_adjusted
        After weighing within its family and Holm across families; None where it did not run.
    status
        `pass`, `suspect`, `strong` or `not run`.
    """

    finding: Finding
    p_adjusted: float | None
    status: str

    @property
    def seen(self) -> bool:
        """Whether it is suspect or strong."""
        return self.status in ("suspect", "strong")


def judge(findings: Sequence[Finding], alpha: float) -> list[Judged]:
    """Adjust the p-values of all findings together.

    Holm's procedure across families, the weighted one within each: families share the error rate
    equally, findings share that of their family by weight; what a rejected finding had goes to the
    rest of its family, and to the other families only when the whole family is rejected: spent in
    both places, it would allow false alarms beside a real defect. The probability of any false
    alarm is at most alpha, whatever the dependence and whatever else is wrong.

    References
    ----------
    Holm (1979); weights: Benjamini and Hochberg, doi:10.1111/1467-9469.00072; that shares passed on
    like this control the error: Goeman and Solari, doi:10.1214/10-AOS829.
    """
    adjusted = _adjust([finding for finding in findings if finding.p is not None])
    return [_judge(finding, adjusted.get(id(finding)), alpha) for finding in findings]


def _adjust(findings: Sequence[Finding]) -> dict[int, float]:
    """Adjusted p of each finding that was run, by identity."""
    waiting = {id(finding): finding for finding in findings}
    # The first rejection in a family pays for all that was planned in it, run or not.
    unspent = dict.fromkeys((finding.family for finding in findings), 0.0)
    for finding in findings:
        unspent[finding.family] += finding.weight
    unspent = {family: max(1.0, weight) for family, weight in unspent.items()}
    adjusted: dict[int, float] = {}
    floor = 0.0
    while waiting:
        n_families = len({finding.family for finding in waiting.values()})
        scaled = {
            key: (finding.p or 0.0) * n_families * unspent[finding.family] / finding.weight
            for key, finding in waiting.items()
        }
        key = min(scaled, key=lambda one: scaled[one])
        floor = adjusted[key] = max(floor, min(1.0, scaled[key]))
        unspent[waiting[key].family] -= waiting[key].weight
        del waiting[key]
    return adjusted


def _judge(finding: Finding, p_adjusted: float | None, alpha: float) -> Judged:
    if p_adjusted is None:
        return Judged(finding, None, "not run")
    if p_adjusted < STRONG * alpha and finding.large:
        return Judged(finding, p_adjusted, "strong")
    return Judged(finding, p_adjusted, "suspect" if p_adjusted < alpha else "pass")


def is_strong_alone(finding: Finding, n_families: int, alpha: float) -> bool:
    """Whether a finding will be strong whatever the others turn out to be."""
    if finding.p is None or not finding.large:
        return False
    return n_families * finding.p / finding.weight < STRONG * alpha


class Attribution(NamedTuple):
    """What the findings mean.

    Attributes
    ----------
    misfit
        The likelihood or the functional form is wrong.
    heterogeneous
        Parameters differ along an axis that the model does not use, or over time.
    """

    misfit: bool
    heterogeneous: bool


def attribute(judged: Iterable[Judged]) -> Attribution:
    """Attribute what was seen by guarded precedence: axes, then surprise, then agreement, then drift.

    A parameter that changes along a named axis also widens the spread of subsets and surprises the
    next increment; the axis says more than they do, so that they are heard only where no axis is.
    The exception: an axis that the model does not use, and whose p is not small, beside a surprise.
    """
    seen = [one.finding for one in judged if one.seen]
    by_family = {
        family: [f for f in seen if f.family == family]
        for family in ("heterogeneity", "surprise", "agreement", "drift")
    }
    axes = by_family["heterogeneity"]
    if axes:
        strongest = min(axes, key=lambda finding: finding.p or 0.0)
        weak = strongest.kind == "heterogeneous" and (strongest.p or 0.0) > _WEAK_AXIS
        surprised = bool(weak and by_family["surprise"])
        kinds = {finding.kind for finding in axes}
        return Attribution(
            "misfit" in kinds or surprised, "heterogeneous" in kinds and not surprised
        )
    for family in ("surprise", "agreement", "drift"):
        kinds = {finding.kind for finding in by_family[family]}
        if kinds:
            return Attribution("misfit" in kinds, "heterogeneous" in kinds)
    return Attribution(False, False)


def decide(judged: Sequence[Judged], unusable: Mapping[str, str]) -> tuple[str, str]:
    """Give the verdict and, where it is inconclusive, why.

    What is strong rests on usable fits alone and needs no others. To call a study adequate or
    suspect, every fit is needed: one that cannot be used might have been the one to differ.

    Parameters
    ----------
    unusable
        Fits that cannot be used, and the reason of each.
    """
    statuses = {one.status for one in judged}
    if "strong" in statuses:
        return "misfit", ""
    if statuses <= {"not run"}:
        return (
            "inconclusive",
            "no check could be made: plan at least 3 subsets, an axis or 2 increments",
        )
    if unusable:
        return "inconclusive", "; ".join(f"{fit}: {reason}" for fit, reason in unusable.items())
    if "suspect" in statuses:
        return "suspect", ""
    return "adequate", ""


def as_json(judged: Judged) -> dict[str, Any]:
    """Give a finding as verdict.json has it."""
    finding = judged.finding
    return {
        "family": finding.family,
        "status": judged.status,
        "p": finding.p,
        "p_adjusted": judged.p_adjusted,
        "effect": finding.effect._asdict() if finding.effect else None,
        "where": {name: getattr(finding, name) for name in ("axis", "level", "parameter", "fit")},
        "message": finding.message,
    }


def later_findings() -> list[Finding]:
    """Families that this version does not have, each with its reason."""
    return [
        Finding(family=family, p=None, weight=0.0, large=False, effect=None, message=reason)
        for family, reason in LATER.items()
    ]
