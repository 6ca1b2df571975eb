"""The whole plan on data sets simulated from the posterior: what the checks find where the model is right."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from scalecheck.checks.finding_table import findings_table
from scalecheck.checks.simulated_ranks import DATA_SET
from scalecheck.data import store
from scalecheck.errors import StudyError
from scalecheck.evaluation.study_data import Read, StudyData, open_study_data
from scalecheck.files.layout import StudyFolder
from scalecheck.model import density
from scalecheck.results.study_fits import FitResult, StudyFits, read_study_fits
from scalecheck.runtime.program import Log
from scalecheck.simulation import simulated_checks
from scalecheck.simulation.data_sets import DataSet
from scalecheck.study.plan import Slice
from scalecheck.study.settings import Study

# Fits that are made again. Levels are the picture of an axis, and no statistic rests on them alone.
KINDS = ("subset", "increment")


def simulate_findings(folder: StudyFolder, settings: Study, log: Log) -> pd.DataFrame:
    """Simulate `verdict.simulate` data sets, run the plan on each, and check its fits.

    Parameters
    ----------
    folder
        Of a study whose fits are done.
    settings
        The study.
    log
        Takes lines of progress.

    Returns
    -------
    DataFrame
        The findings of each data set as findings.csv has them, and its number, `data_set`. Empty where there is
        no posterior to simulate from.

    Raises
    ------
    StudyError
        When the model cannot simulate its outcomes.
    """
    study_data = open_study_data(folder, settings.model, settings.data.outcome, settings.seed)
    if reason := study_data.likelihood.no_simulations():
        raise StudyError(f"verdict.simulate must be 0: {reason}")
    fits = read_study_fits(folder, settings.increments.order)
    source = last_good(fits)
    if source is None:
        log("nothing is simulated: no increment has a usable posterior to simulate from")
        return pd.DataFrame(columns=[DATA_SET])
    log(f"{settings.verdict.simulate} data sets are simulated from {source.task.fit}")
    read = _reader(study_data, fits, source, settings)
    data_sets = [
        DataSet(tuple(fits.tasks), KINDS, read(number), _seed(settings.seed, number))
        for number in range(settings.verdict.simulate)
    ]
    outcomes = simulated_checks.run_studies(
        settings, study_data.likelihood, study_data.prior, data_sets, log
    )
    found = [findings_table(list(outcome.found.findings)) for outcome in outcomes]
    return pd.concat(found, keys=range(len(found)), names=[DATA_SET]).reset_index(level=DATA_SET)


def last_good(fits: StudyFits) -> FitResult | None:
    """Give the last usable increment that nothing was found to break at; None where there is none.

    Parameters
    ----------
    fits
        Of the study.
    """
    good = [fit for fit in fits.usable("increment") if not fit.record.stop]
    return good[-1] if good else None


def _seed(seed: int, number: int) -> int:
    return zlib.crc32(f"{seed} simulated {number}".encode())


def _reader(study_data: StudyData, fits: StudyFits, source: FitResult, settings: Study) -> Any:
    """Simulate outcomes of every row that a fit reads; give `number -> read`."""
    tasks = [task for task in fits.tasks if task.kind in KINDS]
    slices = [part for task in tasks for part in task.slices]
    values = study_data.columns(slices, [store.OBSERVATION])
    observations, first = np.unique(values[store.OBSERVATION], return_index=True)
    distinct = {name: column[first] for name, column in values.items()}
    outcomes = _predict(study_data, source, distinct, settings.verdict.simulate)
    (column,) = study_data.likelihood.model.arguments[settings.data.outcome].columns

    def of_data_set(number: int) -> Read:
        def read(slices: Sequence[Slice], columns: Sequence[str]) -> dict[str, np.ndarray]:
            found = study_data.read(slices, [*columns, store.OBSERVATION])
            if column in found:
                rows = np.searchsorted(observations, found[store.OBSERVATION])
                found[column] = outcomes[number][rows]
            return {name: found[name] for name in columns}

        return read

    return of_data_set


def _predict(
    study_data: StudyData, source: FitResult, values: Mapping[str, np.ndarray], n_sets: int
) -> np.ndarray:
    """Predict all rows once per data set, each time from another draw: `(data set, rows)`."""
    likelihood = study_data.likelihood
    rng = study_data.rng("simulated data sets")
    flat = source.z.reshape(-1, source.z.shape[-1])
    chosen = rng.choice(len(flat), n_sets, replace=len(flat) < n_sets)
    keys = jax.random.split(jax.random.PRNGKey(int(rng.integers(2**31))), n_sets)
    with jax.enable_x64(True):
        rows = likelihood.rows(values)
        function = likelihood.function(rows.counts)

        @jax.jit
        def draw(z: jax.Array, key: jax.Array, arrays: dict[str, jax.Array]) -> jax.Array:
            # Sites of groups are not in z: they are drawn anew, given what is.
            shared = density.constrain(function, likelihood.vector.unpack(z), arrays)
            outcome = likelihood.model.outcome
            return density.draw_outcome(function, likelihood.observed, outcome, shared, arrays, key)

        arrays = {name: jnp.asarray(part) for name, part in rows.arrays.items()}
        pairs = zip(jnp.asarray(flat[chosen]), keys, strict=True)
        return np.stack([np.asarray(draw(z, key, arrays)) for z, key in pairs])
