"""Scores summed by level, and how far they would fluctuate if nothing changed.

Scores of one pooled fit must fluctuate around zero along any axis (Zeileis & Hornik 2007). Weighing
them with their outer product makes their size immune to a wrong dispersion, which `agreement` looks
for; flipping their signs at random, whole units at once, gives the null where levels are few or
unequal. Where each entry is a whole unit, and few of them make a null too narrow, permuting their
levels has to agree.

Formulas and sources: docs/statistics.md, section 2.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from scalecheck.checks.moments import inverse_root

Sums = Float[np.ndarray, "flip level r"]

N_FLIPS, N_FLIPS_MORE = 999, 9_999
# Signs held at a time: more would leave the cache.
CHUNK = 1_000_000


class Scores(NamedTuple):
    """Gradients of the log likelihood at the pooled estimate, of rows or of whole units.

    Attributes
    ----------
    score
        `(n, d)`, per row or unit.
    information
        `(level, d, d)`, minus the Hessian summed over the rows of each level.
    level
        `(n,)` codes of levels.
    unit
        `(n,)` codes of exchangeable units, which are flipped whole; None: every entry by itself.
    covariance
        `(d, d)` posterior covariance, where the latent sites of units were averaged out: the parameter
        that moves most is then looked for in place of the level.
    size
        `(n,)` rows of each entry where entries are whole units, whose levels may be permuted; None:
        entries are rows.
    """

    score: Float[np.ndarray, "n d"]
    information: Float[np.ndarray, "level d d"]
    level: Int[np.ndarray, " n"]
    unit: Int[np.ndarray, " n"] | None = None
    covariance: Float[np.ndarray, "d d"] | None = None
    size: Int[np.ndarray, " n"] | None = None

    def rows(self) -> Int[np.ndarray, " level"]:
        """Return the rows of each level, `(level,)`."""
        return np.bincount(self.level, weights=self.size).astype(int)

    def units(self) -> Int[np.ndarray, " level"]:
        """Return the units of each level, `(level,)`."""
        if self.unit is None:
            return np.bincount(self.level)
        return np.bincount(np.unique(np.stack([self.level, self.unit]), axis=1)[0])


def scores_of_units(
    score: Float[np.ndarray, "row d"],
    level: Int[np.ndarray, " row"],
    unit: Int[np.ndarray, " row"],
    covariance: Float[np.ndarray, "d d"],
) -> Scores:
    """Sum scores of rows by unit, for models in which units have latent sites of their own.

    Rows of one unit depend on each other through its latent sites, so that the units are what is independent.
    Their information is not known, only its sum over all: the inverse of the posterior covariance. A level is
    expected to hold its share of that. Where it holds another, the null is wider than need be, never narrower.

    Along an axis that lies between units, each unit is one entry, and its level may be permuted. An
    axis that crosses units keeps its rows, whose signs are flipped by whole units: permuting levels
    within a unit rejects true models, because rows of a unit depend on each other.

    Parameters
    ----------
    score
        `(rows, d)`, which sum to the score of each unit.
    level
        `(rows,)` codes.
    unit
        `(rows,)` codes.
    covariance
        `(d, d)` posterior covariance of the parameters.
    """
    _, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    size = None
    if not crosses(level, unit):
        size, level = np.bincount(unit), level[first]
        score = sums_by(unit, score)
    share = np.bincount(level) / len(level)
    information = share[:, None, None] * np.linalg.inv(covariance)
    by_unit = unit if size is None else None
    return Scores(score, information, level, by_unit, covariance, size)


def sums_by(
    codes: Int[np.ndarray, " n"], values: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "code d"]:
    """Sum values `(n, d)` by code `(n,)`: `(code, d)`."""
    return np.stack([np.bincount(codes, weights=column) for column in values.T], axis=1)


def crosses(level: Int[np.ndarray, " row"], unit: Int[np.ndarray, " row"]) -> bool:
    """Say whether any unit has rows, coded `(rows,)` each, in several levels."""
    _, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    return bool((level != level[first][unit]).any())


class StandardisedScores(NamedTuple):
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
    regained
        `(level,)` factor on flipped scores: what they lack because the parameters were estimated from the same rows.
    root
        `(d, r)`, scores times this are the coordinates.
    directions
        `(d, r)` of unit length, along which each parameter moves.
    by_parameter
        Whether to look for the parameter that moves most in place of the level.
    exchangeable
        Whether each cell is a whole unit, so that levels may be permuted.
    """

    cells: Float[np.ndarray, "cell r"]
    unit: Int[np.ndarray, " cell"]
    bounds: Int[np.ndarray, " level+1"]
    leak: Float[np.ndarray, "level r r"]
    share: Float[np.ndarray, " level"]
    regained: Float[np.ndarray, " level"]
    root: Float[np.ndarray, "d r"]
    directions: Float[np.ndarray, "d r"]
    by_parameter: bool
    exchangeable: bool

    @property
    def n_units(self) -> int:
        """Units, each of which is flipped whole."""
        return int(self.unit.max()) + 1

    def sums(self, signs: Float[np.ndarray, "flip unit"]) -> Sums:
        """Return the scores summed by level, `(flip, level, r)`, under signs `(flip, unit)`."""
        cells = self.cells.astype(signs.dtype)
        parts = zip(self.bounds, self.bounds[1:], strict=False)
        return np.stack([signs[:, self.unit[a:b]] @ cells[a:b] for a, b in parts], axis=1)

    def by_level(self, sums: Sums) -> tuple[Sums, Float[np.ndarray, "flip level"]]:
        """Return `u_k` `(flip, level, r)` and its square over the share of rows `(flip, level)`."""
        u = sums - np.einsum("kij,fj->fki", self.leak, sums.sum(axis=1))
        return u, (u**2).sum(axis=-1) / self.share

    def observed(self) -> Float[np.ndarray, "1 level r"]:
        """Return the scores summed by level as they are, `(1, level, r)`."""
        return self.sums(np.ones((1, self.n_units)))


