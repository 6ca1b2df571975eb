"""What a model predicts for rows: replicates of them, and the statistics of each.

So many replicates as one call of a program takes are drawn, scored and measured at a time, and nothing is kept but
their statistics.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Real

from scalecheck.checks import surprise
from scalecheck.checks.moments import scaled_eigh
from scalecheck.checks.replicate_statistics import N_REFERENCE, Members, measure_replicates
from scalecheck.checks.statistic_design import Design, Statistic, Weights, lay_out
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.replicates import (
    ParameterDraws,
    Scored,
    Scoring,
    draw_replicates,
    random_keys,
    replicate_programs,
)
from scalecheck.evaluation.row_blocks import HELD, RowBlock, RowBlocks, blocks_of
from scalecheck.model.rows import Rows, repeat_last
from scalecheck.results.study_fits import FitResult

# Members that draws of the posterior are chosen for without replacement.
AT_ONCE = 1 + surprise.REPLICATES

# Draws of what is hidden, over which a log score averages.
MIXTURE = 16

# Replicates from which the Fisher information is estimated; and parameters beyond which it costs too much.
FOR_INFORMATION = 32
MOST_SCORED = 64


def posterior_draws(likelihood: Likelihood, before: FitResult) -> ParameterDraws:
    """Take the draws of a fit that other rows are predicted from.

    Parameters
    ----------
    likelihood
        Of the model.
    before
        The fit.

    Raises
    ------
    KeyError
        When `sampler.keep` left out a site that earlier rows share: ask `no_draws` first.
    """
    if not likelihood.vector.names and not likelihood.between:
        return ParameterDraws(np.zeros((1, 0)), {})  # each is the same
    z = before.tree["unconstrained_posterior"]["z"].to_numpy()
    shared = {
        site.name: before.tree["posterior"][site.name].to_numpy() for site in likelihood.shared
    }
    hidden = {n: x.reshape(-1, *x.shape[2:]) for n, x in shared.items()}
    return ParameterDraws(z.reshape(-1, z.shape[-1]), hidden)


def no_draws(likelihood: Likelihood, before: FitResult) -> str | None:
    """Say which draws are missing for a prediction, or None."""
    names = [site.name for site in likelihood.shared]
    missing = [name for name in names if name not in before.tree["posterior"]]
    if not missing:
        return None
    return f"the draws of {', '.join(missing)} were not kept: add it to sampler.keep"


class Prediction(NamedTuple):
    """A block of rows and its predictive distribution, ready to be measured.

    Attributes
    ----------
    statistics
        What is measured.
    likelihood
        Of the model.
    blocks
        The rows.
    outcome
        `(n,)` observed.
    draws
        Parameters of replicates.
    scoring
        How outcomes are scored.
    precision
        `(d, d)` inverse covariance of the sum over the rows of the gradients that `scoring` takes.
    weights
        Of the statistics.
    references
        By block, `(size, N_REFERENCE)` replicates, sorted in each row.
    """

    statistics: tuple[Statistic, ...]
    likelihood: Likelihood
    blocks: RowBlocks
    outcome: Real[np.ndarray, " n"]
    draws: ParameterDraws
    scoring: Scoring
    precision: Float[np.ndarray, "d d"] | None
    weights: Weights
    references: tuple[jax.Array, ...]

    def observed(self, rng: np.random.Generator) -> Float[np.ndarray, "member q"]:
        """Measure the observed rows and then `surprise.REPLICATES` replicates, `(member, q)`."""
        return np.concatenate([*self._measured(rng, observed=True)])

    def more(self, rng: np.random.Generator, n: int) -> Iterator[Float[np.ndarray, "chunk q"]]:
        """Measure `n` further replicates, `(chunk, q)` at a time: AT_ONCE, and last what is left."""
        for start in range(0, n, AT_ONCE):
            yield np.concatenate([*self._measured(rng, observed=False)])[: n - start]

    def _measured(
        self, rng: np.random.Generator, *, observed: bool
    ) -> Iterator[Float[np.ndarray, "chunk q"]]:
        """Measure AT_ONCE members, so many at a time as one call of a program takes."""
        draws, keys = self.draws.choose(AT_ONCE, rng), random_keys(rng, AT_ONCE)
        width = self.blocks.at_once
        parts = [slice(start, start + width) for start in range(0, AT_ONCE, width)]
        drawn = (
            draw_replicates(self.likelihood, self.blocks, draws.take(own), keys[own])
            for own in parts
        )
        for number, outcomes in enumerate(_one_ahead(drawn)):
            if observed and number == 0:
                outcomes[0] = self.outcome
            yield self._measure(outcomes)

    def _measure(self, outcomes: Float[np.ndarray, "chunk n"]) -> Float[np.ndarray, "chunk q"]:
        z, log_score = np.empty_like(outcomes), np.empty_like(outcomes)
        d = 0 if self.precision is None else len(self.precision)
        dispersion, gradient = np.zeros(len(outcomes)), np.zeros((len(outcomes), d))
        for block, found in self._scored(outcomes):
            n_rows = block.rows.stop - block.rows.start
            z[:, block.rows] = found.z[: len(z), :n_rows]
            log_score[:, block.rows] = found.log_score[: len(z), :n_rows]
            if self.precision is not None:
                dispersion += found.dispersion[: len(z)]
                gradient += found.gradient[: len(z)]
        forms = (None, None)
        if self.precision is not None:
            score = np.einsum("mi,ij,mj->m", gradient, self.precision, gradient)
            forms = dispersion / self.weights.row.sum(), score
        members = Members(outcomes, z, log_score, *forms)
        width = max(1, HELD // outcomes.shape[1])
        parts = [members.part(start, start + width) for start in range(0, len(outcomes), width)]
        return np.concatenate([measure_replicates(self.weights, part) for part in parts])

    def _scored(self, outcomes: Float[np.ndarray, "chunk n"]) -> Iterator[tuple[RowBlock, Scored]]:
        """Score outcomes block by block."""
        programs = replicate_programs(self.likelihood, self.blocks.counts)
        members = repeat_last(outcomes, self.blocks.at_once)
        for block in self.blocks.blocks:
            own, fill = block.rows, self.blocks.fill
            found = programs.score(
                fill(members[:, own].T).T,
                self.scoring,
                block.arrays,
                np.uint32(block.number),
                block.is_row * fill(self.weights.row[own]),
                self.references[block.number],
            )
            yield block, jax.tree.map(np.asarray, found)


def predict_block(
    likelihood: Likelihood,
    rows: Rows,
    draws: ParameterDraws,
    design: Design,
    rng: np.random.Generator,
) -> Prediction:
    """Predict a block of rows.

    Parameters
    ----------
    likelihood
        Of the model.
    rows
        The block, its outcome included. Where the true value is not observed, one was drawn
        (`observed_rows.complete`).
    draws
        Parameters of the replicates.
    design
        What is known of the rows.
    rng
        Draws replicates.
    """
    blocks = blocks_of(likelihood, rows)
    chosen, keys = draws.choose(N_REFERENCE, rng), random_keys(rng, N_REFERENCE)
    reference = draw_replicates(likelihood, blocks, chosen, keys).T
    at, root, precision = _scored_at(likelihood, draws, rng), None, None
    if not (design.taken_out or likelihood.between) and 0 < draws.z.shape[1] <= MOST_SCORED:
        information = _information(likelihood, blocks, at, reference, design.takes_part)
        covariance = np.cov(draws.z, rowvar=False)
        root, precision = _gradients(information, covariance, int(design.takes_part.sum()))
    is_discrete = likelihood.described_outcome.discrete
    counted = _counted(reference[design.takes_part]) if is_discrete else ()
    statistics, weights = lay_out(design, _fitted(reference), counted, scored=root is not None)
    ranked = np.sort(reference, axis=1)
    return Prediction(
        statistics,
        likelihood,
        blocks,
        np.asarray(rows.arrays[likelihood.model.outcome], float),
        draws,
        Scoring(at, random_keys(rng, 1)[0], root),
        precision,
        weights,
        tuple(jax.device_put(blocks.fill(ranked[block.rows])) for block in blocks.blocks),
    )


def _one_ahead(made: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Give what an iterator makes; a thread makes the next meanwhile, for NumPy draws with one core.

    The caller waits for the first: what traces the model is done before two threads could.
    """
    device, in_double = jax.config.jax_default_device, jax.config.jax_enable_x64

    def make() -> np.ndarray | None:
        # Settings of JAX belong to a thread.
        with jax.default_device(device), jax.enable_x64(in_double):
            return next(made, None)

    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(make)
        while (found := following.result()) is not None:
            following = thread.submit(make)
            yield found


