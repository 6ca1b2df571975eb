"""Measure members of a block of rows: the observed block and its replicates.

Every statistic is a function of one member alone, given what is fixed for all of them: covariates,
groups, the order of arrival, and a reference set of further replicates, which gives each outcome
its rank. So members are exchangeable under the model, and their number is free.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import ndtri

from scalecheck.checks.statistic_design import GroupArrays, Weights

Outcomes = Float[Array, "n member"]
ByRow = Float[np.ndarray, "member n"]
ByMember = Float[np.ndarray, " member"]

TAIL = 0.02

# A power of two less one: then a search takes the same steps wherever it ends.
N_REFERENCE = 511


def z_scores(reference: Float[Array, "n reference"], outcome: Outcomes) -> Outcomes:
    """Give the normal score of the rank of each outcome among the reference.

    Ties share the middle rank: broken at random, they would bury what binary outcomes say under noise.

    Parameters
    ----------
    reference
        `(n, N_REFERENCE)` replicates, sorted in each row.
    outcome
        `(n, member)`.
    """
    n_reference = reference.shape[1]
    table = ndtri(np.arange(1, 2 * n_reference + 2) / (2 * n_reference + 2))
    below = _count(reference, outcome, strictly=True) + _count(reference, outcome, strictly=False)
    return jnp.asarray(table)[below]


def _count(
    reference: Float[Array, "n reference"], outcome: Outcomes, *, strictly: bool
) -> Int[Array, "n member"]:
    """Count those of the reference below an outcome, or not above it, by bisection; `(n, member)`."""
    n, n_reference = reference.shape
    flat, first = reference.ravel(), jnp.arange(n, dtype="int32")[:, None] * n_reference

    def halve(i: Int[Array, ""], count: Int[Array, "n member"]) -> Int[Array, "n member"]:
        step = jnp.right_shift(jnp.int32((n_reference + 1) // 2), i.astype("int32"))
        other = flat.at[first + count + (step - 1)].get(mode="promise_in_bounds")
        return count + step * (other < outcome if strictly else other <= outcome)

    n_steps = (n_reference + 1).bit_length() - 1
    return jax.lax.fori_loop(0, n_steps, halve, jnp.zeros(outcome.shape, "int32"))


class Members(NamedTuple):
    """Some members of a block.

    Attributes
    ----------
    outcome
        `(member, n)`.
    z
        `(member, n)` normal scores of ranks, from `z_scores`.
    log_score
        `(member, n)` log predictive density.
    dispersion, score
        `(member,)` quadratic forms: of the gradients of the rows, summed; and of their sum. None where no gradient is
        taken.
    """

    outcome: ByRow
    z: ByRow
    log_score: ByRow
    dispersion: ByMember | None
    score: ByMember | None

    def part(self, start: int, stop: int) -> "Members":
        """Take members by number."""
        parts: list[Any] = [one if one is None else one[start:stop] for one in self]
        return Members(*parts)


def measure_replicates(weights: Weights, member: Members) -> Float[np.ndarray, "member q"]:
    """Give every statistic of some members.

    Parameters
    ----------
    weights
        As `lay_out` gives them.
    member
        The members.

    Returns
    -------
    statistics
        `(member, q)`, finite.
    """
    row, n_rows = weights.row, weights.row.sum()
    z = row * member.z
    if weights.taken_out is not None:
        return _within(weights, z)
    squares = z * z
    mean = z.sum(axis=1, keepdims=True) / n_rows
    deviation = row * (z - mean)
    parts = [
        *_log_scores(row, member.log_score),
        *_shape(z, squares, n_rows),
        *(form for form in (member.dispersion, member.score) if form is not None),
        *((member.outcome == value) @ row / n_rows for value in weights.values),
        *(z @ weights.on_z / n_rows).T,
        *(squares @ weights.on_square / n_rows).T,
    ]
    if weights.pairs is not None:
        parts += [(deviation[:, 1:] * deviation[:, :-1]) @ weights.pairs / n_rows]
    spread = row * (squares - squares.sum(axis=1, keepdims=True) / n_rows)
    parts += [part for levels in weights.levels for part in _by_level(levels, deviation, spread)]
    return np.nan_to_num(np.stack(parts, axis=1), posinf=1e6, neginf=-1e6)


def _within(weights: Weights, z: ByRow) -> Float[np.ndarray, "member q"]:
    """Give the statistics of z-scores `(member, n)` within levels, and last the share of levels in their squares."""
    n_rows, levels = weights.row.sum(), np.asarray(weights.taken_out)
    on_levels = z @ levels
    within = z - on_levels @ levels.T
    variance = _shape(within, within * within, n_rows)[1]
    scaled = within / _scale_by_level(weights.levels[0], within)
    kurtosis = _shape(scaled, scaled * scaled, n_rows)[3]
    parts = [variance, kurtosis]
    if weights.pairs is not None:
        parts.append((within[:, 1:] * within[:, :-1]) @ weights.pairs / n_rows)
    parts.append((on_levels**2).sum(axis=1) / np.maximum((z * z).sum(axis=1), 1e-12))
    return np.nan_to_num(np.stack(parts, axis=1), posinf=1e6, neginf=-1e6)


def _scale_by_level(levels: GroupArrays, z: ByRow) -> ByRow:
    """Give the root mean square of z-scores in the level of each row, `(member, n)`."""
    mean = (z * z) @ levels.by_row / np.maximum(levels.n_rows, 1.0)
    return np.sqrt(np.maximum(mean @ levels.by_row.T, 1e-12))


def _log_scores(row: Float[np.ndarray, " n"], log_score: ByRow) -> tuple[ByMember, ByMember]:
    """Give the mean and the mean of the lowest 2 % of log scores, `(member,)` each."""
    # An impossible outcome must stay finite, or no sd could be taken.
    finite = np.maximum(np.nan_to_num(log_score, nan=-1e6, posinf=np.inf, neginf=-1e6), -1e6)
    finite = finite if row.all() else finite[:, row > 0]
    most = max(1, int(np.ceil(TAIL * finite.shape[1])))
    lowest = np.partition(finite, most - 1, axis=1)[:, :most]
    return finite.mean(axis=1), lowest.mean(axis=1)


def _shape(
    z: ByRow, squares: ByRow, n_rows: float
) -> tuple[ByMember, ByMember, ByMember, ByMember]:
    """Give mean, variance, skewness and kurtosis, `(member,)` each, from raw moments."""
    first, second = z.sum(axis=1) / n_rows, squares.sum(axis=1) / n_rows
    third = np.einsum("mn,mn->m", squares, z) / n_rows
    fourth = np.einsum("mn,mn->m", squares, squares) / n_rows
    variance = np.maximum(second - first**2, 1e-12)
    skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
    kurtosis = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2
    return first, variance, skewness, kurtosis


def _by_level(levels: GroupArrays, deviation: ByRow, spread: ByRow) -> list[ByMember]:
    """Give mean squares between levels, `(member,)` each: of z, of its square, of its slopes.

    Parameters
    ----------
    levels
        The group.
    deviation, spread
        `(member, n)` centred z-scores, and centred squares of them.
    """
    found = [_between(values @ levels.by_row, levels.n_rows) for values in (deviation, spread)]
    for slope, squares in zip(levels.slopes.T, levels.squares, strict=True):
        sums = (deviation * slope) @ levels.by_row
        # Left in, the slope of all rows would make every drift look like a difference between levels.
        share = sums.sum(axis=1, keepdims=True) / squares.sum()
        found.append(_between(sums - squares * share, squares))
    return found


def _between(
    differences: Float[np.ndarray, "member level"], size: Float[np.ndarray, " level"]
) -> ByMember:
    kept = size > 1e-9
    return (differences[:, kept] ** 2 / size[kept]).sum(axis=1) / kept.sum()
