"""Run the whole plan of a study on many data sets at once, in memory.

Fits of one shape are one batch over all data sets; the checks follow data set by data set, on
programs that are compiled once.
"""

from collections.abc import Sequence
from typing import NamedTuple

from scalecheck.checks.effort import Confirmation
from scalecheck.checks.moments import Prior
from scalecheck.checks.unusable_fits import UnusableFit
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.study_data import StudyData
from scalecheck.examine import confirmation, run_families
from scalecheck.examine.check_results import CheckResults
from scalecheck.fitting import sample_batch
from scalecheck.results.chains import effort_of
from scalecheck.results.study_fits import StudyFits
from scalecheck.runtime.program import Log
from scalecheck.simulation.data_sets import DataSet
from scalecheck.simulation.simulated_fits import Fitting, SimulatedFit, fit_members, fit_plans
from scalecheck.study.settings import Study


class Outcome(NamedTuple):
    """What the checks found in one data set.

    Attributes
    ----------
    found
        Findings and tables.
    unusable
        Fits that cannot be used, and the reason of each.
    fits
        All fits.
    """

    found: CheckResults
    unusable: dict[str, UnusableFit]
    fits: StudyFits


def run_studies(
    settings: Study,
    likelihood: Likelihood,
    prior: Prior,
    data_sets: Sequence[DataSet],
    log: Log,
    *,
    share: bool = False,
) -> list[Outcome]:
    """Fit and check every data set.

    Parameters
    ----------
    settings
        Of the study.
    likelihood
        Shared by all.
    prior
        Moments of the compared parameters.
    data_sets
        All of one plan, so that their fits share shapes.
    log
        Takes lines of progress.
    share
        As of `simulated_fits.fit_plans`.
    """
    fitting = Fitting(settings.sampler, likelihood, data_sets, log)
    fitted = fit_plans(fitting, settings.increments, share=share)
    outcomes: list[Outcome] = []
    for number, (one, fits) in enumerate(zip(data_sets, fitted, strict=True), 1):
        study_data = StudyData(likelihood, one.read, prior, one.seed)
        again = _confirm(settings, likelihood, one, fits)
        found = run_families.examine(
            study_data, fits, settings.data, settings.increments, _silent, again
        )
        outcomes.append(Outcome(found, fits.unusable, fits))
        log(f"checked data set {number}")
    return outcomes


def _confirm(
    settings: Study, likelihood: Likelihood, data_set: DataSet, fits: StudyFits
) -> Confirmation | None:
    """Fit the subset again whose leapfrogs stand out, as the workflow does."""
    subsets = [one for one in fits.done.values() if one.task.kind == "subset"]
    task, _ = confirmation.subset_to_confirm(subsets, settings.verdict.alpha)
    if task is None:
        return None
    fitting = Fitting(settings.sampler, likelihood, [data_set], _silent)
    again = SimulatedFit(0, task, sample_batch.fit_key(data_set.seed, f"{task.fit} again"))
    (done,) = fit_members(fitting, [again])
    if done.result is None:
        return None
    seen = effort_of([done.result])
    return Confirmation(task.fit, seen.leapfrogs[0], usable=bool(seen.usable[0]))


def _silent(line: str) -> None:
    """Let the lines of one data set of many go."""
