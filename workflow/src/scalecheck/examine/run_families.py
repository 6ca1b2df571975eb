"""Run every family over a study whose fits are done, or the families of increments over one step."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import jax

from scalecheck.checks import drift
from scalecheck.checks.effort import Confirmation
from scalecheck.checks.finding import Finding, step_weight
from scalecheck.checks.verdict import FAMILIES
from scalecheck.evaluation.study_data import StudyData
from scalecheck.examine import run_costs
from scalecheck.examine.check_results import CheckResults, family_not_run
from scalecheck.examine.fitted_rows import all_rows, largest_increment
from scalecheck.examine.looks import Look, SurprisedStep
from scalecheck.examine.run_agreement_and_drift import run_agreement, run_drift
from scalecheck.examine.run_form import run_form
from scalecheck.examine.run_heterogeneity import run_heterogeneity
from scalecheck.examine.run_second_defect import add_second_defect
from scalecheck.examine.run_surprise import run_surprise, surprise_step, weight_of_step
from scalecheck.results.study_fits import FitResult, StudyFits, moments
from scalecheck.runtime.program import Log
from scalecheck.study.settings import DataSettings, IncrementSettings, time_axis


def examine(
    study_data: StudyData,
    study: StudyFits,
    data: DataSettings,
    increments: IncrementSettings,
    log: Log,
    confirmation: Confirmation | None = None,
    seen: Mapping[str, Look] = MappingProxyType({}),
) -> CheckResults:
    """Run every family of checks on a study whose fits are done.

    Parameters
    ----------
    study_data
        Of the data that the fits saw.
    study
        The fits.
    data, increments
        Sections of the study.
    log
        Takes a line for each finding.
    confirmation
        The second fit of the subset that took most leapfrogs, if there was one.
    seen
        Looks at increments as they ended, by fit: what they say is not computed again.
    """
    with jax.enable_x64(True):
        parts = _parts(study_data, study, data, increments, confirmation, seen)
    findings = [finding for part in parts for finding in part.findings]
    for finding in findings:
        p = "no p-value" if finding.p is None else f"p = {finding.p:.2g}"
        log(f"{finding.family}: {p}: {finding.message}")
    tables = {name: table for part in parts for name, table in part.tables.items()}
    return CheckResults(findings, tables)


def _parts(
    study_data: StudyData,
    study: StudyFits,
    data: DataSettings,
    increments: IncrementSettings,
    confirmation: Confirmation | None,
    seen: Mapping[str, Look],
) -> list[CheckResults]:
    surprised = run_surprise(study_data, study, data, seen)
    if not study_data.names:
        others = [name for name in FAMILIES if name != "surprise"]
        reason = "the model has no parameters"
        return [surprised, *(family_not_run(name, reason) for name in others)]
    agreed = run_agreement(study_data, study)
    # What changes with time makes blocks differ, and must not explain that it does.
    effect = None if study_data.likelihood.coupling.ordered else agreed.findings[0].effect
    dispersion = effect.value if effect else 1.0
    largest = largest_increment(study_data, study, data)
    every = all_rows(study_data, study, data, largest)
    differs = run_heterogeneity(study_data, study, largest, every, data, increments)
    return [
        agreed,
        add_second_defect(differs, study_data, study, data, time_axis(data, increments)),
        run_form(study_data, every),
        run_drift(study_data, study, dispersion),
        surprised,
        run_costs.run_effort(study, data.axes, confirmation),
        run_costs.run_scaling(study),
        run_costs.run_adaptation(study),
    ]


def look_at(
    study_data: StudyData, fits: Sequence[FitResult], data: DataSettings, planned: int
) -> Look:
    """Look at an increment as it ends, with every family that looks at each.

    Parameters
    ----------
    study_data
        Of the data that the fits saw.
    fits
        All increments so far, the one that ended last.
    data
        The section `data`.
    planned
        Planned number of increments.
    """
    found: list[Finding] = []
    surprised: SurprisedStep | None = None
    usable = [fit for fit in fits if fit.health.usable]
    looks = max(1, planned - 1)
    if fits[-1].health.usable and len(usable) > 1:
        before, after = usable[-2:]
        if study_data.names:
            found.append(_drift_step(study_data, before, after, looks))
        with jax.enable_x64(True):
            if not study_data.likelihood.no_new_rows():
                weight = weight_of_step(study_data.likelihood, looks)
                surprised = surprise_step(study_data, data, before, after, weight)
    if study_data.names:
        found += run_costs.scaling_step(fits, run_costs.scaling_looks(planned))
        found.append(run_costs.adaptation_step(fits[-1], 1 / planned))
    return Look(found, surprised)


def _drift_step(study_data: StudyData, before: FitResult, after: FitResult, looks: int) -> Finding:
    finding, _ = drift.check_drift_step(
        (moments([before]), moments([after])),
        (before.task.rows, after.task.rows),
        (before.task.fit, after.task.fit),
        step_weight(looks),
        drift.Context(study_data.prior, study_data.names, ordered=after.in_arrival_order),
    )
    return finding