def standardise_scores(scores: Scores) -> StandardisedScores | None:
    """Return the scores in coordinates of unit outer product.

    Directions that no score has drop out. None: the pooled information is singular.
    """
    outer = scores.score.T @ scores.score
    root = inverse_root(outer, 1e-8)
    information = np.einsum("di,kde,ej->kij", root, scores.information, root)
    pooled = information.sum(axis=0)
    values = np.linalg.eigvalsh(pooled) if root.shape[1] else np.zeros(1)
    if not np.isfinite(values).all() or values[0] <= 1e-6 * values[-1]:
        return None
    covariance = scores.covariance
    if covariance is None:
        covariance = np.linalg.pinv(scores.information.sum(axis=0), hermitian=True)
    cells, level, unit = _cells(scores, scores.score @ root)
    leak = np.linalg.solve(pooled, information).swapaxes(-1, -2)
    return StandardisedScores(
        cells=cells,
        unit=unit,
        bounds=np.searchsorted(level, np.arange(len(information) + 1)),
        leak=leak,
        share=np.bincount(scores.level) / len(scores.level),
        regained=_regained(scores, leak),
        root=root,
        directions=_directions(covariance, outer, root),
        by_parameter=scores.covariance is not None,
        exchangeable=scores.size is not None,
    )


def _regained(scores: Scores, leak: Float[np.ndarray, "level r r"]) -> Float[np.ndarray, " level"]:
    """Return `1 / sqrt(1 - h_k)`, h_k the mean leverage of an entry of level k.

    Scores at an estimate are smaller than at the truth (MacKinnon & White 1985, doi:10.1016/0304-4076(85)90158-7).
    Their sums over levels are not, as they cancel each other: under random signs they do not, and would be too small.
    """
    if scores.covariance is not None:
        return np.ones(len(leak))  # the information of each level is not known
    leverage = np.trace(leak, axis1=1, axis2=2) / np.bincount(scores.level)
    return 1 / np.sqrt(1 - np.minimum(leverage, 0.5))


def _directions(
    covariance: Float[np.ndarray, "d d"],
    outer: Float[np.ndarray, "d d"],
    root: Float[np.ndarray, "d r"],
) -> Float[np.ndarray, "d r"]:
    """Return the rows of `V B L`, each of length one: `(V u)_j^2 / (V B V)_jj` is a projection of u."""
    directions = covariance @ outer @ root
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    return directions / np.where(length > 0, length, np.inf)


def _cells(
    scores: Scores, coordinates: Float[np.ndarray, "n r"]
) -> tuple[Float[np.ndarray, "cell r"], Int[np.ndarray, " cell"], Int[np.ndarray, " cell"]]:
    """Return sums `(cell, r)` over the rows of a unit in a level, with level and unit of each."""
    if scores.unit is None:
        order = np.argsort(scores.level, kind="stable")
        return coordinates[order], scores.level[order], np.arange(len(order))
    unit = np.unique(scores.unit, return_inverse=True)[1]
    n_units = unit.max() + 1
    codes, cell = np.unique(scores.level * n_units + unit, return_inverse=True)
    return sums_by(cell, coordinates), codes // n_units, codes % n_units


