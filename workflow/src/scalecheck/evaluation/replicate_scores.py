"""Scores of replicates of all rows at one estimate, summed: what scores do where the model is true."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from scalecheck.checks.scores import ScoreSums
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.replicates import (
    ParameterDraws,
    draw_replicates,
    random_keys,
    replicate_programs,
)
from scalecheck.evaluation.row_blocks import blocks_of
from scalecheck.model.rows import ByRow, repeat_last

# Of more rows than this, replicates take longer than fits do, and sums of scores are nearly normal, which flips need.
MOST_ROWS = 5_000


def no_replicate_scores(likelihood: Likelihood, n_rows: int) -> str | None:
    """Say why scores of replicates cannot be had, or None.

    Where rows are masked, the replicates might be of other rows than the observed; censored ones cannot be drawn.
    """
    if n_rows > MOST_ROWS:
        return f"{n_rows} rows are more than {MOST_ROWS}"
    if likelihood.described_outcome.masked:
        return "rows are masked"
    return likelihood.no_row_checks() or likelihood.no_simulations()


def replicate_scores(
    likelihood: Likelihood,
    values: Mapping[str, ByRow],
    theta: Float[np.ndarray, " d"],
    contrast: Float[np.ndarray, "row contrast"],
    n: int,
    rng: np.random.Generator,
) -> Iterator[ScoreSums]:
    """Draw `n` replicates of all rows at `theta` and sum their scores there, so many at a time as one program takes.

    Parameters
    ----------
    likelihood
        Of a model whose rows have such scores (`no_replicate_scores`).
    values
        Columns `(rows,)`.
    theta
        `(d,)`, unconstrained.
    contrast
        `(rows, contrast)` what scores are multiplied by.
    n
        Number of replicates.
    rng
        Draws them.
    """
    rows = likelihood.rows(values)
    blocks = blocks_of(likelihood, rows)
    program, width = _program(likelihood, blocks.counts), blocks.at_once
    for start in range(0, n, width):
        n_own = min(width, n - start)
        draws = ParameterDraws(np.tile(theta, (n_own, 1)), {})
        keys = random_keys(rng, n_own)
        outcomes = repeat_last(draw_replicates(likelihood, blocks, draws, keys), width)
        sums: list[np.ndarray] = []
        for block in blocks.blocks:
            own = blocks.fill(outcomes[:, block.rows].T).T
            taken = block.is_row[:, None] * blocks.fill(contrast[block.rows])
            row = block.is_row.astype(float)
            found = [np.asarray(part) for part in program(own, theta, block.arrays, row, taken)]
            sums = [one + other for one, other in zip(sums, found, strict=True)] if sums else found
        yield ScoreSums(*(one[:n_own] for one in sums))


def _program(likelihood: Likelihood, counts: Mapping[str, int]) -> Callable[..., Any]:
    """Compile `(outcomes (set, rows), theta, arrays, row (rows,), contrast (rows, contrast)) -> parts of ScoreSums`."""

    def build() -> Callable[..., Any]:
        scores = replicate_programs(likelihood, counts).scores

        @jax.jit
        def program(outcomes: Any, theta: Any, arrays: Any, row: Any, contrast: Any) -> Any:
            found = row[:, None] * scores(theta, jnp.eye(len(theta)), arrays, outcomes)
            along = jnp.einsum("mrd,rc->mcd", found, contrast)
            return found.sum(axis=1), along, (found**2).sum(axis=1)

        return program

    return likelihood.program(("replicate scores", *sorted(counts.items())), build)
