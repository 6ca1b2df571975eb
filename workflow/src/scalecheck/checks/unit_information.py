"""Scores of whole units, for models in which units have latent sites of their own.

Rows of one unit depend on each other through its latent sites, so that the units are what is
independent. Their information is not known, only its sum over all: the inverse of the posterior
covariance. A level is expected to hold its share of that. Where it holds another, the null is wider
than need be, never narrower.
"""

import numpy as np

from scalecheck.checks.score_test import Scores


def of_units(
    score: np.ndarray, level: np.ndarray, unit: np.ndarray, covariance: np.ndarray
) -> Scores:
    """Return what `heterogeneity.check` takes.

    Along an axis that lies between units, each unit is one entry, and its level may be permuted. An
    axis that crosses units keeps its rows, whose signs are flipped by whole units: permuting levels
    within a unit rejects true models, because rows of a unit depend on each other.

    Parameters
    ----------
    score
        `(rows, d)`, which sum to the score of each unit.
    level
        `(rows,)` codes.
    unit
        `(rows,)` codes.
    covariance
        `(d, d)` posterior covariance of the parameters.
    """
    _, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    size = None
    if not crosses(level, unit):
        size, level = np.bincount(unit), level[first]
        score = np.stack([np.bincount(unit, weights=column) for column in score.T], axis=1)
    share = np.bincount(level) / len(level)
    information = share[:, None, None] * np.linalg.inv(covariance)
    by_unit = unit if size is None else None
    return Scores(score, information, level, by_unit, covariance, size)


def crosses(level: np.ndarray, unit: np.ndarray) -> bool:
    """Say whether any unit has rows, coded `(rows,)` each, in several levels."""
    _, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    return bool((level != level[first][unit]).any())
