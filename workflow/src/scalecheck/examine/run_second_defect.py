"""Look for a second defect beside the axes along which parameters differ."""

import dataclasses
from collections.abc import Sequence

from scalecheck.checks.attribution import HETEROGENEOUS, MISFIT, WEAK_AXIS, by_significance
from scalecheck.checks.finding import Finding
from scalecheck.evaluation.study_data import StudyData
from scalecheck.examine.check_results import CheckResults
from scalecheck.examine.run_surprise import second_defect_beside
from scalecheck.results.study_fits import StudyFits
from scalecheck.study.settings import DataSettings


def add_second_defect(
    differs: CheckResults,
    study_data: StudyData,
    study: StudyFits,
    data: DataSettings,
    time: str | None,
) -> CheckResults:
    """Add to the first of the axes what is wrong beside them all.

    Parameters
    ----------
    differs
        The results of `run_heterogeneity`.
    study_data
        Of the data that the fits saw.
    study
        The fits.
    data
        The section `data`.
    time
        Name of the axis of time; None where rows have no order.
    """
    certain = _certain(differs.findings)
    if not certain:
        return differs
    axes = [finding.axis for finding in certain if finding.axis]
    second = second_defect_beside(study_data, study, data, axes, time)
    if second is None:
        return differs
    first = certain[0]
    message = f"{first.message}; {second}"
    changed = dataclasses.replace(first, beside=MISFIT, message=message)
    return differs._replace(findings=[changed if one is first else one for one in differs.findings])


def _certain(findings: Sequence[Finding]) -> list[Finding]:
    """Axes that are no covariates and deviate more than chance would in any study, the first the most."""
    certain = [
        one
        for one in findings
        if one.kind == HETEROGENEOUS and one.large and one.p is not None and one.p <= WEAK_AXIS
    ]
    return sorted(certain, key=by_significance)
