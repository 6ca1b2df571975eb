"""Predictive p-values: rows that were seen among replicates of them, by statistics that anybody would take.

Posterior predictive and split predictive checks use the same: mean, standard deviation, smallest
and largest outcome, and the share of zeros; of rows that were not fitted also the log predictive
density, which rows that were fitted have better than their replicates. A statistic that is the same
in all replicates and in the table, such as the share of zeros of a continuous outcome, is left out.
"""

from collections.abc import Mapping

import numpy as np
from cases import Case, Table

NDArray = np.ndarray
NAMES = ("mean", "sd", "smallest", "largest", "zeros", "log score")
# Draws of the posterior that replicates are made for, and those that a log predictive density averages over.
N_REPLICATES, N_SCORING = 500, 16


def tails(
    case: Case, draws: Mapping[str, NDArray], table: Table, purpose: str, *, held_out: bool
) -> NDArray:
    """Give the upper tail of each statistic of a table among replicates, `(statistic,)`.

    Ties are broken at random, so that the tail of a discrete statistic is uniform, too; NaN where all tie.
    """
    replicates = case.replicate(draws, table, purpose)
    both = {name: np.vstack([values, table[name]]) for name, values in replicates.items()}
    few = {name: values[:: N_REPLICATES // N_SCORING][:N_SCORING] for name, values in draws.items()}
    measured = _statistics(both["y"])
    if held_out:
        measured = np.column_stack([measured, case.log_score(few, table, both)])
    drawn, seen = measured[:-1], measured[-1]
    ties = (drawn == seen).mean(axis=0)
    broken = case.rng(f"{purpose} ties").random(len(ties)) * ties
    return np.where(ties == 1, np.nan, (drawn > seen).mean(axis=0) + broken)


def _statistics(y: NDArray) -> NDArray:
    """Give those of outcomes `(replicate, row)` alone: `(replicate, 5)`."""
    columns = (y.mean(1), y.std(1), y.min(1), y.max(1), (y == 0).mean(1))
    return np.column_stack(columns)


def two_sided(upper: NDArray) -> NDArray:
    """Give p-values of tails `(..., statistic)`: of as many replicates none is 0."""
    return np.maximum(2 * np.minimum(upper, 1 - upper), 1 / (1 + N_REPLICATES))


def smallest(p: NDArray) -> tuple[float, str]:
    """Give the smallest p-value, times the number of those that there are, and the statistic that it is of."""
    known = ~np.isnan(p)
    return min(1.0, known.sum() * float(np.nanmin(p))), NAMES[int(np.nanargmin(p))]
