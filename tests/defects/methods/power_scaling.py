"""Sensitivity to power scaling of prior and likelihood: `psense_summary` of ArviZ (Kallioinen et al. 2024).

It gives no p-value. Its rule, that a parameter whose sensitivity to the prior is .05 or more is suspect, is
written as one: .0025 divided by the largest sensitivity to the prior, which is .05 at its threshold.
"""

import logging

import numpy as np
from arviz_stats import psense_summary
from cases import Answer, Case, spent
from trees import tree_of

THRESHOLD = 0.05


def check(case: Case) -> Answer:
    """Scale the prior and the likelihood of the shared posterior."""
    tree = tree_of(case)
    if tree is None:
        return Answer(None, note="no draws")
    log = logging.getLogger("arviz_stats")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        # Of what is constant, such as a corner of a Cholesky factor, the sensitivity is 0 / 0.
        with np.errstate(invalid="ignore"):
            found = psense_summary(tree, threshold=THRESHOLD, round_to=6)
    finally:
        log.setLevel(level)
    worst = float(found["prior"].max())
    p = 1.0 if worst <= THRESHOLD**2 else THRESHOLD**2 / worst
    named = str(found["prior"].idxmax()) if worst >= THRESHOLD else ""
    return Answer(p, note=named, **spent(case.posterior))
