"""Whether something else is wrong beside an axis along which parameters differ.

Levels that differ widen the spread of the rows, so that a surprise beside an axis may be its shadow. With the mean of
each level and its slopes taken out of the z-scores, of the observed rows as of their replicates, what levels do is
gone; a wrong dispersion, heavy tails and dependence between neighbours stay. Tails are measured in the scale of each
level: scales that differ make tails heavy, too.

Formulas and sources: docs/statistics.md, "The verdict".
"""

from collections.abc import Sequence

import numpy as np

from scalecheck.checks.member_ranks import Measured
from scalecheck.checks.statistic_design import Statistic
from scalecheck.checks.statistic_messages import Setting
from scalecheck.checks.surprise import NewRows, check_surprise

# A second defect is named where chance does as much in fewer than one study in two hundred: the rate of false alarms
# is spent on the first.
SURE = 0.005
# Where levels have more than this share of the squares, beyond chance, their means and slopes may not describe how they
# differ, and nothing is said.
MOST_EXPLAINED = 0.3


def find_second_defect(
    statistics: Sequence[Statistic],
    values: Measured,
    axes: Sequence[str],
    *,
    step: NewRows,
    rng: np.random.Generator,
) -> str | None:
    """Say in a clause what is wrong with new rows when axes are taken out; None: nothing that is seen.

    Whatever it is, it is a misfit.

    Parameters
    ----------
    statistics
        What was measured within levels.
    values
        `(S + 1, q + 1)` of the observed rows, then of S replicates; last the share that levels have in the squares.
    axes
        Names of the axes.
    step
        The new rows.
    rng
        Breaks ties.
    """
    values, explained = values[:, : len(statistics)], values[:, -1]
    if explained[0] > np.median(explained[1:]) + MOST_EXPLAINED:
        return None
    setting = Setting(time=None, learned=False)
    finding, _ = check_surprise(
        statistics, values, lambda: [values[1:]], step=step, setting=setting, rng=rng
    )
    if finding.p is None or finding.p > SURE or not finding.large:
        return None
    return f"beside {' and '.join(axes)}, {finding.message}"
