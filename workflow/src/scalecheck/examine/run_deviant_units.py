"""Describe the units that deviate most from what the model predicts of a new unit."""

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from scalecheck.checks import deviant_units
from scalecheck.evaluation import observed_rows, predictive, replicates
from scalecheck.evaluation.row_blocks import blocks_of
from scalecheck.evaluation.study_data import StudyData
from scalecheck.model.rows import Rows, local_codes
from scalecheck.results.study_fits import FitResult, StudyFits

# Among hundreds of units, ranks of fewer replicates could not show one that deviates.
FEWEST, MOST, AT_ONCE = 1_000, 4_000, 250
# Outcomes predicted in all: a second of processor time.
OUTCOMES = 32_000_000


def describe_units(study_data: StudyData, study: StudyFits) -> pd.DataFrame:
    """Tabulate the most deviant units of the largest increment that can be used; no finding comes of it."""
    likelihood = study_data.likelihood
    fits = study.usable("increment")[-1:]
    if likelihood.unit is None or not fits or not study_data.names or likelihood.no_new_rows():
        return pd.DataFrame()
    if predictive.no_draws(likelihood, fits[0]):
        return pd.DataFrame()
    with jax.enable_x64(True):
        return _table(study_data, fits[0], likelihood.unit)


def _table(study_data: StudyData, fit: FitResult, column: str) -> pd.DataFrame:
    likelihood = study_data.likelihood
    values = study_data.columns(fit.task.slices)
    takes_part, censored = observed_rows.observed_rows(likelihood, values)
    if censored.any() and observed_rows.not_kept(likelihood, fit) or not takes_part.any():
        return pd.DataFrame()
    rows = likelihood.rows(values)
    outcome = rows.arrays[likelihood.model.outcome].astype(float)
    if censored.any():
        rng = study_data.rng("censored outcomes of units")
        outcome = observed_rows.complete(likelihood, fit, values, rng)
    # Units of which all rows are masked have no mean.
    unit, codes = local_codes(values[column][takes_part])
    observed = means(outcome[takes_part][None], unit)[0]
    names = likelihood.labels[column]
    labels = [str(code) if names is None else str(names[code]) for code in codes]
    replicates = _replicates(study_data, fit, rows, takes_part, unit)
    return deviant_units.tabulate_deviant_units(labels, np.bincount(unit), observed, replicates)


def _replicates(
    study_data: StudyData, fit: FitResult, rows: Rows, takes_part: np.ndarray, unit: np.ndarray
) -> np.ndarray:
    """Mean outcome of each unit in each replicate, `(replicate, unit)`, latent sites of units drawn anew."""
    likelihood, rng = study_data.likelihood, study_data.rng("deviant units")
    blocks = blocks_of(likelihood, rows)
    draws = predictive.posterior_draws(likelihood, fit)
    n_replicates = int(np.clip(OUTCOMES // len(takes_part), FEWEST, MOST))
    parts: list[np.ndarray] = []
    for _ in range(n_replicates // AT_ONCE):
        chosen, keys = draws.choose(AT_ONCE, rng), replicates.random_keys(rng, AT_ONCE)
        outcomes = replicates.draw_replicates(likelihood, blocks, chosen, keys)
        parts.append(means(outcomes[:, takes_part], unit))
    return np.concatenate(parts)


def means(
    outcomes: Float[np.ndarray, "replicate row"], unit: Int[np.ndarray, " row"]
) -> Float[np.ndarray, "replicate unit"]:
    """Average outcomes `(replicate, rows)` by unit, coded `(rows,)`: `(replicate, unit)`."""
    size = np.bincount(unit)
    order = np.argsort(unit, kind="stable")
    first = np.concatenate([[0], size.cumsum()[:-1]])
    return np.add.reduceat(outcomes[:, order], first, axis=1) / size
