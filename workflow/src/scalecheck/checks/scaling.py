"""Whether cost grows consistently with the rows.

Leapfrogs: log2 of them is regressed on log2 of the rows, and each increment from the third on is
compared with what the ones before it predict. A smooth trend is no misfit, whatever its slope: a
jump is. Seconds per gradient belong to the machine: they are described (`gradient_cost`), not judged.

Formulas and sources: docs/statistics.md, section 6.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Real
from scipy.stats import t as student

from scalecheck.checks.effort import LARGE, PRIOR_DF, adaptation_variance
from scalecheck.checks.finding import Effect, Finding, half_width, not_run, notable, rounded
from scalecheck.checks.gradient_cost import GradientCost, cost_per_gradient

FEWEST_BEFORE = 2
# Prior of log2 leapfrogs at the first increment, 1 to 1023 well within, and of its slope on log2 rows.
PRIOR_MEAN = np.array([5.0, 0.0])
PRIOR_SD = np.array([10.0, 0.3])


class Growth(NamedTuple):
    """What the increments cost, in growing order.

    Attributes
    ----------
    fits
        `(increment,)` names.
    rows
        `(increment,)`.
    leapfrogs
        `(increment, chain)` mean per iteration after warmup.
    usable
        `(increment,)` whether the posterior can be used.
    """

    fits: Sequence[str]
    rows: Real[np.ndarray, " increment"]
    leapfrogs: Float[np.ndarray, "increment chain"]
    usable: Bool[np.ndarray, " increment"]


class PredictedLeapfrogs(NamedTuple):
    """Log2 leapfrogs of an increment, as the ones before it predict them: a t distribution.

    Attributes
    ----------
    observed, mean, scale, df
        Scalars.
    """

    observed: float
    mean: float
    scale: float
    df: int

    @property
    def p(self) -> float:
        """Probability of as many leapfrogs."""
        return float(student.sf((self.observed - self.mean) / self.scale, self.df))

    @property
    def effect(self) -> Effect:
        """Observed over predicted leapfrogs, with the 89 % interval of the prediction."""
        width = half_width(self.scale, self.df)
        ratio = float(2 ** (self.observed - self.mean))
        return Effect("leapfrogs over predicted", ratio, ratio * 2**-width, ratio * 2**width)


_NOT_PREDICTED = PredictedLeapfrogs(np.nan, np.nan, np.nan, 1)


def predict_leapfrogs(
    rows: Real[np.ndarray, " fit"], log2: Float[np.ndarray, "fit chain"], n_rows: float
) -> tuple[float, float, int]:
    """Predict log2 leapfrogs of a fit from those of smaller ones: mean, scale and df of a t.

    A conjugate regression; the prior of the residuals' variance is raised to that of the chains'
    means.

    Parameters
    ----------
    rows, log2
        `(fit,)` and `(fit, chain)`, at least two fits.
    n_rows
        Rows of the fit to predict.
    """
    n_fits, variance = len(log2), adaptation_variance(log2)
    y = log2.mean(axis=1)
    design = np.stack([np.ones(n_fits), np.log2(rows / rows[0])], axis=1)
    prior = np.diag(variance / PRIOR_SD**2)
    precision = design.T @ design + prior
    line = np.linalg.solve(precision, design.T @ y + prior @ PRIOR_MEAN)
    off = line - PRIOR_MEAN
    squares = ((y - design @ line) ** 2).sum() + off @ prior @ off
    df = PRIOR_DF + n_fits
    new = np.array([1.0, np.log2(n_rows / rows[0])])
    spread = (PRIOR_DF * variance + squares) / df * (1 + new @ np.linalg.solve(precision, new))
    return float(new @ line), float(np.sqrt(spread)), df


def check_scaling_step(growth: Growth, looks: int) -> Finding:
    """Judge the last of some increments by the ones before it.

    It is judged whether its posterior can be used or not: a chain stuck at the largest tree depth is
    what this is to see. But where it cannot be used, nothing is passed: what is as expected there was not
    run. What is to predict it has to be usable, or one such chain would excuse the next.

    Parameters
    ----------
    growth
        Increments so far, at least three.
    looks
        Planned number of increments from the third on, among which the error rate is divided.
    """
    return _judge(growth, looks)[0]


def _judge(growth: Growth, looks: int) -> tuple[Finding, PredictedLeapfrogs]:
    fit, weight, reason = growth.fits[-1], 1 / looks, ""
    before = np.flatnonzero(growth.usable[:-1])
    if len(before) < FEWEST_BEFORE:
        reason = f"fewer than {FEWEST_BEFORE} increments before {fit} have a usable posterior"
    elif not (growth.leapfrogs > 0).all():
        reason = "no leapfrogs are taken: nothing is sampled"
    if reason:
        return not_run("scaling", reason, weight=weight, fit=fit), _NOT_PREDICTED
    log2 = np.log2(growth.leapfrogs)
    seen = PredictedLeapfrogs(
        float(log2[-1].mean()),
        *predict_leapfrogs(growth.rows[before], log2[before], float(growth.rows[-1])),
    )
    alarm = notable(seen.p, weight)
    if not alarm and not growth.usable[-1]:
        reason = f"{fit} cannot be used; its leapfrogs would be as expected"
        return not_run("scaling", reason, weight=weight, fit=fit), seen
    finding = Finding(
        family="scaling",
        p=seen.p,
        weight=weight,
        large=seen.effect.value >= LARGE,
        effect=seen.effect,
        fit=fit,
        kind="misfit",
        fits=(*(growth.fits[int(i)] for i in before), fit),
        message=_message(growth, seen, alarm),
    )
    return finding, seen


def _message(growth: Growth, seen: PredictedLeapfrogs, alarm: bool) -> str:
    numbers = (
        f"{growth.fits[-1]} ({growth.rows[-1]} rows) takes {rounded(2**seen.observed)} leapfrogs per"
        f" iteration where {rounded(2**seen.mean)} were predicted"
    )
    if alarm:
        return (
            f"{numbers}, {rounded(seen.effect.value)} times as many: the model does not fit the rows"
            " that came last, or a chain is stuck: see what they hold, and adaptation"
        )
    first = 2 ** np.log2(growth.leapfrogs[0]).mean()
    if 2**seen.observed >= LARGE * first:
        return (
            f"{numbers}, {rounded(first)} with {growth.rows[0]} rows: a trend, not a jump; where effects"
            " are non-centred, centring them may stop it"
        )
    return f"{numbers}: as expected"


def check_scaling(
    growth: Growth,
    seconds_per_gradient: Float[np.ndarray, " increment"],
    looks: int,
    *,
    timed_rows: Real[np.ndarray, " increment"] | None = None,
) -> tuple[list[Finding], pd.DataFrame]:
    """Judge each increment from the third on, and describe the cost of a gradient.

    Parameters
    ----------
    growth
        Every increment that was fitted.
    seconds_per_gradient
        `(increment,)`, NaN where unknown.
    looks
        Planned number of increments from the third on.
    timed_rows
        `(increment,)` rows on which gradients were timed, with those that pad; None for those of the increments.

    Returns
    -------
    findings
        One per increment from the third on; the effect is the ratio of observed to predicted
        leapfrogs, with the 89 % interval of the prediction.
    table
        One row per increment: fit, rows, usable, leapfrogs (geometric mean over chains, per
        iteration), predicted, ratio, ratio_low, ratio_high, p, seconds_per_gradient,
        seconds_fitted, and the exponent of rows in the latter.
    """
    n_fits = len(growth.fits)
    judged = [
        _judge(Growth._make(part[:n] for part in growth), looks)
        for n in range(FEWEST_BEFORE + 1, n_fits + 1)
    ]
    timed_rows = growth.rows if timed_rows is None else timed_rows
    cost = cost_per_gradient(timed_rows, seconds_per_gradient)
    fitted = cost.predict(timed_rows)
    table = _table(growth, seconds_per_gradient, fitted, [seen for _, seen in judged])
    table["exponent"] = cost.exponent
    if not judged:
        reason = f"scaling needs at least {FEWEST_BEFORE + 1} increments, got {n_fits}"
        return [not_run("scaling", reason, weight=1.0, fits=tuple(growth.fits))], table
    findings = [finding for finding, _ in judged]
    last = replace(findings[-1], message=findings[-1].message + _gradient_remark(cost))
    return [*findings[:-1], last], table


def _gradient_remark(cost: GradientCost) -> str:
    if not cost.exponent > 1:
        return ""
    power, twice = rounded(cost.exponent), rounded(2**cost.exponent)
    return f"; a gradient's cost grows like n^{power}: twice the rows, {twice} times"


def _table(
    growth: Growth,
    seconds: Float[np.ndarray, " increment"],
    fitted: Float[np.ndarray, " increment"],
    predictions: Sequence[PredictedLeapfrogs],
) -> pd.DataFrame:
    n_fits = len(growth.fits)
    seen = [_NOT_PREDICTED] * min(FEWEST_BEFORE, n_fits) + list(predictions)
    effects = [one.effect for one in seen]
    with np.errstate(divide="ignore"):
        leapfrogs = 2 ** np.log2(growth.leapfrogs).mean(axis=1) if n_fits else np.empty(0)
    return pd.DataFrame(
        {
            "fit": list(growth.fits),
            "rows": growth.rows,
            "usable": growth.usable,
            "leapfrogs": leapfrogs,
            "predicted": [2**one.mean for one in seen],
            "ratio": [effect.value for effect in effects],
            "ratio_low": [effect.low for effect in effects],
            "ratio_high": [effect.high for effect in effects],
            "p": [one.p for one in seen],
            "seconds_per_gradient": seconds,
            "seconds_fitted": fitted,
        }
    )
