"""Choose the subset that is fitted again, because its leapfrogs stand out."""

from collections.abc import Sequence

from scalecheck.checks import effort
from scalecheck.results.chains import effort_of
from scalecheck.results.study_fits import FitResult
from scalecheck.study.plan import PlannedFit


def subset_to_confirm(subsets: Sequence[FitResult], alpha: float) -> tuple[PlannedFit | None, str]:
    """Choose the subset whose leapfrogs stand out, if one does, among those whose posterior can be used.

    At alpha itself, and not at the smaller bound that makes a finding strong: a fit of a subset is
    cheap, and no suspicion is to rest on one seed either. Adjusting p-values can only raise them, so
    that whatever the verdict could call suspect is fitted again.

    Parameters
    ----------
    subsets
        All that were fitted.
    alpha
        `verdict.alpha`.

    Returns
    -------
    task
        The subset to fit again, or None.
    reason
        Why there is none.
    """
    finding, _ = effort.check_effort(effort_of(subsets), {})
    if finding.p is None or finding.p >= alpha:
        return None, f"nothing to confirm: {finding.message}"
    return next(fit.task for fit in subsets if fit.task.fit == finding.fit), ""
