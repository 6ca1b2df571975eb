"""Compare each new block of rows with its prediction."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Real

from scalecheck.checks import second_defect, summed_surprise, surprise
from scalecheck.checks.finding import Finding, not_run, step_weight
from scalecheck.checks.member_ranks import Scale
from scalecheck.checks.statistic_design import BlockColumn, Design, columns_taken_out
from scalecheck.checks.statistic_messages import Setting
from scalecheck.checks.summed_surprise import StepAgain, StepMembers
from scalecheck.checks.surprise import NewRows
from scalecheck.evaluation import observed_rows, predictive
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.study_data import StudyData
from scalecheck.examine.check_results import CheckResults, family_not_run, join_results
from scalecheck.examine.looks import Look, SurprisedStep
from scalecheck.model.rows import Rows, repeat_last
from scalecheck.results.study_fits import FitResult, StudyFits
from scalecheck.study.plan import Slice
from scalecheck.study.settings import DataSettings

# Rows that are thinned are so in runs of neighbours, that the dependence between them is still seen.
RUN = 100

# Bins of a number that is an axis, and blocks of the order of arrival.
BINS = 8

# Levels that have more than this share of the rows for their means and slopes leave too little of them; and rows times
# columns are a matrix.
MOST_TAKEN_OUT, MOST_ENTRIES = 0.25, 2**24
# Of fewer values than this, variance and kurtosis follow from the mean.
FEWEST_VALUES = 6


def run_surprise(
    study_data: StudyData, study: StudyFits, data: DataSettings, seen: Mapping[str, Look]
) -> CheckResults:
    """Is each new block of rows surprising under the posterior before it?

    Parameters
    ----------
    study_data
        Of the data that the fits saw.
    study
        The fits.
    data
        The section `data`.
    seen
        Looks at increments as they ended, by fit.
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
    weight = weight_of_step(study_data.likelihood, looks)
    found = [
        _surprised(seen, after) or surprise_step(study_data, data, before, after, weight)
        for before, after in steps
    ]
    results = [(one.finding, one.table) for one in found]
    measured = [(step, one.members) for step, one in zip(steps, found, strict=True) if one.members]
    if len(measured) > 1 and _learns(study_data.likelihood):
        results.append((_together(study_data, data, measured), pd.DataFrame()))
    return join_results("surprise", results)


def weight_of_step(likelihood: Likelihood, looks: int) -> float:
    """Share of the family's error rate for each of some looks.

    Where nothing is learned each step asks all rows so far: steps have rows in common, and no sum.
    """
    return step_weight(looks) if _learns(likelihood) else 1 / looks


def _surprised(seen: Mapping[str, Look], after: FitResult) -> SurprisedStep | None:
    look = seen.get(after.task.fit)
    return look.surprised if look else None


def _together(
    study_data: StudyData,
    data: DataSettings,
    measured: Sequence[tuple[tuple[FitResult, FitResult], StepMembers]],
) -> Finding:
    """Rank the new rows of all steps together."""
    n_more = surprise.n_more(summed_surprise.WEIGHT)

    def again(before: FitResult, after: FitResult) -> StepAgain:
        rng = study_data.rng(f"surprise {after.task.fit} again")
        block = _block(study_data, data, after, before.task.rows)  # as `surprise_step` does
        assert not isinstance(block, str), "a step that was measured can be"
        prediction = _predict(study_data.likelihood, data, block, before, rng)
        return StepAgain(
            prediction.statistics, prediction.observed(rng), prediction.more(rng, n_more)
        )

    (_, last), _ = measured[-1]
    return summed_surprise.check_all_steps(
        [members for _, members in measured],
        lambda: [again(*step) for step, _ in measured],
        setting=_setting(data, last.in_arrival_order, learned=True),
        rng=study_data.rng("surprise of all steps"),
    )


def _setting(data: DataSettings, ordered: bool, learned: bool) -> Setting:
    return Setting(data.order or "arrival" if ordered else None, learned)


def surprise_step(
    study_data: StudyData, data: DataSettings, before: FitResult, after: FitResult, weight: float
) -> SurprisedStep:
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
    where = {"fit": step.fit, "fits": fits, "weight": weight}
    if reason:
        return SurprisedStep(not_run("surprise", reason, **where), pd.DataFrame(), None)
    rng = study_data.rng(f"surprise {after.task.fit}")
    block = _block(study_data, data, after, start)
    if isinstance(block, str):
        return SurprisedStep(not_run("surprise", block, **where), pd.DataFrame(), None)
    step = step._replace(note=block.note)
    prediction = _predict(study_data.likelihood, data, block, before, rng)
    statistics, values = prediction.statistics, prediction.observed(rng)
    finding, table = surprise.check_surprise(
        statistics,
        values,
        lambda: prediction.more(rng, surprise.n_more(weight)),
        step=step,
        setting=_setting(data, block.ordered, learned),
        rng=rng,
    )
    members = StepMembers(
        statistics,
        # In the precision in which a look holds them.
        Scale.of(statistics, values).studentised(values).astype("float32"),
        step.first,
        step.last,
        int(prediction.weights.row.sum()),
        fits,
        block.note,
    )
    return SurprisedStep(finding, table, members)


