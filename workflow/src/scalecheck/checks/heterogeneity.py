"""Whether a parameter changes along an axis.

The verdict comes from the scores of one fit to all rows (`score_test`), the picture from the posteriors
of the levels: compared by their covariances, those reject true parameters wherever the dispersion
is wrong.

Formulas and sources: docs/statistics.md, section 2.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import false_discovery_control

from scalecheck.checks.finding import Effect, Finding, not_run, notable, rounded
from scalecheck.checks.moments import Moments
from scalecheck.checks.score_statistics import CHANGE
from scalecheck.checks.score_test import run_score_test
from scalecheck.checks.scores import (
    LINEAR,
    LOG,
    SQUARE,
    Along,
    Replicates,
    Scores,
    sums_by,
)
from scalecheck.checks.standardised_scores import (
    MANY_LEVELS,
    StandardisedScores,
    standardise_scores,
)

LARGE = 1.0
# Below these the test is only indicative (docs/statistics.md, sections 2 and "The verdict").
FEW_ROWS, FEW_ROWS_PER_PARAMETER, FEW_UNITS = 100, 20, 40
FEW_UNITS_IN_LEVEL = 5
# Of many levels some are named that stand out at this false discovery rate.
NAMED, DEVIANT = 5, 0.1
# Of shares of information between 0 and 1: double precision leaves 1e-15.
SATURATED = 1e-8


class Shifts(NamedTuple):
    """How far each level lies from the pooled posterior; `(level, d)` each.

    Attributes
    ----------
    one_step, one_step_sd
        `J_k^-1 u_k` and its sd, from the scores alone.
    mean, sd
        Moments of the posterior of the level; NaN where it was not fitted.
    in_sds
        Signed shift in sds of the level, by one step: a level that was fitted has fewer rows there.
    moved
        Share that a level has in `t_j`, the fluctuation of a parameter; not normalised.
    """

    one_step: Float[np.ndarray, "level d"]
    one_step_sd: Float[np.ndarray, "level d"]
    mean: Float[np.ndarray, "level d"]
    sd: Float[np.ndarray, "level d"]
    in_sds: Float[np.ndarray, "level d"]
    moved: Float[np.ndarray, "level d"]


def check_heterogeneity(
    axis: str,
    along: Along,
    scores: Scores,
    pooled: Moments,
    levels: Moments,
    *,
    names: Sequence[str],
    fits: Sequence[str],
    weight: float,
    kind: str,
    over_time: bool,
    rng: np.random.Generator,
    replicates: Replicates | None = None,
) -> tuple[Finding, pd.DataFrame]:
    """Test whether any parameter differs between the levels of an axis, or changes along it.

    Parameters
    ----------
    axis
        Name of the column.
    along
        Its levels, each of which has rows, and its shapes.
    scores
        At the pooled estimate.
    pooled
        Posterior moments of the fits to all rows together, unconstrained scale, `fit` of length one.
    levels
        Posterior moments of the levels, one per label; NaN for a level without a usable fit.
    names
        `(d,)` names of the parameters.
    fits
        The fits whose rows were asked, the largest increment first.
    weight
        Share of the family's error rate.
    kind
        misfit where the model uses this column, else heterogeneous.
    over_time
        Whether the axis is time, which a parameter may be made to change with.
    rng
        Flips the signs.
    replicates
        Of the rows at the pooled estimate, as `run_score_test` takes them; None: there are none.

    Returns
    -------
    finding
        Its effect is the largest distance of a level from the pooled posterior, of the parameter that
        changes most, in sds of the level; plus and minus 1.96, the error of that one level, not
        corrected for its being the largest.
    table
        One row per level and parameter: axis, level, parameter, rows, level_mean, level_sd,
        pooled_mean, one_step (shift from the pooled posterior, estimated from the scores),
        one_step_sd, share (of the test statistic, per level), q (per level, its p-value corrected for
        the number of levels: the false discovery rate of all that are at most as large).
    """
    flow = _comparable(axis, along, scores, pooled)
    if isinstance(flow, str):
        where = {"axis": axis, "fit": fits[0], "fits": tuple(fits), "kind": kind}
        return not_run("heterogeneity", flow, weight=weight, **where), pd.DataFrame()
    tested = run_score_test(flow, along.shapes, weight, rng, replicates)
    shifts = _shifts(scores, pooled, levels)
    parameter = tested.leading.parameter
    if parameter is None:
        parameter = int(np.argmax(shifts.moved.sum(axis=0)))
    q = false_discovery_control(tested.level_p)
    seen = notable(tested.p, weight)
    said = _Said(axis, along, names[parameter], shifts, parameter, tested.leading.what)
    message = _message(said, kind, over_time) if seen else _unseen(said)
    size = float(said.shift.max())
    name = "largest level shift in level-posterior sds"
    finding = Finding(
        family="heterogeneity",
        p=tested.p,
        weight=weight,
        large=size > LARGE,
        effect=Effect(name, size, size - 1.96, size + 1.96),
        axis=axis,
        level=along.labels[int(np.argmax(np.abs(shifts.in_sds[:, parameter])))],
        parameter=names[parameter],
        fit=fits[0],
        kind=kind,
        fits=tuple(fits),
        message=message + (_deviant(along, q) if seen else "") + _remarks(scores, flow, names),
    )
    return finding, _table(axis, along, names, scores, pooled, shifts, q, flow)


def _comparable(
    axis: str, along: Along, scores: Scores, pooled: Moments
) -> StandardisedScores | str:
    """Standardise the scores, or say why they cannot be compared."""
    if len(along.labels) < 2:
        return f"{axis} has fewer than two levels with rows"
    parts = (scores.score, scores.information, scores.along, pooled.mean, pooled.covariance)
    if not all(np.isfinite(part).all() for part in parts):
        return f"a score along {axis} is not a number"
    flow = standardise_scores(scores)
    if flow is None:
        return f"the rows along {axis} have no information on any parameter"
    if len(flow.cells) == len(along.labels):
        return f"each level of {axis} is one unit, so that nothing is repeated in it"
    # Then the scores of each level sum to zero whatever their signs: p would rank rounding errors.
    if np.abs(flow.leak @ flow.leak - flow.leak).max() < SATURATED:
        return f"each level of {axis} has parameters of its own, so that none can differ along it"
    return flow


def _shifts(scores: Scores, pooled: Moments, levels: Moments) -> Shifts:
    information, covariance = scores.information, pooled.covariance[0]
    share = np.bincount(scores.level) / len(scores.level)
    total = sums_by(scores.level, scores.score)
    step = np.linalg.pinv(information.sum(axis=0), hermitian=True) @ total.sum(axis=0)
    u = total - information @ step
    one_step, sd = _one_step(information, u, covariance, share)
    mean = levels.mean
    level_sd = np.sqrt(np.diagonal(levels.covariance, axis1=1, axis2=2))
    outer = covariance @ (scores.score.T @ scores.score) @ covariance
    spread = np.diag(outer)
    moved = (u @ covariance) ** 2 / share[:, None] / np.where(spread > 0, spread, np.inf)
    return Shifts(one_step, sd, mean, level_sd, one_step / sd, moved)


def _one_step(
    information: Float[np.ndarray, "level d d"],
    u: Float[np.ndarray, "level d"],
    covariance: Float[np.ndarray, "d d"],
    share: Float[np.ndarray, " level"],
) -> tuple[Float[np.ndarray, "level d"], Float[np.ndarray, "level d"]]:
    """Return `J_k^-1 u_k` and its sds.

    A level that cannot tell the parameters apart borrows the pooled covariance.
    """
    inverse = covariance / share[:, None, None]
    diagonal = np.diagonal(information, axis1=1, axis2=2)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, np.inf))
    values = np.linalg.eigvalsh(information * scale[:, :, None] * scale[:, None, :])
    own = values[:, 0] > 1e-6
    inverse[own] = np.linalg.inv(information[own])
    return np.einsum("kij,kj->ki", inverse, u), np.sqrt(np.diagonal(inverse, axis1=1, axis2=2))


class _Said(NamedTuple):
    """What a sentence is about: the parameter that leads, by name and number, and what of it deviates."""

    axis: str
    along: Along
    name: str
    shifts: Shifts
    parameter: int
    what: str

    @property
    def shift(self) -> Float[np.ndarray, " level"]:
        return np.abs(self.shifts.in_sds[:, self.parameter])

    @property
    def size(self) -> str:
        return f"{rounded(self.shift.max())} level sds from the pooled value"


def _unseen(said: _Said) -> str:
    return (
        f"no parameter differs along {said.axis} by more than chance would have it among"
        f" {len(said.along.labels)} levels (most: {said.name}, {said.size})"
    )


def _message(said: _Said, kind: str, over_time: bool) -> str:
    """Say how a parameter changes, where most, and what to do."""
    axis, name = said.axis, said.name
    if said.what in (SQUARE, LOG) and kind == "misfit":
        log = f"log({axis}) or " if LOG in said.along.shapes else ""
        return (
            f"the effect of {axis} bends (seen in {name}; {_place(said)}):"
            f" {log}a quadratic term fits what is seen"
        )
    changes = {
        LINEAR: f"{name} changes steadily along {axis}",
        SQUARE: f"{name} changes along {axis} and bends",
        LOG: f"{name} changes along {axis} as its logarithm does",
        CHANGE: f"{name} changes at a point along {axis}",
    }.get(said.what, f"{name} differs along {axis}")
    return f"{changes}: {_place(said)}: {_advice(said, kind, over_time)}"


def _place(said: _Said) -> str:
    """Say where a parameter is lowest and highest, or where one step moves it most."""
    labels, mean = said.along.labels, said.shifts.mean[:, said.parameter]
    place = f"most at {labels[int(said.shift.argmax())]}"
    if np.isfinite(mean).all():
        place = f"lowest at {labels[int(mean.argmin())]}, highest at {labels[int(mean.argmax())]}"
    return f"{place} ({said.size})"


def _advice(said: _Said, kind: str, over_time: bool) -> str:
    if kind == "misfit":
        return f"the model's dependence on {said.axis} has the wrong form"
    if over_time or said.along.is_ordered:
        return f"let it change with {said.axis}"
    return f"model it per {said.axis}"


def _deviant(along: Along, q: Float[np.ndarray, " level"]) -> str:
    """Name the levels that stand out among many."""
    worst = [
        along.labels[number] for number in np.argsort(q, kind="stable") if q[number] <= DEVIANT
    ]
    if len(along.labels) < MANY_LEVELS or not worst:
        return ""
    more = f" and {len(worst) - NAMED} more" if len(worst) > NAMED else ""
    return (
        f"; {len(worst)} of {len(along.labels)} levels stand out, at a false discovery rate of"
        f" {DEVIANT:.0%}: {', '.join(worst[:NAMED])}{more}"
    )


def _remarks(scores: Scores, flow: StandardisedScores, names: Sequence[str]) -> str:
    """Return clauses on what limits the test."""
    n_parameters, rank = len(flow.root), flow.root.shape[1] + flow.lost.shape[1]
    remarks = f"; the rows move {rank} of {n_parameters} directions" if rank < n_parameters else ""
    if flow.lost.shape[1]:
        numbers = np.unique(np.abs(flow.lost).argmax(axis=0))
        left_out = [names[int(number)] for number in numbers]
        remarks += f"; left out, because the rows have no information on it: {', '.join(left_out)}"
    what, total, enough = "rows", len(scores.level), FEW_ROWS_PER_PARAMETER * n_parameters
    enough = max(FEW_ROWS, enough)
    if scores.covariance is not None:
        what, total, enough = "units", flow.n_units, FEW_UNITS
        if scores.units().min() < FEW_UNITS_IN_LEVEL:
            return f"{remarks}; indicative: a level has only {scores.units().min()} units"
    return (
        f"{remarks}; indicative: fewer than {enough} {what} ({total})"
        if total < enough
        else remarks
    )


def _table(
    axis: str,
    along: Along,
    names: Sequence[str],
    scores: Scores,
    pooled: Moments,
    shifts: Shifts,
    q: Float[np.ndarray, " level"],
    flow: StandardisedScores,
) -> pd.DataFrame:
    n_levels, n_parameters = shifts.mean.shape
    by_level = flow.by_level(flow.observed().by_level)[0]
    columns = {
        "axis": axis,
        "level": np.repeat(along.labels, n_parameters),
        "parameter": np.tile(names, n_levels),
        "rows": np.repeat(scores.rows(), n_parameters),
        "level_mean": shifts.mean.ravel(),
        "level_sd": shifts.sd.ravel(),
        "pooled_mean": np.tile(pooled.mean[0], n_levels),
        "one_step": shifts.one_step.ravel(),
        "one_step_sd": shifts.one_step_sd.ravel(),
        "share": np.repeat(by_level / by_level.sum(), n_parameters),
        "q": np.repeat(q, n_parameters),
    }
    return pd.DataFrame(columns)
