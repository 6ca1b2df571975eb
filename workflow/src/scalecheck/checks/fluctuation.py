"""Scores summed by level, and how far they would fluctuate if nothing changed.

Scores of one pooled fit must fluctuate around zero along any axis (Zeileis & Hornik 2007). Weighing
them with their outer product makes their size immune to a wrong dispersion, which `agreement` looks
for; flipping their signs at random, whole units at once, gives the null where levels are few or
unequal.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

N_FLIPS, N_FLIPS_MORE = 999, 9_999
# Signs held at a time: more would leave the cache.
CHUNK = 1_000_000


class Scores(NamedTuple):
    """Gradients of the log likelihood at the pooled estimate.

    Attributes
    ----------
    score
        `(n, d)`, per row.
    information
        `(level, d, d)`, minus the Hessian summed over the rows of each level.
    level
        `(n,)` codes of levels.
    unit
        `(n,)` codes of exchangeable units, which are flipped whole; None: every row by itself.
    """

    score: np.ndarray
    information: np.ndarray
    level: np.ndarray
    unit: np.ndarray | None = None


class Fluctuation(NamedTuple):
    """Scores in coordinates in which their outer product B is the identity.

    Attributes
    ----------
    cells
        `(cell, r)` scores summed over the rows of one unit in one level, sorted by level.
    unit
        `(cell,)` codes of units, from zero.
    bounds
        `(level + 1,)` first cell of each level.
    leak
        `(level, r, r)`, `J_k J^-1`: what estimating the pooled parameters takes from each level.
    share
        `(level,)` share of the rows.
    root
        `(d, r)`, scores times this are the coordinates.
    """

    cells: np.ndarray
    unit: np.ndarray
    bounds: np.ndarray
    leak: np.ndarray
    share: np.ndarray
    root: np.ndarray

    @property
    def n_units(self) -> int:
        """Units, each of which is flipped whole."""
        return int(self.unit.max()) + 1

    def sums(self, signs: np.ndarray) -> np.ndarray:
        """Return the scores summed by level, `(flip, level, r)`, under signs `(flip, unit)`."""
        cells = self.cells.astype(signs.dtype)
        parts = zip(self.bounds, self.bounds[1:], strict=False)
        return np.stack([signs[:, self.unit[a:b]] @ cells[a:b] for a, b in parts], axis=1)

    def by_level(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `u_k` `(flip, level, r)` and its square over the share of rows `(flip, level)`."""
        u = sums - np.einsum("kij,fj->fki", self.leak, sums.sum(axis=1))
        return u, (u**2).sum(axis=-1) / self.share

    def observed(self) -> np.ndarray:
        """Return the scores summed by level as they are, `(1, level, r)`."""
        return self.sums(np.ones((1, self.n_units)))


def fluctuation(scores: Scores) -> Fluctuation | None:
    """Return the scores in coordinates of unit outer product.

    Directions that no score has drop out. None: the pooled information is singular.
    """
    root = _root(scores.score.T @ scores.score)
    information = np.einsum("di,kde,ej->kij", root, scores.information, root)
    pooled = information.sum(axis=0)
    values = np.linalg.eigvalsh(pooled) if root.shape[1] else np.zeros(1)
    if not np.isfinite(values).all() or values[0] <= 1e-6 * values[-1]:
        return None
    cells, level, unit = _cells(scores, scores.score @ root)
    return Fluctuation(
        cells=cells,
        unit=unit,
        bounds=np.searchsorted(level, np.arange(len(information) + 1)),
        leak=np.linalg.solve(pooled, information).swapaxes(-1, -2),
        share=np.bincount(scores.level) / len(scores.level),
        root=root,
    )


def _root(outer: np.ndarray) -> np.ndarray:
    """Return L `(d, r)` with `L' B L` the identity and r the rank of B, in any units."""
    diagonal = np.diag(outer)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
    values, vectors = np.linalg.eigh(outer * np.outer(scale, scale))
    keep = values > 1e-8
    return scale[:, None] * vectors[:, keep] / np.sqrt(values[keep])


def _cells(scores: Scores, coordinates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sums `(cell, r)` over the rows of a unit in a level, with level and unit of each."""
    if scores.unit is None:
        order = np.argsort(scores.level, kind="stable")
        return coordinates[order], scores.level[order], np.arange(len(order))
    unit = np.unique(scores.unit, return_inverse=True)[1]
    n_units = unit.max() + 1
    codes, cell = np.unique(scores.level * n_units + unit, return_inverse=True)
    columns = [np.bincount(cell, weights=column) for column in coordinates.T]
    return np.column_stack(columns), codes // n_units, codes % n_units


def _statistics(flow: Fluctuation, sums: np.ndarray, ordered: bool) -> np.ndarray:
    """Return sum and maximum over levels, and if ordered the change-point, `(flip, 2 or 3)`."""
    u, by_level = flow.by_level(sums)
    statistics = [by_level.sum(axis=1), by_level.max(axis=1)]
    if ordered:
        elapsed = flow.share.cumsum()[:-1]
        path = u.cumsum(axis=1)[:, :-1]
        statistics += [((path**2).sum(axis=-1) / (elapsed * (1 - elapsed))).max(axis=1)]
    return np.stack(statistics, axis=1)


def _flips(flow: Fluctuation, n_flips: int, ordered: bool, rng: np.random.Generator) -> np.ndarray:
    """Return the statistics under random signs, `(n_flips, 2 or 3)`, a chunk at a time."""
    width = max(1, CHUNK // len(flow.cells))
    chunks = []
    for start in range(0, n_flips, width):
        shape = (min(width, n_flips - start), flow.n_units)
        signs = (2 * rng.integers(2, size=shape, dtype=np.int8) - 1).astype(np.float32)
        chunks.append(_statistics(flow, flow.sums(signs).astype(float), ordered))
    return np.concatenate(chunks)


def p_value(flow: Fluctuation, ordered: bool, rng: np.random.Generator) -> float:
    """Return the probability that no parameter changes, by sign flips.

    Parameters
    ----------
    flow
        The scores.
    ordered
        Look for a change-point, too.
    rng
        Draws the signs: 999 of each, 9,999 where the observed is among the two most extreme.
    """
    observed = _statistics(flow, flow.observed(), ordered)
    # Flips that equal the observed in exact arithmetic have to count, rounded or not.
    statistics = np.concatenate([observed * (1 - 1e-5), _flips(flow, N_FLIPS, ordered, rng)])
    rank, p = _joint_rank(statistics)
    if rank <= 2:
        more = _flips(flow, N_FLIPS_MORE - N_FLIPS, ordered, rng)
        p = _joint_rank(np.concatenate([statistics, more]))[1]
    return p


def _joint_rank(statistics: np.ndarray) -> tuple[int, float]:
    """Return the best rank of the first member, and the share of members with one as good.

    Ranking the ranks again calibrates the choice among the statistics.
    """
    best = rankdata(-statistics, method="max", axis=0).min(axis=1)
    return int(best[0]), float((best <= best[0]).mean())
