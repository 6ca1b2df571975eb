"""How the cost of a gradient grows with the rows: a power of them above a floor.

A straight line in logs would be biased where overhead matters, by a third to two thirds.

Formulas and sources: docs/statistics.md, section 6.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy.optimize import nnls
from scipy.stats import f as fisher

# Linear to cubic (a Gaussian process); another exponent than 1 has to earn its place.
EXPONENTS = np.linspace(1.0, 3.0, 41)
TIMING_SD, TIMING_DF, EXPONENT_ALPHA = 0.05, 4, 0.01


class GradientCost(NamedTuple):
    """Seconds of a gradient as `fixed + per_row rows^exponent`.

    Attributes
    ----------
    fixed, per_row, exponent
        Scalars; NaN where nothing was timed.
    """

    fixed: float
    per_row: float
    exponent: float

    def predict(self, rows: Real[np.ndarray, " fit"]) -> Float[np.ndarray, " fit"]:
        """Seconds of one gradient with so many rows, `(fit,)`."""
        return self.fixed + self.per_row * rows.astype("float64") ** self.exponent


def cost_per_gradient(
    rows: Real[np.ndarray, " fit"], seconds: Float[np.ndarray, " fit"]
) -> GradientCost:
    """Fit how the cost of a gradient grows with the rows.

    Relative errors, non-negative least squares, the exponent by its profile. It is 1 unless that
    is refuted: a small error of the exponent is a large one of the extrapolation.

    Parameters
    ----------
    rows
        `(fit,)`.
    seconds
        `(fit,)`; what is not finite and positive is left out.
    """
    timed = np.isfinite(seconds) & (seconds > 0)
    rows, seconds = np.asarray(rows, dtype="float64")[timed], np.asarray(seconds)[timed]
    if not len(rows):
        return GradientCost(np.nan, np.nan, np.nan)
    if len(np.unique(rows)) == 1:
        return GradientCost(0.0, float(np.mean(seconds / rows)), 1.0)
    if len(np.unique(rows)) == 2:
        return _fit(rows, seconds, 1.0)[0]
    profile = [_fit(rows, seconds, exponent) for exponent in EXPONENTS]
    linear, (best, least) = profile[0], min(profile, key=lambda one: one[1])
    df = TIMING_DF + len(rows) - 3
    noise = (TIMING_DF * TIMING_SD**2 + least) / df
    refuted = fisher.sf((linear[1] - least) / noise, 1, df) < EXPONENT_ALPHA
    return best if refuted else linear[0]


def _fit(rows: np.ndarray, seconds: np.ndarray, exponent: float) -> tuple[GradientCost, float]:
    """Cost with this exponent, and its sum of squared relative errors."""
    # Of order one, or the solver would see two columns of very different length.
    unit = rows.max()
    design = np.stack([np.ones(len(rows)), (rows / unit) ** exponent], axis=1)
    found, residual = nnls(design * (seconds.mean() / seconds)[:, None], np.ones(len(rows)))
    fixed, per_row = found * seconds.mean()
    return GradientCost(float(fixed), float(per_row / unit**exponent), float(exponent)), residual**2
