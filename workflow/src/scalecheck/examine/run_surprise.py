"""Compare each new block of rows with its prediction."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Int, Real

from scalecheck.checks import surprise
from scalecheck.checks.finding import Finding, not_run
from scalecheck.checks.statistic_design import BlockColumn, Design
from scalecheck.checks.statistic_messages import Setting
from scalecheck.checks.surprise import NewRows
from scalecheck.evaluation import predictive
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.study_data import StudyData
from scalecheck.examine.check_results import CheckResults, family_not_run, join_results
from scalecheck.model.rows import Rows, repeat_last
from scalecheck.results.study_fits import FitResult, StudyFits
from scalecheck.study.plan import Slice
from scalecheck.study.settings import DataSettings

# Rows that are thinned are so in runs of neighbours, that the dependence between them is still seen.
RUN = 100

# Bins of a number that is an axis.
BINS = 8


def run_surprise(study_data: StudyData, study: StudyFits, data: DataSettings) -> CheckResults:
    """Is each new block of rows surprising under the posterior before it?

    Parameters
    ----------
    study_data
        Of the data that the fits saw.
    study
        The fits.
    data
        The section `data`.
    """
    fits = study.usable("increment")
    looks = max(1, sum(task.kind == "increment" for task in study.tasks) - 1)
    steps = list(zip(fits[:-1], fits[1:], strict=True))
    if len(fits) == 1 and not _learns(study_data.likelihood):
        steps = [(fits[0], fits[0])]
    reason = study_data.likelihood.no_new_rows() or (
        "" if steps else "fewer than 2 increments have a usable posterior"
    )
    if reason:
        return family_not_run("surprise", reason)
    results = [surprise_step(study_data, data, *step, 1 / looks) for step in steps]
    return join_results("surprise", results)


def surprise_step(
    study_data: StudyData, data: DataSettings, before: FitResult, after: FitResult, weight: float
) -> tuple[Finding, pd.DataFrame]:
    """Rank the rows that are new in an increment among their predictions from the one before.

    A model without parameters learns nothing from earlier rows: there all rows are new.

    Parameters
    ----------
    study_data
        Of the data that the fits saw.
    data
        The section `data`.
    before, after
        The increment that predicts, and the one whose rows are predicted.
    weight
        Share of the family's error rate.
    """
    learned = _learns(study_data.likelihood)
    start = before.task.rows if learned else 0
    fits = (before.task.fit, after.task.fit) if learned else (after.task.fit,)
    step = NewRows(after.task.fit, start + 1, after.task.rows, start, fits, weight)
    reason = predictive.no_draws(study_data.likelihood, before) if learned else None
    if after.task.rows - start < 2:
        reason = f"surprise needs at least 2 new rows, got {after.task.rows - start}"
    if reason:
        where = {"fit": step.fit, "fits": fits, "weight": weight}
        return not_run("surprise", reason, **where), pd.DataFrame()
    rng = study_data.rng(f"surprise {after.task.fit}")
    order, in_order = after.task.slices[0].order, after.in_arrival_order
    values = study_data.columns([Slice(order, start, after.task.rows)], data.axes)
    prediction = _predict(study_data.likelihood, data, values, before, in_order, rng)
    return surprise.check_surprise(
        prediction.statistics,
        prediction.observed(rng),
        lambda: prediction.more(rng, surprise.n_more(weight)),
        step=step,
        setting=Setting(data.order or "arrival" if in_order else None, learned),
        rng=rng,
    )


def _learns(likelihood: Likelihood) -> bool:
    return bool(likelihood.vector.names or likelihood.hidden)


def _predict(
    likelihood: Likelihood,
    data: DataSettings,
    values: dict[str, np.ndarray],
    before: FitResult,
    ordered: bool,
    rng: np.random.Generator,
) -> predictive.Prediction:
    chosen, follows = _thinned(len(next(iter(values.values()))), rng)
    values = {name: column[chosen] for name, column in values.items()}
    n_rows, n_padded = len(chosen), _round_up(len(chosen)) if likelihood.unit else len(chosen)
    values = {name: repeat_last(column, n_padded) for name, column in values.items()}
    covariates, groups = _columns(likelihood, data, values)
    design = Design(covariates, groups, ordered, repeat_last(follows, n_padded), n_rows)
    draws = predictive.posterior_draws(likelihood, before)
    return predictive.predict_block(likelihood, _rows(likelihood, values), draws, design, rng)


def _thinned(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose rows in runs of neighbours: their numbers, and whether each follows the one before it."""
    if n <= surprise.MOST_PREDICTED:
        return np.arange(n), np.ones(n, bool)
    runs = np.sort(rng.choice(n // RUN, surprise.MOST_PREDICTED // RUN, replace=False))
    chosen = (runs[:, None] * RUN + np.arange(RUN)).ravel()
    return chosen, np.diff(chosen, prepend=-1) == 1


def _round_up(n: int) -> int:
    """Round up to three significant bits: units make blocks unequal, which would each be compiled."""
    step = 2 ** max(0, n.bit_length() - 3)
    return -(-n // step) * step


def _rows(likelihood: Likelihood, values: Mapping[str, np.ndarray]) -> Rows:
    rows = likelihood.rows(values)
    own = [name for name, column in likelihood.model.counts.items() if column == likelihood.unit]
    return rows._replace(counts=rows.counts | {name: _round_up(rows.counts[name]) for name in own})


def _columns(
    likelihood: Likelihood, data: DataSettings, values: Mapping[str, np.ndarray]
) -> tuple[tuple[BlockColumn, ...], tuple[BlockColumn, ...]]:
    """Give covariates and groups: what the model takes, the axes, and the unit."""
    used = likelihood.model.covariates
    unit = (likelihood.unit,) if likelihood.unit else ()
    columns = [
        BlockColumn(name, values[name], name in used)
        for name in dict.fromkeys([*used, *data.axes, *unit])
    ]
    labels = likelihood.labels
    numbers = [c for c in columns if labels[c.name] is None]
    groups = [c for c in columns if labels[c.name] is not None]
    binned = [c._replace(values=_bins(c.values)) for c in numbers if not c.used]
    return tuple(numbers), (*groups, *binned)


def _bins(values: Real[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
    inner = np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf")
    return np.searchsorted(np.unique(inner), values, side="left")
