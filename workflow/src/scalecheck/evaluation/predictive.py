"""What a model predicts for a block of rows: replicates, and what the battery measures of each."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from scalecheck.checks import replicate_statistics, surprise
from scalecheck.checks.statistic_design import Design, Statistic, lay_out
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.replicates import Gradients, Known, ParameterDraws, compiled
from scalecheck.model.rows import Rows
from scalecheck.model.sites import ROWS
from scalecheck.results.study_fits import FitResult

NDArray = np.ndarray
Function = Callable[..., Any]

# Members that one call of a program measures.
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
    if not likelihood.vector.names and not likelihood.hidden:
        return no_parameters()
    z = before.z
    sites = before.tree["posterior"] if _shared(likelihood) else {}
    hidden = {name: sites[name].to_numpy().astype("float64") for name in _shared(likelihood)}
    flat = {name: part.reshape(-1, *part.shape[2:]) for name, part in hidden.items()}
    return ParameterDraws(z.reshape(z.shape[0] * z.shape[1], z.shape[2]), flat)


def no_parameters() -> ParameterDraws:
    """Give the draws of a model without parameters: each is the same."""
    return ParameterDraws(np.zeros((1, 0)), {})


def no_draws(likelihood: Likelihood, before: FitResult) -> str | None:
    """Say which draws are missing for a prediction, or None."""
    missing = [name for name in _shared(likelihood) if name not in before.tree["posterior"]]
    if not missing:
        return None
    return f"the draws of {', '.join(missing)} were not kept: add it to sampler.keep"


def _shared(likelihood: Likelihood) -> list[str]:
    """Name hidden sites that earlier rows share with new ones: not of rows, nor of units, which are new with them."""
    own = {ROWS, likelihood.unit}
    return [site.name for site in likelihood.hidden if not own & set(site.indexed_by)]


class Prediction(NamedTuple):
    """A block of rows and its predictive distribution, ready to be measured.

    Attributes
    ----------
    statistics
        What is measured.
    known
        What members share.
    draws
        Parameters of replicates.
    program
        `(draws, keys, is_observed, known) -> (member, q)`, compiled.
    """

    statistics: tuple[Statistic, ...]
    known: Known
    draws: ParameterDraws
    program: Function

    def observed(self, rng: np.random.Generator) -> NDArray:
        """Measure the observed rows and then `surprise.REPLICATES` replicates, `(member, q)`."""
        return self._measure(rng, observed=True)

    def more(self, rng: np.random.Generator, n: int) -> Iterator[NDArray]:
        """Measure `n` further replicates, `(chunk, q)` at a time."""
        for start in range(0, n, AT_ONCE):
            yield self._measure(rng, observed=False)[: n - start]

    def _measure(self, rng: np.random.Generator, *, observed: bool) -> NDArray:
        is_observed = np.zeros(AT_ONCE, bool)
        is_observed[0] = observed
        draws = self.draws.choose(AT_ONCE, rng)
        return np.asarray(self.program(draws, _keys(rng, AT_ONCE), is_observed, self.known))


def _keys(rng: np.random.Generator, n: int) -> jax.Array:
    return jax.random.split(jax.random.PRNGKey(int(rng.integers(2**31))), n)


def predict(
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
        The block, its outcome included; rows that only pad come last.
    draws
        Parameters of the replicates.
    design
        What is known of the rows.
    rng
        Draws replicates.
    """
    programs = compiled(likelihood, rows.counts)
    n_drawn = replicate_statistics.N_REFERENCE + 1
    drawn, is_discrete = programs.simulate(
        draws.choose(n_drawn, rng), _keys(rng, n_drawn), rows.arrays
    )
    reference = np.asarray(drawn, float)[:-1].T
    scoring = _scoring(likelihood, draws, rng)
    gradients = None
    if not likelihood.hidden and 0 < draws.z.shape[1] <= MOST_SCORED:
        row = (np.arange(rows.n_rows) < design.n_rows).astype(float)
        few = np.ascontiguousarray(reference[:, :FOR_INFORMATION].T)
        information = np.asarray(programs.information(scoring.z[0], rows.arrays, few, row))
        gradients = _gradients(information, np.cov(draws.z, rowvar=False), design.n_rows)
    counted = _counted(reference) if bool(is_discrete) else ()
    statistics, weights = lay_out(design, _fitted(reference), counted, scored=gradients is not None)
    outcome = np.asarray(rows.arrays[likelihood.model.outcome], float)
    ranked = np.sort(reference, axis=1)
    known = Known(rows.arrays, scoring, _keys(rng, 1)[0], gradients, weights, ranked, outcome)
    return Prediction(statistics, known, draws, programs.members)


def _scoring(
    likelihood: Likelihood, draws: ParameterDraws, rng: np.random.Generator
) -> ParameterDraws:
    if likelihood.hidden:
        return draws.choose(MIXTURE, rng)
    return ParameterDraws(draws.z.mean(axis=0, keepdims=True), {})


def _gradients(information: NDArray, covariance: NDArray, n_rows: int) -> Gradients:
    """Find how gradients are measured, from the information `(d, d)` of a row and the posterior covariance.

    Their sum varies with the rows, and with the parameters that the earlier rows leave open.
    """
    diagonal = np.diag(information)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    # Directions in which the rows say nothing are left out.
    inverse = np.where(values > 1e-8, 1 / np.sqrt(np.maximum(values, 1e-8)), 0.0)
    root = scale[:, None] * vectors * inverse
    moved = root.T @ information
    opened = moved @ covariance.reshape(root.shape) @ moved.T
    return Gradients(root, np.linalg.inv(n_rows * np.eye(len(values)) + n_rows**2 * opened))


def _fitted(reference: NDArray) -> NDArray:
    """Give the mean `(n,)` of finite replicates of each row."""
    finite = np.isfinite(reference)
    total = np.where(finite, reference, 0.0).sum(axis=1)
    return total / np.maximum(finite.sum(axis=1), 1)


def _counted(reference: NDArray) -> tuple[float, ...]:
    """Give the least and the most frequent value, where there are more than two."""
    values, counts = np.unique(reference[:, :64], return_counts=True)
    if len(values) <= 2 or not np.isfinite(values).all():
        return ()
    return tuple(dict.fromkeys([float(values[0]), float(values[counts.argmax()])]))