def _statistics(
    flow: StandardisedScores, sums: Sums, ordered: bool
) -> Float[np.ndarray, "flip statistic"]:
    """Return sum and maximum over levels or parameters, `(flip, 2)`; if ordered, change-point and trend, too."""
    u, by_level = flow.by_level(sums)
    largest = by_level
    if flow.by_parameter:
        # t_j, how much each parameter moves between the levels.
        largest = ((u @ flow.directions.T) ** 2 / flow.share[:, None]).sum(axis=1)
    statistics = [by_level.sum(axis=1), largest.max(axis=1)]
    if ordered:
        statistics += _over_time(flow, u)
    return np.stack(statistics, axis=1)


def _over_time(flow: StandardisedScores, u: Sums) -> list[Float[np.ndarray, " flip"]]:
    """Return what sees a change of regime, and what sees a parameter that drifts, `(flip,)` each."""
    elapsed = flow.share.cumsum()
    path = u.cumsum(axis=1)[:, :-1]
    change = ((path**2).sum(axis=-1) / (elapsed * (1 - elapsed))[:-1]).max(axis=1)
    # A drift spreads over all levels: its one degree of freedom would be lost among theirs.
    time = elapsed - flow.share / 2
    trend = np.einsum("k,fki->fi", time - 0.5, u)
    return [change, ((trend @ flow.directions.T) ** 2).max(axis=1)]


def _flipped(flow: StandardisedScores, n: int, rng: np.random.Generator) -> Sums:
    """Return scores summed by level under random signs, `(n, level, r)`."""
    signs = 2 * rng.integers(2, size=(n, flow.n_units), dtype=np.int8) - 1
    return flow.sums(signs.astype(np.float32)) * flow.regained[:, None]


def _permuted(flow: StandardisedScores, n: int, rng: np.random.Generator) -> Sums:
    """Return scores summed by level with units in other levels, `(n, level, r)`."""
    order = rng.permuted(np.tile(np.arange(len(flow.cells), dtype=np.int32), (n, 1)), axis=1)
    cells = np.ascontiguousarray(flow.cells.T, np.float32)
    parts = [np.add.reduceat(cell[order], flow.bounds[:-1], axis=1) for cell in cells]
    return np.stack(parts, axis=-1)


def _null(
    draw: Callable[..., Sums],
    flow: StandardisedScores,
    n: int,
    ordered: bool,
    rng: np.random.Generator,
) -> Float[np.ndarray, "null statistic"]:
    """Return the statistics of `n` flips or permutations, `(n, 2 or 4)`, a chunk at a time."""
    width = max(1, CHUNK // len(flow.cells))
    sums = (draw(flow, min(width, n - start), rng) for start in range(0, n, width))
    return np.concatenate([_statistics(flow, chunk.astype(float), ordered) for chunk in sums])


def p_value(flow: StandardisedScores, ordered: bool, rng: np.random.Generator) -> float:
    """Return the probability that no parameter changes, by sign flips and permutations.

    Parameters
    ----------
    flow
        The scores.
    ordered
        Look for a change-point and a trend, too.
    rng
        Draws signs and permutations: 999 of each, 9,999 where the observed is among the two most
        extreme of both.
    """
    draws = [_flipped, _permuted] if flow.exchangeable else [_flipped]
    # Flips that equal the observed in exact arithmetic have to count, rounded or not.
    observed = _statistics(flow, flow.observed(), ordered) * (1 - 1e-5)
    nulls = [np.concatenate([observed, _null(d, flow, N_FLIPS, ordered, rng)]) for d in draws]
    ranked = [_joint_rank(null) for null in nulls]
    if max(rank for rank, _ in ranked) <= 2:
        more = [_null(draw, flow, N_FLIPS_MORE - N_FLIPS, ordered, rng) for draw in draws]
        ranked = [_joint_rank(np.concatenate(both)) for both in zip(nulls, more, strict=True)]
    return max(p for _, p in ranked)


def _joint_rank(statistics: Float[np.ndarray, "member statistic"]) -> tuple[int, float]:
    """Return the best rank of the first member, and the share of members with one as good.

    Ranking the ranks again calibrates the choice among the statistics.
    """
    best = rankdata(-statistics, method="max", axis=0).min(axis=1)
    return int(best[0]), float((best <= best[0]).mean())
