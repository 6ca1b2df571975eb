"""Measure members of a block of rows: the observed block and its replicates.

Every statistic is a function of one member alone, given what is fixed for all of them: covariates,
groups, the order of arrival, and a reference set of further replicates, which gives each outcome
its rank. So members are exchangeable under the model, and their number is free.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.special import ndtri

from scalecheck.checks.statistic_design import GroupArrays, Weights

Outcomes = Float[Array, "n member"]
ByMember = Float[Array, " member"]

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


class ReplicateStatistics(NamedTuple):
    """Some members of a block.

    Attributes
    ----------
    outcome
        `(n, member)`.
    log_score
        `(n, member)` log predictive density.
    dispersion, score
        `(member,)` quadratic forms: of the gradients of the rows, summed; and of their sum. None where no gradient is
        taken.
    """

    outcome: Outcomes
    log_score: Outcomes
    dispersion: ByMember | None
    score: ByMember | None


def measure_replicates(
    weights: Weights, reference: Float[Array, "n reference"], member: ReplicateStatistics
) -> Float[Array, "member q"]:
    """Give every statistic of some members.

    Parameters
    ----------
    weights
        As `lay_out` gives them.
    reference
        `(n, N_REFERENCE)` replicates, sorted in each row.
    member
        The members.

    Returns
    -------
    statistics
        `(member, q)`, finite.
    """
    row = jnp.asarray(weights.row)[:, None]
    n_rows = row.sum()
    z = row * z_scores(reference, member.outcome)
    mean = z.sum(axis=0) / n_rows
    deviation = row * (z - mean)
    parts = [
        *_log_scores(row, member.log_score),
        *_shape(z, n_rows),
        *(form for form in (member.dispersion, member.score) if form is not None),
        *((row * (member.outcome == value)).sum(axis=0) / n_rows for value in weights.values),
        *(weights.on_z.T @ z / n_rows),
        *(weights.on_square.T @ z**2 / n_rows),
    ]
    if weights.pairs is not None:
        parts += [weights.pairs @ (deviation[1:] * deviation[:-1]) / n_rows]
    spread = row * (z**2 - (z**2).sum(axis=0) / n_rows)
    parts += [part for levels in weights.levels for part in _by_level(levels, deviation, spread)]
    return jnp.nan_to_num(jnp.stack(parts, axis=1), posinf=1e6, neginf=-1e6)


def _log_scores(row: Float[Array, "n 1"], log_score: Outcomes) -> tuple[ByMember, ByMember]:
    """Give the mean and the mean of the lowest 2 % of log scores, `(member,)` each."""
    n_rows = row.sum()
    # An impossible outcome must stay finite, or no sd could be taken.
    finite = jnp.maximum(jnp.where(jnp.isnan(log_score), -jnp.inf, log_score), -1e6)
    most = max(1, int(np.ceil(TAIL * len(row))))
    padded = jnp.where(row > 0, finite, jnp.inf).astype("float32")
    # In single precision, of which XLA partially sorts what it would sort wholly in double.
    lowest = -jax.lax.top_k(-padded.T, most)[0]
    chosen = jnp.arange(most) < jnp.maximum(1, jnp.ceil(TAIL * n_rows))
    tail = jnp.where(chosen, lowest, 0.0).sum(axis=1) / chosen.sum()
    return (row * finite).sum(axis=0) / n_rows, tail.astype(finite.dtype)


def _shape(z: Outcomes, n_rows: Float[Array, ""]) -> tuple[ByMember, ByMember, ByMember, ByMember]:
    """Give mean, variance, skewness and kurtosis, `(member,)` each, from raw moments."""
    first, second, third, fourth = ((z**power).sum(axis=0) / n_rows for power in range(1, 5))
    variance = jnp.maximum(second - first**2, 1e-12)
    skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
    kurtosis = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2
    return first, variance, skewness, kurtosis


def _by_level(levels: GroupArrays, deviation: Outcomes, spread: Outcomes) -> list[ByMember]:
    """Give mean squares between levels, `(member,)` each: of z, of its square, of its slopes.

    Parameters
    ----------
    levels
        The group.
    deviation, spread
        `(n, member)` centred z-scores, and centred squares of them.
    """
    products = deviation[:, None] * levels.slopes[:, :, None]
    values = jnp.concatenate([jnp.stack([deviation, spread], axis=1), products], axis=1)
    empty = jnp.zeros((len(levels.n_rows), *values.shape[1:]), values.dtype)
    sums = empty.at[levels.codes].add(values)  # one pass over the rows, which is what costs
    # Left in, the slope of all rows would make every drift look like a difference between levels.
    squares = jnp.asarray(levels.squares)[:, :, None]
    slopes = sums[:, 2:] - squares * (sums[:, 2:].sum(axis=0) / squares.sum(axis=0))
    n_rows = jnp.broadcast_to(levels.n_rows[:, None, None], (len(levels.n_rows), 2, 1))
    size = jnp.concatenate([n_rows, squares], axis=1)
    differences = jnp.concatenate([sums[:, :2], slopes], axis=1)
    kept = size > 1e-9
    between = jnp.where(kept, differences**2 / jnp.where(kept, size, 1.0), 0.0)
    return list(between.sum(axis=0) / kept.sum(axis=0))
