"""From findings to one verdict, with the family-wise rate of false alarms controlled.

Looking after every increment costs nothing, because it is paid for in advance: the plan says how
many looks there will be, and the weights of a family share its error rate among them (Bonferroni).
Drift and surprise give half of it to their steps in equal parts and half to their sum, which sees
what is small in each step; scaling and adaptation give theirs to the increments. Whether the sequence of
increments stops early or not, no more than the planned looks were taken. Naive looking raises 27 %
false alarms over six doublings, Bonferroni 5.6 %, the sum 5.4 %. An e-process would allow any
number of looks, but raises 1.1 % where 5 % are allowed: what it leaves unspent is power, and a
plan knows its looks.

Formulas and sources: docs/statistics.md, "The verdict".
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from scalecheck.checks.attribution import Attribution, attribute_findings
from scalecheck.checks.finding import Finding, not_run
from scalecheck.checks.unusable_fits import UnusableFit, describe_unusable

# Of a study, from the best.
VERDICTS = ("adequate", "suspect", "breaks", "inconclusive")


class Share(NamedTuple):
    """What a family has of the error rate.

    Attributes
    ----------
    given
        Its part of the whole.
    spent
        Its rate of false alarms over the rate that it is held to: below 1 where p-values are bounds (Bonferroni over
        axes and looks that resemble each other, a least effect).
    """

    given: float
    spent: float


# What finds most has most. Chosen on nulls with seeds of their own, and held to account on others: docs/calibration.md.
# Effort keeps a tenth: a doubled trajectory has a p below .005 in three of four hierarchical studies.
SHARES: Mapping[str, Share] = {
    "agreement": Share(0.10, 0.5),
    "heterogeneity": Share(0.27, 0.5),
    "form": Share(0.22, 1.0),
    "drift": Share(0.07, 0.5),
    "surprise": Share(0.17, 1.0),
    "effort": Share(0.09, 0.3),
    "scaling": Share(0.03, 0.1),
    "adaptation": Share(0.05, 0.2),
}
FAMILIES = tuple(SHARES)

# A finding is strong below this share of alpha, and when its effect is large.
STRONG = 0.1

# Families that compare what the data say of the parameters.
_OF_PARAMETERS = ("agreement", "heterogeneity", "drift")


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


def judge(
    findings: Sequence[Finding], alpha: float, shares: Mapping[str, Share] = SHARES
) -> list[Judged]:
    """Adjust the p-values of all findings together.

    Holm's procedure, weighted, across families and within each: the families that ran divide the error rate
    by their shares, findings divide that of their family by weight; what a rejected finding had goes to the
    rest of its family, and to the other families only when the whole family is rejected: spent in
    both places, it would allow false alarms beside a real defect. What some families do not spend is divided
    among all. If each alarms no more often than `Share.spent` says, the probability of any false alarm is at
    most alpha, whatever the dependence and whatever else is wrong.

    References
    ----------
    Holm (1979); weights: Benjamini and Hochberg, doi:10.1111/1467-9469.00072; that shares passed on
    like this control the error: Goeman and Solari, doi:10.1214/10-AOS829.
    """
    adjusted = _adjust([finding for finding in findings if finding.p is not None], shares)
    return [_judge(finding, adjusted.get(id(finding)), alpha) for finding in findings]


def _adjust(findings: Sequence[Finding], shares: Mapping[str, Share]) -> dict[int, float]:
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
        divided = _divided(shares, {one.family for one in waiting.values()})
        factor = {
            family: left / divided[family] for family, left in unspent.items() if family in divided
        }
        scaled = {
            key: (finding.p or 0.0) * factor[finding.family] / finding.weight
            for key, finding in waiting.items()
        }
        key = min(scaled, key=lambda one: scaled[one])
        floor = adjusted[key] = max(floor, min(1.0, scaled[key]))
        unspent[waiting[key].family] -= waiting[key].weight
        del waiting[key]
    return adjusted


def _divided(shares: Mapping[str, Share], families: Iterable[str]) -> dict[str, float]:
    """Divide the error rate among some families, so that together they spend all of it; none has more than all.

    A few families are not taken to spend less of what they are given than all do: of a plan with one axis and one
    step nothing is a bound.
    """
    own = {family: shares[family] for family in families}
    spent = sum(one.given * one.spent for one in own.values())
    least = sum(one.given * one.spent for one in shares.values()) / sum(
        one.given for one in shares.values()
    )
    spent = max(spent, least * sum(one.given for one in own.values()))
    return {family: min(1.0, one.given / spent) for family, one in own.items()}


def _judge(finding: Finding, p_adjusted: float | None, alpha: float) -> Judged:
    if p_adjusted is None:
        return Judged(finding, None, "not run")
    if p_adjusted < STRONG * alpha and finding.large:
        return Judged(finding, p_adjusted, "strong")
    return Judged(finding, p_adjusted, "suspect" if p_adjusted < alpha else "pass")


def is_strong_alone(finding: Finding, alpha: float) -> bool:
    """Whether a finding will be strong whatever the others turn out to be: Bonferroni bounds Holm from above."""
    if finding.p is None or not finding.large:
        return False
    share = _divided(SHARES, SHARES)[finding.family]
    return finding.p / (share * finding.weight) < STRONG * alpha


def add_families_not_run(findings: Sequence[Finding]) -> list[Finding]:
    """Add the families that no finding speaks of, each as not run."""
    named = {finding.family for finding in findings}
    absent = [family for family in FAMILIES if family not in named]
    return [*findings, *(not_run(family, "this study plans no such check") for family in absent)]


def attribute(
    judged: Iterable[Judged], unusable: Container[str] = (), *, time: str | None
) -> Attribution:
    """Attribute what was seen by guarded precedence: see `attribution`.

    Parameters
    ----------
    unusable
        Fits that cannot be used: what rests on them says nothing of the model.
    time
        Name of the axis of time; None where rows have no order.
    """
    judged = list(judged)
    seen = [one.finding for one in judged if one.seen and not _rests_on(one.finding, unusable)]
    return attribute_findings(seen, [one.finding for one in judged], time)


def decide(
    judged: Sequence[Judged],
    unusable: Mapping[str, UnusableFit],
    *,
    needed: Sequence[str] | None = None,
    has_parameters: bool = True,
) -> tuple[str, str]:
    """Give the verdict and, where it is inconclusive, why.

    A strong finding decides if the fits that it rests on are usable; it needs no others. To call a
    study adequate or suspect, every fit is needed: one that cannot be used might have been the one
    to differ. And where a model has parameters, some check must have compared them: rows that
    identify nothing beyond the prior contradict nothing, either.

    Parameters
    ----------
    unusable
        Fits that cannot be used, and why; the reason has one sentence for each cause.
    needed
        Fits without which nothing can be called adequate; None: all.
    has_parameters
        Whether the model has parameters to compare.
    """
    if any(one.status == "strong" and not _rests_on(one.finding, unusable) for one in judged):
        return "breaks", ""
    missed = [fit for fit in unusable if needed is None or fit in needed]
    if missed:
        n_fits = None if needed is None else len(needed)
        return "inconclusive", describe_unusable({fit: unusable[fit] for fit in missed}, n_fits)
    if all(one.status == "not run" for one in judged):
        nothing = "no check could be made: plan at least 3 subsets, an axis or 2 increments"
        return "inconclusive", nothing
    if has_parameters and not any(_compares_parameters(one) for one in judged):
        return "inconclusive", _uncompared(judged)
    return ("suspect", "") if any(one.seen for one in judged) else ("adequate", "")


def _rests_on(finding: Finding, unusable: Container[str]) -> list[str]:
    """Fits that a finding rests on and that cannot be used."""
    return [fit for fit in finding.fits if fit in unusable]


def _compares_parameters(judged: Judged) -> bool:
    return judged.finding.family in _OF_PARAMETERS and judged.status != "not run"


def _uncompared(judged: Sequence[Judged]) -> str:
    """Say why no check compared the parameters; each reason says what to change."""
    reasons: dict[str, list[str]] = {}
    for finding in (one.finding for one in judged):
        if finding.family in _OF_PARAMETERS:
            reasons.setdefault(finding.family, []).append(finding.message)
    said = [f"{_times(family, len(set(each)))}: {each[0]}" for family, each in reasons.items()]
    return f"no check could compare the parameters: {'; '.join(said)}"


def _times(family: str, n_reasons: int) -> str:
    return family if n_reasons == 1 else f"{family}, {n_reasons} times, as here"


def as_json(judged: Judged, p_simulated: float | None = None) -> dict[str, Any]:
    """Give a finding as verdict.json has it.

    Parameters
    ----------
    p_simulated
        Its rank among studies simulated from the model; None where none were.
    """
    finding = judged.finding
    return {
        "family": finding.family,
        "status": judged.status,
        "p": finding.p,
        "p_adjusted": judged.p_adjusted,
        "p_simulated": p_simulated,
        "effect": finding.effect._asdict() if finding.effect else None,
        "where": {name: getattr(finding, name) for name in ("axis", "level", "parameter", "fit")},
        "message": finding.message,
    }
