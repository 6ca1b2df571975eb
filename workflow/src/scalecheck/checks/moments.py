"""Posterior moments of several fits, and their coordinates in units of the prior."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

# A direction whose posterior variance is above this share of its prior variance was not learned
# from the rows: what is left after the prior is taken out would be noise
# (docs/statistics.md, "Notation").
IDENTIFIED = 0.9


class Moments(NamedTuple):
    """Posterior moments of the compared parameters on the unconstrained scale, for several fits.

    Attributes
    ----------
    mean
        `(fit, d)`.
    covariance
        `(fit, d, d)`.
    ess
        `(fit,)`, effective draws behind the mean: Monte Carlo error of the mean is `covariance /
        ess`.
    """

    mean: Float[np.ndarray, "fit d"]
    covariance: Float[np.ndarray, "fit d d"]
    ess: Float[np.ndarray, " fit"]

    def only(self, fit: int) -> "Moments":
        """Return the moments of one fit; the leading axis stays, with length one."""
        return Moments._make(np.asarray(part)[fit : fit + 1] for part in self)

    def of(self, chosen: Bool[np.ndarray, " d"]) -> "Moments":
        """Return the moments of some of the parameters."""
        return Moments(self.mean[:, chosen], self.covariance[:, chosen][:, :, chosen], self.ess)


class Prior(NamedTuple):
    """Prior moments of the same parameters on the unconstrained scale.

    Attributes
    ----------
    mean
        `(d,)`.
    covariance
        `(d, d)`, positive definite.
    """

    mean: Float[np.ndarray, " d"]
    covariance: Float[np.ndarray, "d d"]

    def of(self, chosen: Bool[np.ndarray, " d"]) -> "Prior":
        """Return the moments of some of the parameters."""
        return Prior(self.mean[chosen], self.covariance[chosen][:, chosen])


def in_double[M: (Moments, Prior)](moments: M) -> M:
    """Return moments in double precision: those of float32 draws would not survive inversion."""
    return type(moments)(*(np.asarray(part, dtype=float) for part in moments))


def why_not_comparable(moments: Moments, prior: Prior) -> str | None:
    """Return why these moments cannot be compared, or None where they can."""
    if not all(np.isfinite(part).all() for part in moments):
        return "a posterior has no finite moments"
    if not all(np.isfinite(part).all() for part in prior):
        return "the prior has no finite moments"
    if _singular(prior.covariance):
        return "the covariance of the prior is singular"
    if any(_singular(covariance) for covariance in moments.covariance):
        return "the covariance of a posterior is singular: a compared parameter is redundant"
    return None


def whiten(moments: Moments, prior: Prior) -> Moments:
    """Express moments in units of the prior: its mean is 0 and its covariance the identity.

    The eigenvalues of a whitened covariance are the ratios of posterior to prior variance.
    """
    root = np.linalg.cholesky(prior.covariance)
    mean = np.linalg.solve(root, (moments.mean - prior.mean).T).T
    half = np.linalg.solve(root, moments.covariance)
    covariance = np.linalg.solve(root, np.swapaxes(half, -1, -2))
    return Moments(mean, (covariance + np.swapaxes(covariance, -1, -2)) / 2, moments.ess)


def directions_of(
    covariance: Float[np.ndarray, "*fit d d"],
) -> tuple[Float[np.ndarray, "*fit d"], Float[np.ndarray, "*fit d d"]]:
    """Return variances `(..., d)` and directions `(..., d, d)` (columns) of symmetric matrices.

    Variances are floored at the rounding error of the largest, so that they can be divided by.
    """
    variance, directions = np.linalg.eigh(covariance)
    floor = np.finfo(float).eps * np.abs(variance).max(axis=-1, keepdims=True, initial=0.0)
    return np.maximum(variance, floor), directions


def scaled_eigh(
    matrix: Float[np.ndarray, "d d"],
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"], Float[np.ndarray, " d"]]:
    """Return eigenvalues `(d,)` and eigenvectors `(d, d)` of a matrix with a unit diagonal, and its scale `(d,)`.

    A rank must not depend on the units of parameters, nor on how unequally they are known.
    """
    diagonal = np.diag(matrix)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
    values, vectors = np.linalg.eigh(matrix * np.outer(scale, scale))
    return values, vectors, scale


def inverse_root(matrix: Float[np.ndarray, "d d"], tolerance: float) -> Float[np.ndarray, "d r"]:
    """Return L `(d, r)` with `L' M L` the identity and r the rank of M `(d, d)`."""
    values, vectors, scale = scaled_eigh(matrix)
    keep = values > tolerance
    return scale[:, None] * vectors[:, keep] / np.sqrt(values[keep])


def not_identified(n_directions: int, n_parameters: int, by: str = "a subset") -> str:
    """Return the clause that reports dropped directions; empty where none was dropped."""
    if n_directions == 0:
        return ""
    return f"; {n_directions} of {n_parameters} directions not identified by {by}"


def _singular(covariance: Float[np.ndarray, "d d"]) -> bool:
    variance = np.diag(covariance)
    if (variance <= 0).any():
        return True
    correlation = covariance / np.sqrt(np.outer(variance, variance))
    return bool(np.linalg.eigvalsh(correlation)[0] <= 1e-12)
