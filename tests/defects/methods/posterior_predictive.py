"""Posterior predictive p-values (Rubin 1984; Gelman, Meng & Stern 1996), as ArviZ draws them.

The smallest of the two-sided p-values of five statistics, times five. They use the data twice, so
that a p-value is too large where a statistic is one that the model fits.
"""

from cases import Answer, Case, spent
from discrepancies import N_REPLICATES, smallest, tails, two_sided


def check(case: Case) -> Answer:
    """Rank the table among replicates of it."""
    if case.posterior is None:
        return Answer(None, note="no draws")
    draws = case.posterior.choose(N_REPLICATES)
    upper = tails(case, draws, case.table, "posterior predictive", held_out=False)
    p, statistic = smallest(two_sided(upper))
    return Answer(p, "misfit", note=statistic, **spent(case.posterior))
