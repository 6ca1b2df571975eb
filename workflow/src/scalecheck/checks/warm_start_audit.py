"""Whether a warm start ends where a cold one does: two samples of one posterior, compared."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from scalecheck.diagnostics import array_stats


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
    found = []
    for statistic in ("mean", "sd"):
        for j in range(warm.shape[-1]):
            one, other = warm[..., j].astype("float64"), cold[..., j].astype("float64")
            value = np.mean if statistic == "mean" else np.std
            error = np.hypot(_mcse(one, statistic), _mcse(other, statistic))
            gap = float(value(one) - value(other))
            p = float(2 * norm.sf(abs(gap) / error)) if error > 0 else float(gap == 0)
            found.append(Audit(p, j, statistic, gap / float(np.std(other) or 1.0)))
    worst = min(found, key=lambda one: one.p)
    return worst._replace(p=min(1.0, len(found) * worst.p))


def _mcse(draws: Float[np.ndarray, "chain draw"], statistic: str) -> float:
    return float(array_stats.mcse(draws, method=statistic, chain_axis=0, draw_axis=1))
