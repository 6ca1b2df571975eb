"""Scores of rows: the gradient of the log likelihood of each, and the information along axes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from scalecheck.checks.scores import Along, Scores
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.row_blocks import blocks_of
from scalecheck.model import density
from scalecheck.model.rows import ByRow


def row_scores(
    likelihood: Likelihood,
    values: Mapping[str, ByRow],
    axes: Sequence[Along],
    theta: Float[np.ndarray, " d"],
) -> list[Scores]:
    """Score of each row and information along each axis at `theta` `(d,)`, unconstrained.

    Parameters
    ----------
    likelihood
        Of a model whose rows have scores (`Likelihood.no_row_checks`).
    values
        Columns `(rows,)`.
    axes
        What is asked of the rows along each axis; the rows are asked once for all of them.
    """
    rows, d = likelihood.rows(values), len(theta)
    score = np.zeros((rows.n_rows, d))
    by_level = [np.zeros((len(axis.labels), d, d)) for axis in axes]
    along = [np.zeros((len(axis.shapes), d, d)) for axis in axes]
    blocks = blocks_of(likelihood, rows)
    program = _program(likelihood, blocks.counts)
    for block in blocks.blocks:
        n_own = block.rows.stop - block.rows.start
        score[block.rows], information = (
            np.asarray(part)[:n_own] for part in program(theta, block.arrays)
        )
        for axis, levels, shapes in zip(axes, by_level, along, strict=True):
            _add_by_level(levels, axis.level[block.rows], information)
            shapes += np.tensordot(axis.contrast[block.rows].T, information, 1)
    units = values[likelihood.unit] if likelihood.unit else None
    return [
        Scores(score, levels, axis.level, axis.contrast, shapes, units)
        for axis, levels, shapes in zip(axes, by_level, along, strict=True)
    ]


def _add_by_level(
    total: Float[np.ndarray, "level d d"],
    level: np.ndarray,
    information: Float[np.ndarray, "n d d"],
) -> None:
    order = np.argsort(level, kind="stable")
    codes, first = np.unique(level[order], return_index=True)
    total[codes] += np.add.reduceat(information[order], first, axis=0)


def _program(likelihood: Likelihood, counts: Mapping[str, int]) -> Callable[..., Any]:
    """Compile `(theta, arrays) -> scores (rows, d), information (rows, d, d)`."""

    def build() -> Callable[..., Any]:
        function, site, vector = likelihood.function(counts), likelihood.observed, likelihood.vector

        @jax.jit
        def program(theta: Any, arrays: Any) -> tuple[jax.Array, jax.Array]:
            def by_row(theta: Float[Array, " d"]) -> Float[Array, " row"]:
                return density.row_log_likelihood(function, site, vector.unpack(theta), arrays)

            score = jax.jacfwd(by_row)

            # A direction at a time: of a model that has to see all rows, second derivatives are many.
            def along(direction: Float[Array, " d"]) -> Float[Array, "row d"]:
                return jax.jvp(score, (theta,), (direction,))[1]

            hessian = jax.lax.map(along, jnp.eye(len(theta)))
            return score(theta), -jnp.moveaxis(hessian, 0, 1)

        return program

    return likelihood.program(("scores", *sorted(counts.items())), build)
