"""Compare scores along axes, and over time."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from scalecheck.checks import heterogeneity
from scalecheck.checks.finding import Finding, not_run
from scalecheck.checks.moments import Moments
from scalecheck.checks.score_test import Scores, crosses, scores_of_units
from scalecheck.evaluation.observed_rows import observed_rows, tells
from scalecheck.evaluation.row_scores import row_scores
from scalecheck.evaluation.study_data import StudyData
from scalecheck.evaluation.unit_scores import no_unit_scores, unit_codes, unit_scores
from scalecheck.examine.check_results import CheckResults, family_not_run, join_results
from scalecheck.results.study_fits import FitResult, StudyFits, moments
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import DataSettings, IncrementSettings

TIME_BLOCKS = 8


def run_heterogeneity(
    study_data: StudyData, study: StudyFits, data: DataSettings, increments: IncrementSettings
) -> CheckResults:
    """Does a parameter change along an axis, or as data arrive?"""
    axes = list(data.axes)
    time = ["arrival"] if increments.order == "arrival" else []
    weight = 1 / max(1, len(axes) + len(time))
    results = [_along_axis(study_data, study, axis, weight) for axis in axes]
    results += [_along_time(study_data, study, data.order or "arrival", weight) for _ in time]
    if not results:
        return family_not_run("heterogeneity", "data.axes names no axis")
    return join_results("heterogeneity", results)


def _along_axis(
    study_data: StudyData, study: StudyFits, axis: str, weight: float
) -> tuple[Finding, pd.DataFrame]:
    tasks = [task for task in study.tasks if task.axis == axis]
    pooled = study.done[next(task.fit for task in tasks if task.kind == "axis")]
    kind = "misfit" if axis in study_data.likelihood.model.covariates else "heterogeneous"
    where = {"axis": axis, "fit": pooled.task.fit, "weight": weight, "kind": kind}
    if not pooled.health.usable:
        reason = f"the pooled fit {pooled.task.fit} cannot be used: {pooled.health.reason}"
        return not_run("heterogeneity", reason, **where), pd.DataFrame()
    levels = [task for task in tasks if task.kind == "level"]
    codes = np.repeat(np.arange(len(levels)), [task.rows for task in levels])
    values = study_data.columns(pooled.task.slices)
    scores = _selects(study_data, axis, values, codes) or _scores(study_data, pooled, values, codes)
    if isinstance(scores, str):
        return not_run("heterogeneity", scores, **where), pd.DataFrame()
    return heterogeneity.check_heterogeneity(
        axis,
        [task.level for task in levels],
        scores,
        moments([pooled]),
        _level_moments(study, levels, len(study_data.names)),
        names=study_data.names,
        fits=[pooled.task.fit, *(task.fit for task in levels)],
        weight=weight,
        kind=kind,
        ordered=False,
        rng=study_data.rng(f"heterogeneity {axis}"),
    )


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


def _scores(
    study_data: StudyData,
    pooled: FitResult,
    values: Mapping[str, np.ndarray],
    level: Int[np.ndarray, " row"],
) -> Scores | str:
    """Give the scores of rows, or of whole units that have latent sites of their own; or say why not."""
    likelihood, theta = study_data.likelihood, moments([pooled])
    if not likelihood.between:
        return likelihood.no_row_checks() or row_scores(likelihood, values, level, theta.mean[0])
    if reason := no_unit_scores(likelihood):
        return reason
    crossed = crosses(level, unit_codes(likelihood, values))
    found = unit_scores(likelihood, pooled, values, crossed=crossed)
    if isinstance(found, str):
        return found
    return scores_of_units(found.score, level, found.unit, theta.covariance[0])


def _level_moments(study: StudyFits, levels: Sequence[PlannedFit], d: int) -> Moments:
    """Moments of each level; NaN where it has no fit that can be used, which only the picture needs."""
    parts: list[Moments] = []
    for task in levels:
        fit = study.done.get(task.fit)
        nan = Moments(np.full((1, d), np.nan), np.full((1, d, d), np.nan), np.full(1, np.nan))
        parts.append(moments([fit]) if fit is not None and fit.health.usable else nan)
    return Moments(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _along_time(
    study_data: StudyData, study: StudyFits, name: str, weight: float
) -> tuple[Finding, pd.DataFrame]:
    """Equal blocks of the largest increment, in order of arrival."""
    where = {"axis": name, "weight": weight, "kind": "heterogeneous"}
    usable = study.usable("increment")
    if not usable:
        reason = "no increment has a usable posterior"
        return not_run("heterogeneity", reason, **where), pd.DataFrame()
    pooled = usable[-1]
    values = study_data.columns(pooled.task.slices)
    blocks, labels = _time_blocks(study_data, values, pooled.task.rows)
    scores = _scores(study_data, pooled, values, blocks)
    if isinstance(scores, str):
        return not_run("heterogeneity", scores, fit=pooled.task.fit, **where), pd.DataFrame()
    return heterogeneity.check_heterogeneity(
        name,
        labels,
        scores,
        moments([pooled]),
        None,
        names=study_data.names,
        fits=[pooled.task.fit],
        weight=weight,
        kind="heterogeneous",
        ordered=True,
        rng=study_data.rng("heterogeneity over time"),
    )


def _time_blocks(
    study_data: StudyData, values: Mapping[str, np.ndarray], n_rows: int
) -> tuple[Int[np.ndarray, " row"], list[str]]:
    """Cut rows into blocks of equally many rows, or of whole units that have latent sites: `(rows,)` and labels."""
    likelihood = study_data.likelihood
    # Units arrive whole.
    entry = unit_codes(likelihood, values) if likelihood.between else np.arange(n_rows)
    n_entries = int(entry.max()) + 1
    n_blocks = min(TIME_BLOCKS, n_entries)
    blocks = entry * n_blocks // n_entries
    edges = np.flatnonzero(np.diff(blocks, prepend=-1, append=n_blocks))
    labels = [f"rows {a + 1} to {b}" for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return blocks, labels