def second_defect_beside(
    study_data: StudyData,
    study: StudyFits,
    data: DataSettings,
    axes: Sequence[str],
    time: str | None,
) -> str | None:
    """Ask the new rows of the largest increment whether something else is wrong when some axes are taken out.

    Parameters
    ----------
    study_data
        Of the data that the fits saw.
    study
        The fits.
    data
        The section `data`.
    axes
        Columns of `data.axes`, or the order of arrival, along which parameters differ.
    time
        Name of the axis of time; None where rows have no order.

    Returns
    -------
    str
        A clause on it; None where nothing is seen, and where it cannot be: an axis has one level in the new rows, or
        levels that leave too few rows; or an outcome has few values, whose spread follows from its mean.
    """
    likelihood, fits = study_data.likelihood, study.usable("increment")
    if len(fits) < 2 or likelihood.no_new_rows() or predictive.no_draws(likelihood, fits[-2]):
        return None
    before, after = fits[-2:]
    start = before.task.rows
    block = _block(study_data, data, after, start) if after.task.rows - start >= 2 else ""
    if isinstance(block, str):
        return None
    (outcome,) = likelihood.model.arguments[likelihood.model.outcome].columns
    if len(np.unique(block.values[outcome])) < FEWEST_VALUES:
        return None
    rng = study_data.rng(f"second defect {after.task.fit}")
    layout = _layout(likelihood, data, block, rng, (tuple(axes), time))
    if not _can_be_taken_out(layout.design):
        return None
    draws = predictive.posterior_draws(likelihood, before)
    prediction = predictive.predict_block(likelihood, layout.rows, draws, layout.design, rng)
    names = (before.task.fit, after.task.fit)
    step = NewRows(after.task.fit, start + 1, after.task.rows, start, names, 1.0, block.note)
    return second_defect.find_second_defect(
        prediction.statistics, prediction.observed(rng), axes, step=step, rng=rng
    )


class NewBlock(NamedTuple):
    """New rows, with a true value of each outcome.

    Attributes
    ----------
    values
        Columns `(rows,)`: those of the model, the axes and the unit.
    takes_part
        `(rows,)` whether the model gives a row a likelihood.
    left_out
        Columns that tell which outcomes are censored: a true value depends on them whatever the model.
    ordered
        Whether the rows stand in the order of arrival.
    note
        What was done with rows that are masked or censored.
    """

    values: Mapping[str, np.ndarray]
    takes_part: Bool[np.ndarray, " row"]
    left_out: tuple[str, ...]
    ordered: bool
    note: str


def _block(
    study_data: StudyData, data: DataSettings, after: FitResult, start: int
) -> NewBlock | str:
    """Read the new rows of an increment and complete them, or say why they cannot be compared."""
    likelihood, order = study_data.likelihood, after.task.slices[0].order
    values = study_data.columns([Slice(order, start, after.task.rows)], data.axes)
    takes_part, censored = observed_rows.observed_rows(likelihood, values)
    if takes_part.sum() < 2:
        return f"surprise needs at least 2 new rows that the model does not mask, got {takes_part.sum()}"
    left_out: tuple[str, ...] = ()
    if censored.any():
        if reason := observed_rows.not_kept(likelihood, after):
            return reason
        every = study_data.columns(after.task.slices)
        rng = study_data.rng(f"censored {after.task.fit}")
        (outcome,) = likelihood.model.arguments[likelihood.model.outcome].columns
        completed = observed_rows.complete(likelihood, after, every, rng)
        values = {**values, outcome: completed[start:]}
        telling = [a for a in data.axes if observed_rows.tells(values[a], censored)]
        left_out = tuple(dict.fromkeys([*likelihood.censoring_columns, *telling]))
    note = _note(takes_part, censored, left_out)
    return NewBlock(values, takes_part, left_out, after.in_arrival_order, note)


def _note(takes_part: np.ndarray, censored: np.ndarray, left_out: Sequence[str]) -> str:
    parts: list[str] = []
    if not takes_part.all():
        parts.append(f"{(~takes_part).sum()} rows are masked and take no part")
    if censored.any():
        parts.append(f"{censored.sum()} outcomes are censored and were drawn within their bounds")
    if left_out:
        verb = "tells" if len(left_out) == 1 else "tell"
        parts.append(f"{', '.join(left_out)} {verb} which, and no statistic takes it")
    return "; ".join(parts)


