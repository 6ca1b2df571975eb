"""Single split predictive check (Li & Huggins, arXiv:2203.15897), half of the rows held out.

The p-values of six statistics are those of rows that were not fitted, so that they are asymptotically uniform
or more spread; the smallest is taken, times six. Both halves are random; units stay whole.
"""

from cases import Answer, Case, spent
from discrepancies import smallest, two_sided
from split_tables import folds, held_out_tails


def check(case: Case) -> Answer:
    """Fit half of the rows and predict the others."""
    fitted, held_out = folds(case, 2, "single split")
    (posterior,) = case.fit([fitted], "single split")
    if posterior is None:
        return Answer(None, note="no draws")
    upper = held_out_tails(case, posterior, held_out, "single split")
    p, statistic = smallest(two_sided(upper))
    return Answer(p, "misfit", note=statistic, **spent(posterior))
