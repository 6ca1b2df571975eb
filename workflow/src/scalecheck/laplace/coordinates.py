"""Coordinates of what units share in which its posterior is nearly normal.

Few units hardly tell a standard deviation from zero. Its logarithm, which is its unconstrained value, then has a long
tail to the left, and a t around the mode misses that. Its own scale has no such tail, but an end. So such a value is
the softplus of its coordinate: nearly the coordinate itself where it is large, its exponential where it is small.
Another posterior of a positive value is nearly normal in its logarithm, and skew on its own scale.
"""

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

# From so small a share of a positive value at the mode on, its coordinate is its logarithm.
_SHARE = 0.25
# Below this softplus is the exponential.
_LOW = -15.0
# Logarithms of numbers that float32 has.
_MOST = 60.0


class Coordinates(NamedTuple):
    """How theta depends on its coordinates, element by element.

    Attributes
    ----------
    scale
        `(d,)`: a positive value is `scale * softplus(coordinate / scale)`; infinite where theta is its coordinate.
    """

    scale: Any

    def thetas(self, x: Float[Any, "*draw d"]) -> Float[Any, "*draw d"]:
        """Map coordinates `(..., d)` to theta, unconstrained."""
        xp, is_mapped, scale = self._parts(x)
        return xp.where(is_mapped, xp.log(scale) + _log_softplus(xp, x / scale), x)

    def of_thetas(self, theta: Float[Any, "*draw d"]) -> Float[Any, "*draw d"]:
        """Give the coordinates `(..., d)` of theta."""
        xp, is_mapped, scale = self._parts(theta)
        ratio = xp.exp(xp.where(is_mapped, theta, 0.0)) / scale
        # log(exp(ratio) - 1)
        return xp.where(is_mapped, scale * (ratio + xp.log(-xp.expm1(-ratio))), theta)

    def log_slopes(self, x: Float[Any, "*draw d"]) -> Float[Any, "*draw d"]:
        """Log derivative `(..., d)` of each element of theta by its coordinate."""
        xp, is_mapped, scale = self._parts(x)
        t = x / scale
        slopes = -xp.logaddexp(-t, 0.0) - xp.log(scale) - _log_softplus(xp, t)
        return xp.where(is_mapped, slopes, 0.0)

    def log_volume(self, x: Float[Any, "*draw d"]) -> Float[Any, "*draw"]:
        """Log volume `(...,)` of theta by that of its coordinates."""
        return self.log_slopes(x).sum(axis=-1)

    def gradient(
        self, x: Float[np.ndarray, " d"], by_theta: Float[np.ndarray, " d"]
    ) -> Float[np.ndarray, " d"]:
        """Gradient of a log density of coordinates, from that of the log density of theta."""
        _, is_mapped, scale = self._parts(x)
        slope = np.exp(self.log_slopes(x))
        # Of the sigmoid, whose log is in the slope, and of softplus.
        of_volume = (1 - np.exp(-np.logaddexp(0, -x / scale))) / scale - slope
        return slope * by_theta + np.where(is_mapped, of_volume, 0.0)

    def _parts(self, x: Any) -> tuple[ModuleType, Any, Any]:
        xp = x.__array_namespace__()
        is_mapped = xp.isfinite(self.scale)
        return xp, is_mapped, xp.where(is_mapped, self.scale, 1.0)


def coordinates_at(theta: Float[np.ndarray, " d"], has_tail: Bool[np.ndarray, " d"]) -> Coordinates:
    """Choose coordinates for the posterior around `theta` `(d,)`.

    Parameters
    ----------
    has_tail
        `(d,)` which elements are logarithms with a long tail to the left.
    """
    is_mapped = has_tail & (np.abs(theta) < _MOST)
    return Coordinates(
        np.where(is_mapped, _SHARE * np.exp(np.where(is_mapped, theta, 0.0)), np.inf)
    )


def _log_softplus(xp: ModuleType, t: Any) -> Any:
    is_low = t < _LOW
    return xp.where(is_low, t, xp.log(xp.logaddexp(xp.where(is_low, 0.0, t), 0.0)))
