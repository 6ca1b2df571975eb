"""Compare scores along axes on all rows that were fitted, and over time on those of the largest increment."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scalecheck.checks import heterogeneity
from scalecheck.checks.finding import Finding, not_run
from scalecheck.checks.moments import Moments
from scalecheck.checks.scores import Along, ordered, unordered
from scalecheck.data.levels import cut_numbers
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.observed_rows import observed_rows, tells
from scalecheck.evaluation.one_step_estimates import one_step_estimates
from scalecheck.evaluation.study_data import StudyData
from scalecheck.evaluation.unit_scores import unit_codes
from scalecheck.examine.check_results import CheckResults, family_not_run, join_results
from scalecheck.examine.fitted_rows import NO_INCREMENT, FittedRows
from scalecheck.results.study_fits import StudyFits, moments
from scalecheck.study.settings import DataSettings, IncrementSettings, time_axis

# Levels of a number, and blocks of time; a number that has few values, as months do, has a level for each.
BINS, FEW_VALUES = 8, 20


def run_heterogeneity(
    study_data: StudyData,
    study: StudyFits,
    largest: FittedRows | None,
    every: FittedRows | None,
    data: DataSettings,
    increments: IncrementSettings,
) -> CheckResults:
    """Does a parameter change along an axis, or as data arrive?

    Parameters
    ----------
    study_data
        Of the data that the fits saw.
    study
        The fits.
    largest, every
        Rows of the largest increment, which are asked over time, and all that were fitted, which are asked along axes;
        None: no increment can be used.
    data, increments
        Sections of the study.

    Returns
    -------
    CheckResults
        The table is that of `check_heterogeneity`, with `one_step_mean`, `one_step_low` and `one_step_high`: estimate
        and 89 % interval of each level by one step, on the scale of the model.
    """
    time = time_axis(data, increments)
    names = list(data.axes)
    if time is not None and time not in names:
        names.append(time)
    if not names:
        return family_not_run("heterogeneity", "data.axes names no axis")
    weight = 1 / len(names)
    found: list[tuple[Finding, pd.DataFrame]] = []
    if largest is None or every is None:
        for name in names:
            where = {"axis": name, "weight": weight, "kind": _kind(study_data, data, name)}
            found.append((not_run("heterogeneity", NO_INCREMENT, **where), pd.DataFrame()))
        return join_results("heterogeneity", found)
    asked = {
        name: _along(study_data, name, every.values, is_time=name == time) for name in data.axes
    }
    scores = every.scores(asked)
    if time is not None and time not in data.axes:
        asked[time] = _over_time(study_data, largest.values, largest.fits[0].task.rows)
        scores |= largest.scores({time: asked[time]})
    for name in names:
        along, own = asked[name], scores[name]
        rows = every if name in data.axes else largest
        where = {"weight": weight, "kind": _kind(study_data, data, name)}
        if isinstance(along, str) or isinstance(own, str):
            reason = along if isinstance(along, str) else str(own)
            where |= {"axis": name, "fit": rows.names[0]}
            found.append((not_run("heterogeneity", reason, **where), pd.DataFrame()))
            continue
        levels = _level_moments(study, name, along.labels, len(study_data.names))
        rng = study_data.rng(f"heterogeneity {name}")
        finding, table = heterogeneity.check_heterogeneity(
            name,
            along,
            own,
            rows.pooled,
            levels,
            names=study_data.names,
            fits=rows.names,
            over_time=name == time,
            rng=rng,
            replicates=rows.replicates(along, rng),
            **where,
        )
        found.append((finding, _with_estimates(study_data.likelihood, table)))
    return join_results("heterogeneity", found)


def _with_estimates(likelihood: Likelihood, table: pd.DataFrame) -> pd.DataFrame:
    """Add the one-step estimates on the scale of the model: `one_step_mean`, `one_step_low`, `one_step_high`."""
    if table.empty:
        return table
    d = len(likelihood.vector.names)
    pooled, step, sd = (
        table[name].to_numpy(float).reshape(-1, d)
        for name in ("pooled_mean", "one_step", "one_step_sd")
    )
    found = one_step_estimates(likelihood, pooled[0], step, sd)
    columns = {f"one_step_{name}": part.ravel() for name, part in found._asdict().items()}
    return table.assign(**columns)


def _kind(study_data: StudyData, data: DataSettings, axis: str) -> str:
    used = axis in data.axes and axis in study_data.likelihood.model.covariates
    return "misfit" if used else "heterogeneous"


def _selects(
    study_data: StudyData, axis: str, values: Mapping[str, np.ndarray], level: np.ndarray
) -> str:
    """Say that the levels of an axis choose rows by their outcome, or nothing."""
    likelihood = study_data.likelihood
    outcome = likelihood.described_outcome
    if likelihood.no_rows() or not (outcome.censored or outcome.within):
        return ""
    known = axis in likelihood.censoring_columns
    if known or (outcome.censored and tells(level, observed_rows(likelihood, values).censored)):
        return f"{axis} tells which outcomes are censored: its levels differ in any true model"
    return ""


def _along(
    study_data: StudyData, axis: str, values: Mapping[str, np.ndarray], *, is_time: bool
) -> Along | str:
    """Cut an axis into all labels that any row has, or a number into bins of as many rows; or say why not."""
    labels, column = study_data.likelihood.labels[axis], values[axis]
    if labels is not None:
        codes, level = np.unique(column, return_inverse=True)
        names = tuple(str(labels[code]) for code in codes)
        # Labels of time stand in its order.
        along = ordered(names, level, codes[level] - 0.5) if is_time else unordered(names, level)
    else:
        n_levels = FEW_VALUES if len(np.unique(column)) <= FEW_VALUES else BINS
        cut = cut_numbers(np.sort(column), n_levels)
        if cut is None:
            return f"{axis} has one value in all rows that were fitted"
        along = ordered(cut.labels, cut.level_of(column), column.astype(float))
    return _selects(study_data, axis, values, along.level) or along


def _over_time(study_data: StudyData, values: Mapping[str, np.ndarray], n_rows: int) -> Along:
    """Cut rows into blocks of equally many, or of whole units that have latent sites."""
    likelihood = study_data.likelihood
    # Units arrive whole.
    entry = unit_codes(likelihood, values) if likelihood.between else np.arange(n_rows)
    n_entries = int(entry.max()) + 1
    n_blocks = min(BINS, n_entries)
    blocks = entry * n_blocks // n_entries
    edges = np.flatnonzero(np.diff(blocks, prepend=-1, append=n_blocks))
    labels = [f"rows {a + 1} to {b}" for a, b in zip(edges[:-1], edges[1:], strict=True)]
    # From 1 on it would have a logarithm.
    return ordered(tuple(labels), blocks, entry - (n_entries - 1) / 2)


def _level_moments(study: StudyFits, axis: str, labels: Sequence[str], d: int) -> Moments:
    """Moments of each level; NaN where it has no fit that can be used, which only the picture needs."""
    fits = {task.level: study.done.get(task.fit) for task in study.tasks if task.axis == axis}
    nan = Moments(np.full((1, d), np.nan), np.full((1, d, d), np.nan), np.full(1, np.nan))
    used = {level: fit for level, fit in fits.items() if fit is not None and fit.health.usable}
    parts = [moments([used[label]]) if label in used else nan for label in labels]
    return Moments(*(np.concatenate(values) for values in zip(*parts, strict=True)))
