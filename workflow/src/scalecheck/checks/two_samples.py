"""Two samples of one posterior: how far their means and sds are apart, in units that tell chance from more."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from scalecheck.diagnostics import array_stats


class Difference(NamedTuple):
    """Between an estimate of one sample and that of another.

    Attributes
    ----------
    parameter
        Its number.
    statistic
        `mean` or `sd`.
    gap, error
        The first less the second, in posterior sds of the second; its Monte Carlo standard error.
    p
        Of a gap so large, of this estimate alone.
    """

    parameter: int
    statistic: str
    gap: float
    error: float
    p: float


def compare_samples(
    one: Float[np.ndarray, "chain draw d"], other: Float[np.ndarray, "_ _ d"]
) -> list[Difference]:
    """Compare means, then sds, of two samples `(chain, draw, d)`, each with its Monte Carlo standard error."""
    found = []
    for statistic in ("mean", "sd"):
        for j in range(one.shape[-1]):
            first, second = one[..., j].astype("float64"), other[..., j].astype("float64")
            value = np.mean if statistic == "mean" else np.std
            error = float(np.hypot(_mcse(first, statistic), _mcse(second, statistic)))
            gap, unit = float(value(first) - value(second)), float(np.std(second) or 1.0)
            p = float(2 * norm.sf(abs(gap) / error)) if error > 0 else float(gap == 0)
            found.append(Difference(j, statistic, gap / unit, error / unit, p))
    return found


def _mcse(draws: Float[np.ndarray, "chain draw"], statistic: str) -> float:
    return float(array_stats.mcse(draws, method=statistic, chain_axis=0, draw_axis=1))
