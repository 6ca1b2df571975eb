"""Whether a parameter changes along an axis.

The verdict comes from the scores of one pooled fit (`fluctuation`), the picture from the posteriors
of the levels: compared by their covariances, those reject true parameters wherever the dispersion
is wrong.

Formulas and sources: docs/statistics.md, section 2.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from scalecheck.checks.finding import Effect, Finding, not_run, notable, rounded
from scalecheck.checks.moments import Moments
from scalecheck.checks.score_test import (
    Scores,
    StandardisedScores,
    p_value,
    standardise_scores,
    sums_by,
)

LARGE = 1.0
# Below these the test is only indicative (docs/statistics.md, sections 2 and "The verdict").
FEW_ROWS, FEW_ROWS_PER_PARAMETER, FEW_UNITS = 100, 20, 40
FEW_IN_LEVEL = 5
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
        Signed shift in sds of the level: by its own posterior, or by one step where there is none.
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
    labels: Sequence[str],
    scores: Scores,
    pooled: Moments,
    levels: Moments | None,
    *,
    names: Sequence[str],
    fits: Sequence[str],
    weight: float,
    kind: str,
    ordered: bool,
    rng: np.random.Generator,
) -> tuple[Finding, pd.DataFrame]:
    """Test whether any parameter differs between the levels of an axis.

    Parameters
    ----------
    axis
        Name of the column.
    labels
        Names of the levels, in the order of their codes.
    scores
        At the pooled estimate.
    pooled
        Posterior moments of the pooled fit, unconstrained scale, `fit` of length one.
    levels
        Posterior moments of the levels, one per label; NaN for a level without a usable fit. None:
        none was fitted.
    names
        `(d,)` names of the parameters.
    fits
        The pooled fit, then those of the levels.
    weight
        Share of the family's error rate.
    kind
        misfit where the model uses this column, else heterogeneous.
    ordered
        Test for a change-point and a trend, too. For time only: along a covariate a change-point rejects
        true models.
    rng
        Flips the signs.

    Returns
    -------
    finding
        Its effect is the largest distance of a level from the pooled posterior, over levels and
        parameters, in sds of the level; plus and minus 1.96, the error of that one level, not
        corrected for its being the largest.
    table
        One row per level and parameter: axis, level, parameter, rows, level_mean, level_sd,
        pooled_mean, one_step (shift from the pooled posterior, estimated from the scores),
        one_step_sd, share (of the test statistic, per level).
    """
    labels, scores, levels = _occupied(labels, scores, levels)
    flow = _comparable(axis, labels, scores, pooled)
    if isinstance(flow, str):
        where = {"axis": axis, "fit": fits[0], "fits": tuple(fits), "kind": kind}
        return not_run("heterogeneity", flow, weight=weight, **where), pd.DataFrame()
    p = p_value(flow, ordered, rng)
    shifts = _shifts(scores, pooled, levels)
    parameter = int(np.argmax(shifts.moved.sum(axis=0)))
    message = _message(axis, labels, names[parameter], shifts, parameter, notable(p, weight))
    if notable(p, weight):
        message += f": {_advice(axis, kind, ordered)}"
    size = float(np.abs(shifts.in_sds).max())
    name = "largest level shift in level-posterior sds"
    finding = Finding(
        family="heterogeneity",
        p=p,
        weight=weight,
        large=size > LARGE,
        effect=Effect(name, size, size - 1.96, size + 1.96),
        axis=axis,
        level=labels[int(np.argmax(np.abs(shifts.in_sds[:, parameter])))],
        parameter=names[parameter],
        fit=fits[0],
        kind=kind,
        fits=tuple(fits),
        message=message + _remarks(scores, flow),
    )
    return finding, _table(axis, labels, names, scores, pooled, shifts, flow)


def _comparable(
    axis: str, labels: Sequence[str], scores: Scores, pooled: Moments
) -> StandardisedScores | str:
    """Standardise the scores, or say why they cannot be compared."""
    if len(labels) < 2:
        return f"{axis} has fewer than two levels with rows"
    parts = (scores.score, scores.information, pooled.mean, pooled.covariance)
    if not all(np.isfinite(part).all() for part in parts):
        return f"a score of the fit along {axis} is not a number"
    flow = standardise_scores(scores)
    if flow is None:
        return f"the pooled information of the fit along {axis} is singular"
    # Then the scores of each level sum to zero whatever their signs: p would rank rounding errors.
    if np.abs(flow.leak @ flow.leak - flow.leak).max() < SATURATED:
        return f"each level of {axis} has parameters of its own, so that none can differ along it"
    return flow


def _occupied(
    labels: Sequence[str], scores: Scores, levels: Moments | None
) -> tuple[list[str], Scores, Moments | None]:
    """Drop the levels that have no rows."""
    present, level = np.unique(scores.level, return_inverse=True)
    scores = scores._replace(
        score=np.asarray(scores.score, dtype=float),
        information=np.asarray(scores.information, dtype=float)[present],
        level=level,
    )
    if levels is not None:
        levels = Moments._make(part[present] for part in levels)
    return [str(labels[code]) for code in present], scores, levels


def _shifts(scores: Scores, pooled: Moments, levels: Moments | None) -> Shifts:
    information, covariance = scores.information, pooled.covariance[0]
    share = np.bincount(scores.level) / len(scores.level)
    total = sums_by(scores.level, scores.score)
    step = np.linalg.pinv(information.sum(axis=0), hermitian=True) @ total.sum(axis=0)
    u = total - information @ step
    one_step, sd = _one_step(information, u, covariance, share)
    mean = np.full_like(u, np.nan) if levels is None else levels.mean
    level_sd = mean if levels is None else np.sqrt(np.diagonal(levels.covariance, axis1=1, axis2=2))
    # A level whose rows say nothing of a parameter, as of the other levels of an index, has the prior of it.
    told = np.diagonal(information, axis1=1, axis2=2) > 0
    by_posterior = np.where(told, (mean - pooled.mean[0]) / level_sd, np.nan)
    outer = covariance @ (scores.score.T @ scores.score) @ covariance
    spread = np.diag(outer)
    moved = (u @ covariance) ** 2 / share[:, None] / np.where(spread > 0, spread, np.inf)
    in_sds = np.where(np.isfinite(by_posterior), by_posterior, one_step / sd)
    return Shifts(one_step, sd, mean, level_sd, in_sds, moved)


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


def _message(
    axis: str, labels: Sequence[str], name: str, shifts: Shifts, parameter: int, seen: bool
) -> str:
    """Say where a parameter is lowest and highest, or where one step moves it most."""
    shift, mean = np.abs(shifts.in_sds[:, parameter]), shifts.mean[:, parameter]
    size = f"{rounded(shift.max())} level sds from the pooled value"
    if not seen:
        return (
            f"no parameter differs along {axis} by more than chance would have it among "
            f"{len(labels)} levels (most: {name}, {size})"
        )
    place = f"most at {labels[int(shift.argmax())]}"
    if np.isfinite(mean).any():
        low, high = labels[int(np.nanargmin(mean))], labels[int(np.nanargmax(mean))]
        place = f"lowest at {low}, highest at {high}"
    return f"{name} differs along {axis}: {place} ({size})"


def _advice(axis: str, kind: str, ordered: bool) -> str:
    if kind == "misfit":
        return f"the model's dependence on {axis} has the wrong form"
    return f"let it change with {axis}" if ordered else f"model it per {axis}"


def _remarks(scores: Scores, flow: StandardisedScores) -> str:
    """Return clauses on what limits the test."""
    n_parameters, rank = flow.root.shape
    remarks = f"; the rows move {rank} of {n_parameters} directions" if rank < n_parameters else ""
    what, total, enough = "rows", len(scores.level), FEW_ROWS_PER_PARAMETER * n_parameters
    in_level, enough = scores.rows(), max(FEW_ROWS, enough)
    if scores.covariance is not None:
        what, total, enough, in_level = "units", flow.n_units, FEW_UNITS, scores.units()
    if in_level.min() < FEW_IN_LEVEL:
        return f"{remarks}; indicative: a level has only {in_level.min()} {what}"
    if total < enough:
        return f"{remarks}; indicative: fewer than {enough} {what} ({total})"
    return remarks


def _table(
    axis: str,
    labels: Sequence[str],
    names: Sequence[str],
    scores: Scores,
    pooled: Moments,
    shifts: Shifts,
    flow: StandardisedScores,
) -> pd.DataFrame:
    n_levels, n_parameters = shifts.mean.shape
    by_level = flow.by_level(flow.observed())[1][0]
    columns = {
        "axis": axis,
        "level": np.repeat(labels, n_parameters),
        "parameter": np.tile(names, n_levels),
        "rows": np.repeat(scores.rows(), n_parameters),
        "level_mean": shifts.mean.ravel(),
        "level_sd": shifts.sd.ravel(),
        "pooled_mean": np.tile(pooled.mean[0], n_levels),
        "one_step": shifts.one_step.ravel(),
        "one_step_sd": shifts.one_step_sd.ravel(),
        "share": np.repeat(by_level / by_level.sum(), n_parameters),
    }
    return pd.DataFrame(columns)
