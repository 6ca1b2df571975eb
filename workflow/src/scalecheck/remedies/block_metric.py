"""Which sites are correlated in the posterior, so that a block of them should have a dense metric."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse.csgraph import connected_components

from scalecheck.model import density
from scalecheck.remedies.problem import Problem
from scalecheck.remedies.ranking import LEAST_ESS, bulk_ess

# A dense metric of more coordinates takes longer than most gradients, and more draws than warmup has.
MOST_DENSE = 300
# Correlations that a diagonal metric feels; in standard errors, those that are no chance.
_STRONG, _SURE = 0.5, 4.5
_POINTS = 16  # at which curvature is taken


def correlated(problem: Problem, z: np.ndarray) -> np.ndarray:
    """Say which scalars are correlated at 0.5 or more, `(d, d)`; nothing where there are no draws.

    Of draws `(chain, draw, d)` whose ESS is 100 or more by their own correlation. Chains that mix badly say
    little of it, for random walks correlate by chance: then by the inverse of the mean curvature of the energy at some
    of the draws, which needs no mixing, where the model has no more than 300 scalars. Of larger models by
    the draws again, where it is 4.5 standard errors from 0 as well, by the lower ESS of the two.
    """
    d = z.shape[-1]
    if z.shape[1] < 10:
        return np.zeros((d, d), bool)
    ess = np.maximum(bulk_ess(z), 1.0)
    if ess.min() < LEAST_ESS and d == problem.n_scalars <= MOST_DENSE:
        return _strong(_by_curvature(problem, z))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.corrcoef(z.reshape(-1, d).astype("float64"), rowvar=False).reshape(d, d)
    return _strong(r) & (np.abs(r) > _SURE / np.sqrt(np.minimum.outer(ess, ess)))


def _strong(r: np.ndarray) -> np.ndarray:
    return (np.abs(np.nan_to_num(r)) > _STRONG) & ~np.eye(len(r), dtype=bool)


def _by_curvature(problem: Problem, z: np.ndarray) -> np.ndarray:
    """Correlations `(d, d)` of the normal whose precision is the mean Hessian; 0 where that is none."""
    energy = density.potential(problem.batch.function)(**problem.batch.arrays_of())
    flat = z[:, :: max(1, z.shape[1] * len(z) // _POINTS)].reshape(-1, z.shape[-1])

    @jax.jit
    def mean(points: jax.Array) -> jax.Array:
        hessian = jax.hessian(lambda vector: energy(problem.vector.unpack(vector)))
        return jax.lax.map(hessian, points).mean(axis=0)

    precision = np.asarray(mean(jnp.asarray(flat)), "float64")
    if not np.isfinite(precision).all() or np.linalg.eigvalsh(precision)[0] <= 0:
        return np.zeros_like(precision)
    covariance = np.linalg.inv(precision)
    sd = np.sqrt(np.diag(covariance))
    return covariance / np.outer(sd, sd)


def blocks_of(where: Sequence[tuple[str, slice]], strong: np.ndarray) -> list[list[str]]:
    """Cluster sites: the connected components of those that are correlated, or that are within themselves.

    Parameters
    ----------
    where
        Where each site lies among the scalars.
    strong
        `(d, d)` which scalars are correlated.

    Returns
    -------
    list
        Blocks of no more than 300 scalars.
    """
    linked = np.array([[strong[part, other].any() for _, other in where] for _, part in where])
    n_clusters, cluster = connected_components(linked, directed=False)
    members = [np.flatnonzero(cluster == number).tolist() for number in range(n_clusters)]
    sizes = np.array([part.stop - part.start for _, part in where])
    return [
        [where[i][0] for i in one]
        for one in members
        if linked[np.ix_(one, one)].any() and sizes[one].sum() <= MOST_DENSE
    ]
