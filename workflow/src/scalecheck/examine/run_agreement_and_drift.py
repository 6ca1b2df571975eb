"""Compare posteriors: of random subsets, and of nested increments."""

from scalecheck.checks import agreement, drift
from scalecheck.checks.finding import NOTABLE
from scalecheck.evaluation.study_data import StudyData
from scalecheck.examine import influence
from scalecheck.examine.check_results import CheckResults, family_not_run
from scalecheck.results.study_fits import StudyFits, moments


def check_agreement(study_data: StudyData, study: StudyFits) -> CheckResults:
    """Do random subsets agree?"""
    subsets = study.usable("subset")
    planned = [task for task in study.tasks if task.kind == "subset"]
    names = [fit.task.fit for fit in subsets]
    if len(subsets) < 3:
        reason = f"fewer than 3 of {len(planned)} random subsets have a usable posterior"
        return family_not_run("agreement", reason)
    pooled = moments(subsets)
    finding, table = agreement.check_agreement(
        pooled, study_data.prior, names=study_data.names, fits=names
    )
    if finding.p is not None and finding.p < NOTABLE:
        finding = influence.name_influential_rows(finding, study_data, subsets, pooled)
    return CheckResults([finding], {"agreement": table})


def check_drift(study_data: StudyData, study: StudyFits, dispersion: float) -> CheckResults:
    """Do nested increments move more than they should?"""
    fits = study.usable("increment")
    looks = sum(task.kind == "increment" for task in study.tasks) - 1
    if len(fits) < 2:
        return family_not_run("drift", "fewer than 2 increments have a usable posterior")
    findings, table = drift.check_drift(
        moments(fits),
        [fit.task.rows for fit in fits],
        study_data.prior,
        names=study_data.names,
        fits=[fit.task.fit for fit in fits],
        dispersion=dispersion,
        ordered=fits[-1].in_arrival_order,
        looks=looks,
    )
    return CheckResults(findings, {"drift": table})
