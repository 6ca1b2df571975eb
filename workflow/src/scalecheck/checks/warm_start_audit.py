"""Whether a warm start ends where a cold one does: two samples of one posterior, compared."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from scalecheck.checks.two_samples import compare_samples


class Audit(NamedTuple):
    """The largest difference between a warm and a cold fit of the same rows.

    Attributes
    ----------
    p
        Of a difference so large in any parameter, mean or sd: Bonferroni.
    parameter
        Its number.
    statistic
        `mean` or `sd`.
    gap
        The difference, in posterior sds.
    """

    p: float
    parameter: int
    statistic: str
    gap: float


def audit_warm_start(
    warm: Float[np.ndarray, "chain draw d"], cold: Float[np.ndarray, "_ _ d"]
) -> Audit:
    """Compare means and sds of two samples, each in units of their Monte Carlo standard errors.

    Parameters
    ----------
    warm, cold
        Compared parameters `(chain, draw, d)`.
    """
    found = compare_samples(warm, cold)
    worst = min(found, key=lambda one: one.p)
    return Audit(min(1.0, len(found) * worst.p), worst.parameter, worst.statistic, worst.gap)
