"""Predictive p-values: rows that were seen among replicates of them, by statistics that anybody would take.

Posterior predictive and split predictive checks use the same: mean, standard deviation, smallest
and largest outcome, the share of the smallest value that a replicate or the table has (of zeros,
for counts), and the log likelihood at the draw that the replicate came from.
"""

from collections.abc import Mapping

import numpy as np
from cases import Case, Table

NDArray = np.ndarray
NAMES = ("mean", "sd", "smallest", "largest", "zeros", "log score")
# Draws of the posterior that replicates are made for.
N_REPLICATES = 500


def tails(case: Case, draws: Mapping[str, NDArray], table: Table, purpose: str) -> NDArray:
    """Give the upper tail of each statistic of a table among replicates, `(statistic,)`; ties count half."""
    replicates = case.replicate(draws, table, purpose)
    of_draws = case.log_likelihood(draws, table).sum(axis=1)
    of_replicates = case.log_likelihood_of(draws, table, replicates)
    y = replicates["y"]
    zero = min(table["y"].min(), y.min())
    seen = np.array([[*_statistics(table["y"], zero)]]).repeat(len(y), axis=0)
    drawn = np.array([[*_statistics(one, zero)] for one in y])
    seen = np.column_stack([seen, of_draws])
    drawn = np.column_stack([drawn, of_replicates])
    return ((drawn > seen) + 0.5 * (drawn == seen)).mean(axis=0)


def _statistics(y: NDArray, zero: float) -> tuple[float, ...]:
    return y.mean(), y.std(), y.min(), y.max(), (y == zero).mean()


def two_sided(upper: NDArray) -> NDArray:
    """Give p-values of tails `(..., statistic)`: of as many replicates none is 0."""
    return np.maximum(2 * np.minimum(upper, 1 - upper), 1 / (1 + N_REPLICATES))


def smallest(p: NDArray) -> tuple[float, str]:
    """Give the smallest p-value, times their number, and the statistic that it is of."""
    return min(1.0, len(p) * float(p.min())), NAMES[int(p.argmin())]