def _scored_at(
    likelihood: Likelihood, draws: ParameterDraws, rng: np.random.Generator
) -> ParameterDraws:
    if likelihood.between:
        return draws.choose(MIXTURE, rng).in_double()
    return ParameterDraws(draws.in_double().z.mean(axis=0, keepdims=True), {})


def _gradients(
    information: Float[np.ndarray, "d d"], covariance: np.ndarray, n_rows: int
) -> tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d d"]]:
    """Find how gradients are measured, from the information `(d, d)` of a row and the posterior covariance.

    Times the first matrix the gradient of a row has unit information; the second is the inverse covariance of the sum
    of such gradients, which varies with the rows, and with the parameters that the earlier rows leave open.
    """
    values, vectors, scale = scaled_eigh(information)
    # Directions in which the rows say nothing are left out.
    inverse = np.where(values > 1e-8, 1 / np.sqrt(np.maximum(values, 1e-8)), 0.0)
    root = scale[:, None] * vectors * inverse
    moved = root.T @ information
    opened = moved @ covariance.reshape(root.shape) @ moved.T
    return root, np.linalg.inv(n_rows * np.eye(len(values)) + n_rows**2 * opened)


def _information(
    likelihood: Likelihood,
    blocks: RowBlocks,
    at: ParameterDraws,
    reference: Float[np.ndarray, "n replicate"],
    takes_part: Bool[np.ndarray, " n"],
) -> Float[np.ndarray, "d d"]:
    """Estimate the Fisher information `(d, d)` of a row from a few replicates."""
    program, few = (
        replicate_programs(likelihood, blocks.counts).information,
        reference[:, :FOR_INFORMATION],
    )
    total = np.zeros((at.z.shape[1], at.z.shape[1]))
    for block in blocks.blocks:
        row = (block.is_row & blocks.fill(takes_part[block.rows])).astype(float)
        outcomes = np.ascontiguousarray(blocks.fill(few[block.rows]).T)
        total += np.asarray(program(at.z[0], block.arrays, outcomes, row))
    return total / (FOR_INFORMATION * takes_part.sum())


def _fitted(reference: Float[np.ndarray, "n replicate"]) -> Float[np.ndarray, " n"]:
    """Give the mean `(n,)` of finite replicates of each row."""
    finite = np.isfinite(reference)
    total = np.where(finite, reference, 0.0).sum(axis=1)
    return total / np.maximum(finite.sum(axis=1), 1)


def _counted(reference: Float[np.ndarray, "n replicate"]) -> tuple[float, ...]:
    """Give the least and the most frequent value, where there are more than two."""
    values, counts = np.unique(reference[:, :64], return_counts=True)
    if len(values) <= 2 or not np.isfinite(values).all():
        return ()
    return tuple(dict.fromkeys([float(values[0]), float(values[counts.argmax()])]))
