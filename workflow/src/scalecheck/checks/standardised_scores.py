"""Scores in coordinates in which those of a true model fluctuate alike, summed by level and along shapes.

Formulas and sources: docs/statistics.md, section 2.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from scalecheck.checks.moments import inverse_root
from scalecheck.checks.scores import Scores, sums_by

# Of more rows than this, neighbours within a level are flipped together: flips of very many rows take no longer.
# A level keeps at least so many parts: flipped whole, it would look the same under any signs.
MOST_UNITS, FEWEST_PARTS = 16_384, 16
# Levels from which on the scores themselves say what estimation takes from each.
MANY_LEVELS = 20
# Directions of the information below this share of the largest are not determined by the rows.
SINGULAR = 1e-6


class Sums(NamedTuple):
    """Scores summed, under each of some flips or permutations.

    Attributes
    ----------
    by_level
        `(flip, level, r)`.
    along
        `(flip, shape, r)`, times the contrast of each shape, what estimation takes left out.
    """

    by_level: Float[np.ndarray, "flip level r"]
    along: Float[np.ndarray, "flip shape r"]


class StandardisedScores(NamedTuple):
    """Scores in coordinates in which their outer product B is the identity.

    Attributes
    ----------
    cells
        `(cell, r)` scores summed over the rows of one unit in one level, sorted by level.
    unit
        `(cell,)` codes of units, from zero.
    unit_of_entry
        `(n,)` the same codes of the entries.
    bounds
        `(level + 1,)` first cell of each level.
    leak
        `(level, r, r)`, `J_k J^-1`: what estimating the pooled parameters takes from each level.
    share
        `(level,)` share of the rows.
    regained
        `(level,)` factor on flipped scores: what they lack because the parameters were estimated from the same rows.
    contrast
        `(cell, shape)` of each cell, where cells are whole units and may be permuted.
    shaped
        `(unit, shape, r)` scores times contrasts, what estimation takes left out, summed by unit.
    shape_leak
        `(shape, r, r)`, of contrasts what `leak` is of levels.
    root
        `(d, r)`, scores times this are the coordinates.
    directions
        `(d, r)` of unit length, along which each parameter moves.
    lost
        `(d, dropped)` movements of the parameters, in sds of their scores, of which the rows have no information.
    exchangeable
        Whether each cell is a whole unit, so that levels may be permuted.
    """

    cells: Float[np.ndarray, "cell r"]
    unit: Int[np.ndarray, " cell"]
    unit_of_entry: Int[np.ndarray, " n"]
    bounds: Int[np.ndarray, " level+1"]
    leak: Float[np.ndarray, "level r r"]
    share: Float[np.ndarray, " level"]
    regained: Float[np.ndarray, " level"]
    contrast: Float[np.ndarray, "cell shape"]
    shaped: Float[np.ndarray, "unit shape r"]
    shape_leak: Float[np.ndarray, "shape r r"]
    root: Float[np.ndarray, "d r"]
    directions: Float[np.ndarray, "d r"]
    lost: Float[np.ndarray, "d dropped"]
    exchangeable: bool

    @property
    def regained_by_all(self) -> float:
        """Factor on flipped sums that lie across levels, by the mean leverage of all."""
        return float(np.sqrt((self.share * self.regained**2).sum()))

    @property
    def n_units(self) -> int:
        """Units, each of which is flipped whole."""
        return len(self.shaped)

    def sums(self, signs: Float[np.ndarray, "flip unit"]) -> Sums:
        """Return the scores summed under signs `(flip, unit)`."""
        of_cells = signs[:, self.unit]
        by_level = [
            self.sum_levels(of_cells * column) for column in self.cells.T.astype(signs.dtype)
        ]
        flat = self.shaped.reshape(len(self.shaped), -1).astype(signs.dtype)
        along = (signs @ flat).reshape(len(signs), *self.shaped.shape[1:])
        return Sums(np.stack(by_level, axis=-1), along)

    def sum_levels(self, values: Float[np.ndarray, "flip cell"]) -> Float[np.ndarray, "flip level"]:
        """Sum values of cells `(flip, cell)` by level: `(flip, level)`."""
        return np.add.reduceat(values, self.bounds[:-1], axis=1)

    def fluctuation(
        self, by_level: Float[np.ndarray, "flip level r"]
    ) -> Float[np.ndarray, "flip level r"]:
        """Return `u_k` `(flip, level, r)`: sums over levels, what estimation takes left out."""
        return by_level - np.einsum("kij,fj->fki", self.leak, by_level.sum(axis=1))

    def by_level(self, sums: Float[np.ndarray, "flip level r"]) -> Float[np.ndarray, "flip level"]:
        """Return the square of `u_k` over the share of rows `(flip, level)`, of sums by level."""
        return (self.fluctuation(sums) ** 2).sum(axis=-1) / self.share

    def observed(self) -> Sums:
        """Return the sums of the scores as they are, of one flip."""
        return self.sums(np.ones((1, self.n_units)))


def standardise_scores(scores: Scores) -> StandardisedScores | None:
    """Return the scores in coordinates of unit outer product.

    Directions that no score has, and those of which the rows have no information, drop out. None: none is left.
    """
    outer = scores.score.T @ scores.score
    root = inverse_root(outer, 1e-8)
    total = scores.information.sum(axis=0)
    values, vectors = np.linalg.eigh(root.T @ total @ root)
    if not len(values) or not np.isfinite(values).all() or values[-1] <= 0:
        return None
    kept = values > SINGULAR * values[-1]
    lost, root = root @ vectors[:, ~kept], root @ vectors[:, kept]
    coordinates = scores.score @ root
    leak, shape_leak = (leaks(root, total, one) for one in (scores.information, scores.along))
    if scores.covariance is None and len(leak) >= MANY_LEVELS:
        leak = _outer_by_level(scores.level, coordinates)
    covariance = scores.covariance
    if covariance is None:
        covariance = np.linalg.pinv(total, hermitian=True)
    parts = _cells(scores, coordinates)
    exchangeable = scores.size is not None
    return StandardisedScores(
        cells=parts.sums,
        unit=parts.unit,
        unit_of_entry=parts.unit_of_entry,
        bounds=np.searchsorted(parts.level, np.arange(len(scores.information) + 1)),
        leak=leak,
        share=np.bincount(scores.level) / len(scores.level),
        regained=_regained(scores, leak, np.bincount(parts.level)),
        contrast=scores.contrast[parts.order] if exchangeable else np.zeros((0, 0)),
        shaped=_shaped(scores, coordinates, shape_leak, parts.unit_of_entry),
        shape_leak=shape_leak,
        root=root,
        directions=_directions(covariance, outer, root),
        lost=lost * np.sqrt(np.diag(outer))[:, None],
        exchangeable=exchangeable,
    )


def _outer_by_level(
    level: Int[np.ndarray, " n"], coordinates: Float[np.ndarray, "n r"]
) -> Float[np.ndarray, "level r r"]:
    """Sum the outer products of scores by level, which add up to the identity.

    They estimate the same shares as the information does. Where small levels differ, their Hessians differ even more,
    and some are indefinite: the null would be too wide.
    """
    rank = coordinates.shape[1]
    pairs = [coordinates[:, i, None] * coordinates for i in range(rank)]
    return np.stack([sums_by(level, one) for one in pairs], axis=1)


def leaks(
    root: Float[np.ndarray, "d r"],
    total: Float[np.ndarray, "d d"],
    parts: Float[np.ndarray, "part d d"],
) -> Float[np.ndarray, "part r r"]:
    """Return `K J^-1` of parts K `(part, d, d)` of the information J `(d, d)`, in the coordinates of `root`."""
    moved = np.einsum("di,kde,ej->kij", root, parts, root)
    return np.linalg.solve(root.T @ total @ root, moved).swapaxes(-1, -2)


def along_contrast(
    unit: Int[np.ndarray, " n"],
    coordinates: Float[np.ndarray, "n r"],
    contrast: Float[np.ndarray, " n"],
    leak: Float[np.ndarray, "r r"],
) -> Float[np.ndarray, "unit r"]:
    """Return `c_i s_i - K_c J^-1 s_i` summed by unit: scores times a contrast, what estimation takes left out."""
    return sums_by(unit, contrast[:, None] * coordinates - coordinates @ leak.T)


def _shaped(
    scores: Scores,
    coordinates: Float[np.ndarray, "n r"],
    leak: Float[np.ndarray, "shape r r"],
    unit: Int[np.ndarray, " n"],
) -> Float[np.ndarray, "unit shape r"]:
    """Return `c_i s_i - K_c J^-1 s_i` summed by unit, `K_c` the information times the contrast."""
    parts = [
        along_contrast(unit, coordinates, contrast, one)
        for contrast, one in zip(scores.contrast.T, leak, strict=True)
    ]
    n_units = int(unit.max()) + 1
    return np.stack(parts, axis=1) if parts else np.zeros((n_units, 0, coordinates.shape[1]))


def _regained(
    scores: Scores, leak: Float[np.ndarray, "level r r"], n_cells: Int[np.ndarray, " level"]
) -> Float[np.ndarray, " level"]:
    """Return `1 / sqrt(1 - h_k)`, h_k the mean leverage of what is flipped together in level k.

    Scores at an estimate are smaller than at the truth (MacKinnon & White 1985, doi:10.1016/0304-4076(85)90158-7).
    Their sums over levels are not, as they cancel each other: under random signs they do not, and would be too small.
    """
    if scores.covariance is not None:
        return np.ones(len(leak))  # the information of each level is not known
    leverage = np.trace(leak, axis1=1, axis2=2) / n_cells
    return 1 / np.sqrt(1 - np.clip(leverage, 0, 0.5))


def _directions(
    covariance: Float[np.ndarray, "d d"],
    outer: Float[np.ndarray, "d d"],
    root: Float[np.ndarray, "d r"],
) -> Float[np.ndarray, "d r"]:
    """Return the rows of `V B L`, each of length one: `(V u)_j^2 / (V B V)_jj` is a projection of u."""
    directions = covariance @ outer @ root
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    return directions / np.where(length > 0, length, np.inf)


class _Cells(NamedTuple):
    """Scores summed by unit and level: `(cell, r)`, with level and unit of each, and the unit of each entry."""

    sums: Float[np.ndarray, "cell r"]
    level: Int[np.ndarray, " cell"]
    unit: Int[np.ndarray, " cell"]
    unit_of_entry: Int[np.ndarray, " n"]
    order: Int[np.ndarray, " n"]


def _cells(scores: Scores, coordinates: Float[np.ndarray, "n r"]) -> _Cells:
    order = np.argsort(scores.level, kind="stable")
    n = len(order)
    if scores.unit is not None:
        unit = np.unique(scores.unit, return_inverse=True)[1]
    elif n <= MOST_UNITS or scores.size is not None:
        unit = np.empty(n, int)
        unit[order] = np.arange(n)
        return _Cells(coordinates[order], scores.level[order], np.arange(n), unit, order)
    else:
        unit = _parts_of_levels(scores.level, order)
    n_units = int(unit.max()) + 1
    codes, cell = np.unique(scores.level * n_units + unit, return_inverse=True)
    return _Cells(sums_by(cell, coordinates), codes // n_units, codes % n_units, unit, order)


def _parts_of_levels(
    level: Int[np.ndarray, " n"], order: Int[np.ndarray, " n"]
) -> Int[np.ndarray, " n"]:
    """Cut each level into parts of neighbours: `(n,)` their codes."""
    size = np.bincount(level)
    length = np.maximum(1, np.minimum(-(-len(level) // MOST_UNITS), size // FEWEST_PARTS))
    first = np.cumsum(size) - size
    before = np.cumsum(-(-size // length)) - -(-size // length)
    sorted_level = level[order]
    within = np.arange(len(level)) - first[sorted_level]
    unit = np.empty(len(level), int)
    unit[order] = before[sorted_level] + within // length[sorted_level]
    return unit
