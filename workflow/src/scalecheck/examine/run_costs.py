"""Compare what fits cost: subsets with one another, increments with what those before predict."""

from collections.abc import Sequence

from scalecheck.checks import adaptation, effort, scaling
from scalecheck.checks.effort import Confirmation
from scalecheck.checks.finding import Finding
from scalecheck.checks.scaling import FEWEST_BEFORE
from scalecheck.examine.check_results import CheckResults
from scalecheck.results.chains import (
    chains_of,
    effort_of,
    growth_of,
    seconds_per_gradient,
    timed_rows,
)
from scalecheck.results.study_fits import FitResult, StudyFits


def run_effort(
    study: StudyFits, axes: Sequence[str], confirmation: Confirmation | None = None
) -> CheckResults:
    """Does one random subset need anomalously many leapfrogs, of those that can be used?

    Parameters
    ----------
    study
        The fits; levels may be missing.
    axes
        `data.axes`, whose level subsets are described.
    confirmation
        From `confirm.read`; None where no subset was fitted again.
    """
    levels = {axis: _fitted(study, "level", axis) for axis in axes}
    described = {axis: effort_of(fits) for axis, fits in levels.items() if fits}
    subsets = effort_of(_fitted(study, "subset"))
    finding, table = effort.check_effort(subsets, described, confirmation)
    return CheckResults([finding], {"effort": table})


def run_scaling(study: StudyFits) -> CheckResults:
    """Do the leapfrogs of increments grow consistently?"""
    fits = _fitted(study, "increment")
    seconds = seconds_per_gradient(fits)
    planned = sum(task.kind == "increment" for task in study.tasks)
    looks = scaling_looks(planned)
    findings, table = scaling.check_scaling(
        growth_of(fits), seconds, looks, timed_rows=timed_rows(fits)
    )
    return CheckResults(findings, {"scaling": table})


def run_adaptation(study: StudyFits) -> CheckResults:
    """Did the warmup of every increment work? The other fits are tabulated only."""
    planned = sum(task.kind == "increment" for task in study.tasks)
    increments = [chains_of(fit) for fit in _fitted(study, "increment")]
    others = [chains_of(fit) for fit in study.done.values() if fit.task.kind != "increment"]
    ended = study.stopped.items()
    stopped = {fit: why for fit, why in ended if study.recorded[fit].kind == "increment"}
    findings, table = adaptation.check_adaptation(increments, 1 / max(1, planned), others, stopped)
    return CheckResults(findings, {"adaptation": table})


def scaling_looks(planned: int) -> int:
    """Looks at scaling among so many planned increments: each from the third on."""
    return max(1, planned - FEWEST_BEFORE)


def scaling_step(fits: Sequence[FitResult], looks: int) -> list[Finding]:
    """Judge the leapfrogs of the last of the increments so far; nothing of the first two.

    Parameters
    ----------
    fits
        All increments so far.
    looks
        From `scaling_looks`.
    """
    if len(fits) <= FEWEST_BEFORE:
        return []
    return [scaling.check_scaling_step(growth_of(fits), looks)]


def adaptation_step(fit: FitResult, weight: float) -> Finding:
    """Judge the chains of an increment that has ended, whether its posterior can be used or not.

    Parameters
    ----------
    fit
        The increment.
    weight
        1 / planned increments.
    """
    return adaptation.check_adaptation_step(chains_of(fit), weight)


def _fitted(study: StudyFits, kind: str, axis: str = "") -> list[FitResult]:
    """Fits of a kind, usable or not: what cannot be used still cost what it cost."""
    return [fit for fit in study.done.values() if (fit.task.kind, fit.task.axis) == (kind, axis)]
