"""Exact calibration: where a study ranks among studies that were simulated from its own posterior.

Under the model the study is one of the simulated ones, so that the rank of any of its statistics
among theirs is a p-value, leapfrogs included (on average over the posterior that simulates).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scalecheck.checks import verdict
from scalecheck.checks.finding import Finding
from scalecheck.checks.finding_table import WHOLE_STUDY, findings_of, identity

COLUMNS = ["family", "axis", "fit", "p", "p_simulated", "n_simulated"]
# Beside those of findings.csv, in the table of findings of all simulated studies.
DATA_SET = "data_set"


def findings_by_data_set(table: pd.DataFrame) -> list[list[Finding]]:
    """Read back the findings of each simulated study, from the table of all."""
    if table.empty:
        return []
    return [findings_of(one) for _, one in table.groupby(DATA_SET, sort=True)]


def rank_findings(
    observed: Sequence[Finding], simulated: Sequence[Sequence[Finding]], alpha: float
) -> pd.DataFrame:
    """Rank each finding, and the smallest adjusted p, among those of simulated studies.

    Parameters
    ----------
    observed
        Findings of the study.
    simulated
        Findings of each simulated study.
    alpha
        Family-wise rate of false alarms.

    Returns
    -------
    DataFrame
        One row per finding (family; axis and fit where they are what was asked), and one without any for the
        smallest adjusted p of the study: p, p_simulated, n_simulated.
    """
    # What was not run in a simulated study has not spoken there.
    nulls = [{identity(one): one.p for one in each if one.p is not None} for each in simulated]
    rows: list[tuple[Any, ...]] = []
    for one in observed:
        if one.p is not None:
            others = np.array([null.get(identity(one), 1.0) for null in nulls])
            rows.append((*identity(one), one.p, _rank(one.p, others), len(nulls)))
    smallest = np.array([_smallest(findings, alpha) for findings in simulated])
    own = _smallest(observed, alpha)
    rows.append((*WHOLE_STUDY, own, _rank(own, smallest), len(nulls)))
    return pd.DataFrame(rows, columns=COLUMNS)


def _rank(p: float, others: np.ndarray) -> float:
    """Share of studies, this one included, with a p-value as small."""
    return float(1 + (others <= p).sum()) / (1 + len(others))


def _smallest(findings: Sequence[Finding], alpha: float) -> float:
    judged = verdict.judge(findings, alpha)
    adjusted = [one.p_adjusted for one in judged if one.p_adjusted is not None]
    return min(adjusted, default=1.0)