def _learns(likelihood: Likelihood) -> bool:
    return bool(likelihood.vector.names or likelihood.hidden)


def _predict(
    likelihood: Likelihood,
    data: DataSettings,
    block: NewBlock,
    before: FitResult,
    rng: np.random.Generator,
) -> predictive.Prediction:
    layout = _layout(likelihood, data, block, rng)
    draws = predictive.posterior_draws(likelihood, before)
    return predictive.predict_block(likelihood, layout.rows, draws, layout.design, rng)


class Layout(NamedTuple):
    """New rows as the model takes them, and what is known of them."""

    rows: Rows
    design: Design


def _layout(
    likelihood: Likelihood,
    data: DataSettings,
    block: NewBlock,
    rng: np.random.Generator,
    taken_out: tuple[tuple[str, ...], str | None] = ((), None),
) -> Layout:
    """Arrange new rows.

    Parameters
    ----------
    taken_out
        Names of groups to be taken out, and the name of the order of arrival.
    """
    chosen, follows = _thinned(len(block.takes_part), rng)
    n_rows, n_padded = len(chosen), _n_padded(likelihood, len(chosen))
    values = {name: repeat_last(one[chosen], n_padded) for name, one in block.values.items()}
    covariates, groups = _columns(likelihood, data, values, block.left_out)
    names, time = taken_out
    known = [group.name for group in groups]
    if time in names and time not in known:
        # The order of arrival is no column.
        blocks = np.arange(n_padded) * BINS // n_padded
        groups += (BlockColumn(str(time), blocks, False),)
    takes_part = repeat_last(block.takes_part[chosen], n_padded) & (np.arange(n_padded) < n_rows)
    follows = repeat_last(follows, n_padded)
    design = Design(covariates, groups, block.ordered, follows, takes_part, names)
    return Layout(_rows(likelihood, values), design)


def _can_be_taken_out(design: Design) -> bool:
    """Say whether the groups have levels that differ, and leave rows enough."""
    groups = {group.name: group.values[design.takes_part] for group in design.groups}
    if not all(name in groups and len(np.unique(groups[name])) > 1 for name in design.taken_out):
        return False
    columns, n_rows = columns_taken_out(design), int(design.takes_part.sum())
    return columns <= MOST_TAKEN_OUT * n_rows and columns * n_rows <= MOST_ENTRIES


def _thinned(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose rows in runs of neighbours: their numbers, and whether each follows the one before it."""
    if n <= surprise.MOST_PREDICTED:
        return np.arange(n), np.ones(n, bool)
    runs = np.sort(rng.choice(n // RUN, surprise.MOST_PREDICTED // RUN, replace=False))
    chosen = (runs[:, None] * RUN + np.arange(RUN)).ravel()
    return chosen, np.diff(chosen, prepend=-1) == 1


def _n_padded(likelihood: Likelihood, n_rows: int) -> int:
    """Say how many rows are predicted: more where the model has to see all of them, and does not mind."""
    can_pad = likelihood.coupling.kind == "independent" and not likelihood.has_separate_rows
    return _round_up(n_rows) if can_pad else n_rows


def _round_up(n: int) -> int:
    """Round up to three significant bits: units make blocks unequal, which would each be compiled."""
    step = 2 ** max(0, n.bit_length() - 3)
    return -(-n // step) * step


def _rows(likelihood: Likelihood, values: Mapping[str, np.ndarray]) -> Rows:
    rows = likelihood.rows(values)
    own = [name for name, column in likelihood.model.counts.items() if column == likelihood.unit]
    return rows._replace(counts=rows.counts | {name: _round_up(rows.counts[name]) for name in own})


def _columns(
    likelihood: Likelihood,
    data: DataSettings,
    values: Mapping[str, np.ndarray],
    left_out: Sequence[str] = (),
) -> tuple[tuple[BlockColumn, ...], tuple[BlockColumn, ...]]:
    """Give covariates and groups: what the model takes, the axes, and the unit, less what is left out."""
    used = likelihood.model.covariates
    unit = (likelihood.unit,) if likelihood.unit else ()
    columns = [
        BlockColumn(name, values[name], name in used)
        for name in dict.fromkeys([*used, *data.axes, *unit])
        if name not in left_out
    ]
    labels = likelihood.labels
    numbers = [c for c in columns if labels[c.name] is None]
    groups = [c for c in columns if labels[c.name] is not None]
    binned = [c._replace(values=_bins(c.values)) for c in numbers if not c.used]
    return tuple(numbers), (*groups, *binned)


def _bins(values: Real[np.ndarray, " row"]) -> Int[np.ndarray, " row"]:
    inner = np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf")
    return np.searchsorted(np.unique(inner), values, side="left")
