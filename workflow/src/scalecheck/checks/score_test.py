"""How far scores would fluctuate along an axis if nothing changed.

Scores of one fit must fluctuate around zero along any axis (Zeileis & Hornik 2007). Weighing them with
their outer product makes their size immune to a wrong dispersion, which `agreement` looks for; flipping
their signs at random, whole units at once, gives the null where levels are few, small or unequal. Where
each entry is a whole unit, and few of them make a null too narrow, permuting their levels has to agree.
Where rows have skewed scores, as rare outcomes do, sums over small levels are skewed, too, and flips are
not: there replicates of the rows have to agree.

Formulas and sources: docs/statistics.md, section 2.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from scalecheck.checks.finding import notable
from scalecheck.checks.score_statistics import AxisStatistic, AxisStatistics, Null
from scalecheck.checks.scores import Replicates, ScoreSums
from scalecheck.checks.standardised_scores import SINGULAR, StandardisedScores, Sums

N_FLIPS = 999
# Where the observed is among the two most extreme, so many flips over the weight of the axis, as in surprise:
# then the smallest p can be strong after the correction for families and axes.
N_FLIPS_MORE = 3_000
# Signs held at a time: more would leave the cache.
CHUNK = 1_000_000
# About so many levels of random rows are the null of a single level.
LEVELS_PUT_TOGETHER = 200_000


class ScoreTest(NamedTuple):
    """What the scores say.

    Attributes
    ----------
    p
        Probability that no parameter changes.
    leading
        What deviates most.
    level_p
        `(level,)` of each level by itself, not corrected for their number.
    """

    p: float
    leading: AxisStatistic
    level_p: Float[np.ndarray, " level"]


def run_score_test(
    flow: StandardisedScores,
    shapes: Sequence[str],
    weight: float,
    rng: np.random.Generator,
    replicates: Replicates | None = None,
) -> ScoreTest:
    """Test whether any parameter changes, by sign flips, permutations and replicates.

    Parameters
    ----------
    flow
        The scores.
    shapes
        Names of the contrasts; with any the axis is ordered, and a change-point is looked for.
    weight
        Share of the family's error rate: a smaller one takes more flips to resolve.
    rng
        Draws signs and permutations.
    replicates
        Gives so many replicates of the rows at the same estimate, their scores summed along levels and then along
        contrasts; asked only where flips see something. None: there are none.
    """
    statistics = AxisStatistics.of(flow, shapes)
    sums = flow.observed()
    observed = statistics.measure(sums)
    nulls: dict[Callable[..., Sums], Null] = {}
    for draw in [_flipped, _permuted] if flow.exchangeable else [_flipped]:
        measured = [statistics.measure(one) for one in _chunks(draw, flow, N_FLIPS, rng)]
        nulls[draw] = Null(np.concatenate(measured), observed)
    if max(null.n_exceeding for null in nulls.values()) <= 1:
        for draw, null in nulls.items():
            for more in _chunks(draw, flow, math.ceil(N_FLIPS_MORE / weight), rng):
                null.add(statistics.measure(more))
    p = max(null.p for null in nulls.values())
    if replicates is not None and notable(p, weight):
        found = _replicated(flow, [*replicates(N_FLIPS)])
        if found is not None:
            null = Null(statistics.measure(found), observed)
            # Among the first two their rank says no more than this.
            p = max(p, null.p if null.n_exceeding > 1 else 0.0)
    leading = statistics.name(nulls[_flipped].deviation)
    return ScoreTest(p, leading, _level_p(flow, flow.by_level(sums.by_level)[0], rng))


def _level_p(
    flow: StandardisedScores, observed: Float[np.ndarray, " level"], rng: np.random.Generator
) -> Float[np.ndarray, " level"]:
    """Return the p-value of each level by itself, `(level,)`: its rank among levels of rows put together at random.

    Flips would not do: the few rows of a level that differs are large under any signs.
    """
    n = int(np.clip(LEVELS_PUT_TOGETHER // len(observed), 200, N_FLIPS))
    width = max(1, CHUNK // len(flow.cells))
    parts = [
        flow.by_level(_put_together(flow, _orders(flow, min(width, n - start), rng))).ravel()
        for start in range(0, n, width)
    ]
    ascending = np.sort(np.concatenate(parts))
    above = len(ascending) - np.searchsorted(ascending, observed * (1 - 1e-5), side="left")
    return (above + 1) / (len(ascending) + 1)


def _flipped(flow: StandardisedScores, n: int, rng: np.random.Generator) -> Sums:
    """Return scores summed under random signs."""
    found = flow.sums(random_signs(n, flow.n_units, rng))
    return Sums(found.by_level * flow.regained[:, None], found.along * flow.regained_by_all)


def random_signs(n: int, n_units: int, rng: np.random.Generator) -> Float[np.ndarray, "flip unit"]:
    """Draw `n` flips of units."""
    return (2 * rng.integers(2, size=(n, n_units), dtype=np.int8) - 1).astype(np.float32)


def _replicated(flow: StandardisedScores, found: Sequence[ScoreSums]) -> Sums | None:
    """Return the sums of replicates in coordinates of unit outer product; None where one is not finite.

    It is their own: a wrong model has another than its replicates. What estimation would take from each sum is its
    regression on the total, over the replicates, which is their expected information.
    """
    total = np.concatenate([one.total for one in found]) @ flow.root
    along = np.concatenate([one.along for one in found]) @ flow.root
    # A model may draw outcomes that it gives no finite score.
    if not (np.isfinite(total).all() and np.isfinite(along).all()):
        return None
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(total, rowvar=False)))
    if values[0] <= SINGULAR * values[-1]:
        return None
    white = (vectors / np.sqrt(values)) @ vectors.T
    total, along = total @ white, along @ white
    flat = along.reshape(len(along), -1)
    left = flat - total @ np.linalg.lstsq(total, flat, rcond=None)[0]
    n_levels = len(flow.leak)
    return Sums(left.reshape(along.shape)[:, :n_levels], left.reshape(along.shape)[:, n_levels:])


def _permuted(flow: StandardisedScores, n: int, rng: np.random.Generator) -> Sums:
    """Return scores summed with units in other levels."""
    order = _orders(flow, n, rng)
    total = flow.cells.sum(axis=0)
    along = [
        np.stack([one[order] @ contrast for one in flow.cells.T], axis=1) - leak @ total
        for contrast, leak in zip(flow.contrast.T, flow.shape_leak, strict=True)
    ]
    nothing = np.zeros((n, 0, flow.cells.shape[1]))
    return Sums(_put_together(flow, order), np.stack(along, axis=1) if along else nothing)


def _orders(
    flow: StandardisedScores, n: int, rng: np.random.Generator
) -> Int[np.ndarray, "flip cell"]:
    return rng.permuted(np.tile(np.arange(len(flow.cells), dtype=np.int32), (n, 1)), axis=1)


def _put_together(
    flow: StandardisedScores, order: Int[np.ndarray, "flip cell"]
) -> Float[np.ndarray, "flip level r"]:
    """Sum cells by level, each in the place of another."""
    return np.stack([flow.sum_levels(one[order]) for one in flow.cells.T], axis=-1)


def _chunks(
    draw: Callable[..., Sums], flow: StandardisedScores, n: int, rng: np.random.Generator
) -> Iterator[Sums]:
    """Draw `n` flips or permutations, a chunk at a time."""
    width = max(1, CHUNK // len(flow.cells))
    for start in range(0, n, width):
        yield draw(flow, min(width, n - start), rng)
