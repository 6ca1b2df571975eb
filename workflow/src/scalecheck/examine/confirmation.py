"""Choose the subset that is fitted again, because its leapfrogs stand out."""

from collections.abc import Sequence
from typing import NamedTuple

from scalecheck.checks import effort
from scalecheck.results.chains import effort_of
from scalecheck.results.study_fits import FitResult
from scalecheck.study.plan import PlannedFit


class SubsetToConfirm(NamedTuple):
    """What there is to confirm.

    Attributes
    ----------
    task
        The subset to fit again, or None.
    reason
        Why there is none.
    """

    task: PlannedFit | None
    reason: str


def subset_to_confirm(subsets: Sequence[FitResult], alpha: float) -> SubsetToConfirm:
    """Choose the subset whose leapfrogs stand out, if one does, whether its posterior can be used or not.

    At alpha itself, and not at the smaller bound that makes a finding strong: a fit of a subset is
    cheap, and no suspicion is to rest on one seed either. Adjusting p-values can only raise them, so
    that whatever the verdict could call suspect is fitted again.

    Parameters
    ----------
    subsets
        All that were fitted.
    alpha
        `verdict.alpha`.
    """
    finding, _ = effort.check_effort(effort_of(subsets), {})
    if finding.p is None or finding.p >= alpha:
        return SubsetToConfirm(None, f"nothing to confirm: {finding.message}")
    worst = next(fit for fit in subsets if fit.task.fit == finding.fit)
    return SubsetToConfirm(worst.task, "")
