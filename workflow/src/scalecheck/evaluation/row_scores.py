"""Scores of rows: the gradient of the log likelihood of each, and the information of each level."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from scalecheck.checks.score_test import Scores
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.row_blocks import blocks_of
from scalecheck.model import density
from scalecheck.model.rows import ByRow, Rows


def row_scores(
    likelihood: Likelihood,
    values: Mapping[str, ByRow],
    level: Int[np.ndarray, " row"],
    theta: Float[np.ndarray, " d"],
) -> Scores:
    """Score of each row and information of each level at `theta` `(d,)`, unconstrained.

    Parameters
    ----------
    likelihood
        Of a model whose rows have scores (`Likelihood.no_row_checks`).
    values
        Columns `(rows,)`.
    level
        `(rows,)` codes.
    """
    rows, d = likelihood.rows(values), len(theta)
    score = np.zeros((rows.n_rows, d))
    information = np.zeros((int(level.max()) + 1, d, d))
    every = np.arange(rows.n_rows)
    for code in range(len(information)):
        # A model that has to see all rows sums over those of the level.
        numbers = every[level == code] if likelihood.has_separate_rows else every
        blocks = blocks_of(likelihood, _chosen(rows, numbers))
        program = _program(likelihood, blocks.counts)
        for block in blocks.blocks:
            own = numbers[block.rows]
            weight = block.is_row * blocks.fill((level[own] == code).astype(float))
            found, hessian = program(theta, block.arrays, weight)
            score[own] = np.asarray(found)[: len(own)]
            information[code] -= np.asarray(hessian)
    units = values[likelihood.unit] if likelihood.unit else None
    return Scores(score, information, level, units)


def _chosen(rows: Rows, numbers: Int[np.ndarray, " chosen"]) -> Rows:
    return rows._replace(arrays={name: values[numbers] for name, values in rows.arrays.items()})


def _program(likelihood: Likelihood, counts: Mapping[str, int]) -> Callable[..., Any]:
    """Compile `(theta, arrays, weight (rows,)) -> scores (rows, d), Hessian (d, d) of the weighted sum`."""

    def build() -> Callable[..., Any]:
        function, site, vector = likelihood.function(counts), likelihood.observed, likelihood.vector

        def by_row(theta: Float[Array, " d"], arrays: Mapping[str, Any]) -> Float[Array, " row"]:
            return density.row_log_likelihood(function, site, vector.unpack(theta), arrays)

        def weighted(theta: Any, arrays: Any, weight: Any) -> Float[Array, ""]:
            return weight @ by_row(theta, arrays)

        @jax.jit
        def program(theta: Any, arrays: Any, weight: Any) -> tuple[jax.Array, jax.Array]:
            hessian = jax.jacfwd(jax.grad(weighted))(theta, arrays, weight)
            return jax.jacfwd(by_row)(theta, arrays), hessian

        return program

    return likelihood.program(("scores", *sorted(counts.items())), build)
