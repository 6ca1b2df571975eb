"""Divided split predictive check (Li & Huggins, arXiv:2203.15897).

N rows are divided into N^0.49 parts, as their code does, each of which has a single split
predictive check. The p-values of a statistic are held to a uniform distribution by Kolmogorov and
Smirnov's test; the smallest of six is taken, times six.
"""

import numpy as np
from cases import Answer, Case, spent
from discrepancies import smallest
from scipy.stats import kstest
from split_tables import folds, halves, held_out_tails

SEEDS = 10
RATE = 0.49


def check(case: Case) -> Answer:
    """Check every part, and hold the p-values to the uniform distribution."""
    count = int(len(case.table["y"]) ** RATE)
    parts = [halves(case, part) for part in folds(case, count, "divided split")]
    fits = case.fit([fitted for fitted, _ in parts], "divided split")
    done = [(fit, rest) for fit, (_, rest) in zip(fits, parts, strict=True) if fit is not None]
    if not done:
        return Answer(None, note="no draws")
    upper = np.array(
        [
            held_out_tails(case, fit, rest, f"divided split {number}")
            for number, (fit, rest) in enumerate(done)
        ]
    )
    p, statistic = smallest(np.array([_uniform(one) for one in upper.T]))
    return Answer(p, "misfit", note=statistic, **spent(*fits))


def _uniform(tails: np.ndarray) -> float:
    """Give the p-value of the parts that have a tail; NaN without any."""
    known = tails[~np.isnan(tails)]
    return float(kstest(known, "uniform").pvalue) if len(known) else np.nan
