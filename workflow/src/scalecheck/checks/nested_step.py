"""One step of a sequence of nested posteriors: how far it moved, and how far it should have.

The posterior mean of nested data is a martingale under the model: from n to g n rows it moves with
variance `V - V'` (Hausman 1978). The estimate of that difference fails where posteriors are skewed
or rows informative by luck, so a second one, what the later posterior predicts for the earlier one,
has to agree.

Formulas and sources: docs/statistics.md, section 3.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from scalecheck.checks.moments import IDENTIFIED, Moments, Prior, directions_of, whiten

# The variance of a shift is at least this share of the earlier posterior variance: V - V' is a
# difference of estimates.
FLOOR = 0.1


class NestedStep(NamedTuple):
    """What one step from n to g n rows is judged by.

    Attributes
    ----------
    fit
        The later increment.
    rows
        Rows before and after.
    hausman, predicted
        The squared shift over `V - V'`, and over what the later posterior predicts for that
        difference.
    df
        Directions identified by the later posterior.
    n_dropped
        The other directions.
    shift
        `(d,)` shift of the posterior means, in posterior sds of the earlier increment.
    usual
        `(d,)` sd of that shift under the model, same unit.
    contraction, contraction_expected, contraction_sd
        Rate at which the log volume of the posterior shrinks with log rows, per direction; what the
        prior lets one expect; the Monte Carlo part of its sd. Description only: the information in
        the new rows varies, too.
    """

    fit: str
    rows: tuple[int, int]
    hausman: float
    predicted: float
    df: int
    n_dropped: int
    shift: Float[np.ndarray, " d"]
    usual: Float[np.ndarray, " d"]
    contraction: float
    contraction_expected: float
    contraction_sd: float

    @property
    def growth(self) -> float:
        """Rows after over rows before."""
        return self.rows[1] / self.rows[0]


def measure_step(
    before: Moments, after: Moments, rows: tuple[int, int], fit: str, prior: Prior
) -> NestedStep:
    """Compare two nested posteriors in units of the prior, along the directions of the later one.

    Parameters
    ----------
    before, after
        Posterior moments of one fit each, unconstrained scale.
    rows
        Rows before and after.
    fit
        The later increment.
    prior
        Prior moments of the same parameters.
    """
    growth = rows[1] / rows[0]
    early, late = whiten(before, prior), whiten(after, prior)
    ratio, directions = directions_of(late.covariance[0])
    noise = early.covariance[0] / early.ess[0] + late.covariance[0] / late.ess[0]
    expected = _earlier_variance(ratio, growth)
    predicted = directions @ np.diag(np.maximum(expected - ratio, 0)) @ directions.T + noise
    keep = directions[:, ratio < IDENTIFIED]
    move = (late.mean - early.mean)[0]
    variance, contraction = _hausman_variance(early, late, keep)
    n_kept = keep.shape[1]
    spent = np.log(growth) * max(n_kept, 1)
    return NestedStep(
        fit=fit,
        rows=rows,
        hausman=_square(keep.T @ move, variance),
        predicted=_square(keep.T @ move, keep.T @ predicted @ keep),
        df=n_kept,
        n_dropped=len(ratio) - n_kept,
        shift=(after.mean - before.mean)[0] / np.sqrt(np.diag(before.covariance[0])),
        usual=_usual(before, after, prior, predicted),
        contraction=contraction / spent,
        contraction_expected=np.log(expected / ratio)[ratio < IDENTIFIED].sum() / spent,
        contraction_sd=np.sqrt(2 * n_kept * (1 / early.ess[0] + 1 / late.ess[0])) / spent,
    )


def _earlier_variance(ratio: Float[np.ndarray, " d"], growth: float) -> Float[np.ndarray, " d"]:
    """Return the earlier posterior variance: 1/g of the information, and the whole prior."""
    information = np.maximum(1 / ratio - 1, 0) / growth
    return np.maximum(1 / (information + 1), ratio)


def _hausman_variance(early: Moments, late: Moments, keep: np.ndarray) -> tuple[np.ndarray, float]:
    """Return `V - V'`, floored and with Monte Carlo error, and `log |V| / |V'|`, where kept."""
    root = np.linalg.cholesky(keep.T @ early.covariance[0] @ keep)
    half = np.linalg.solve(root, keep.T @ late.covariance[0] @ keep)
    share, directions = directions_of(np.linalg.solve(root, half.T))
    variance = np.maximum(1 - share, FLOOR) + 1 / early.ess[0] + share / late.ess[0]
    axes = root @ directions
    return (axes * variance) @ axes.T, float(-np.log(share).sum())


def _square(move: Float[np.ndarray, " r"], covariance: Float[np.ndarray, "r r"]) -> float:
    return float(move @ np.linalg.solve(covariance, move))


def _usual(before: Moments, after: Moments, prior: Prior, predicted: np.ndarray) -> np.ndarray:
    """Return the sd of each shift by the larger estimate, in earlier posterior sds."""
    early, late = np.diag(before.covariance[0]), np.diag(after.covariance[0])
    hausman = np.maximum(early - late, FLOOR * early) + early / before.ess[0] + late / after.ess[0]
    root = np.linalg.cholesky(prior.covariance)
    return np.sqrt(np.maximum(hausman, np.diag(root @ predicted @ root.T)) / early)
