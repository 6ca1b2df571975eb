"""Whether to believe an approximation, from increments where NUTS ran as well: arrays in, a verdict out.

Means can be used where they are off by little of a standard deviation: at a fifth of it a 95 % interval still covers
94.5 %. Everything can be used where standard deviations are right to a quarter as well (intervals of nominal 95 %
then cover 88 to 99 %), the tails are covered (k-hat at most .62, for 400 ratios) and no bias is seen over data
simulated. Y. Yao et al., "Yes, but did it work?", arXiv:1802.02538; A. Vehtari et al., arXiv:1507.02646; A. Dhaka et
al., arXiv:2103.01085; on errors of means and standard deviations as what counts: TADDAA, arXiv:2302.12419.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from scalecheck.diagnostics import HIGHEST_KHAT, mcse_of_sd, rhat_and_ess

# In NUTS standard deviations; of log ratios of standard deviations.
MOST_SHIFT, MOST_LOG_SD = 0.2, float(np.log(1.25))
# An error counts as beyond a bound once it is so by so many Monte Carlo errors.
_ERRORS = 2.0
_PROBABILITIES = (0.05, 0.5, 0.95)


class Margins(NamedTuple):
    """How an approximation differs from NUTS, by parameter, all `(parameter,)`.

    Attributes
    ----------
    shift, shift_mcse
        Difference of means over the NUTS standard deviation, and its Monte Carlo error.
    log_sd, log_sd_mcse
        Log ratio of standard deviations, approximation over NUTS, and its Monte Carlo error.
    """

    shift: np.ndarray
    shift_mcse: np.ndarray
    log_sd: np.ndarray
    log_sd_mcse: np.ndarray


class ComparedWithNuts(NamedTuple):
    """An approximation and NUTS on the same rows.

    Attributes
    ----------
    rows
        How many.
    margins
        Of the compared parameters.
    khat
        Of the compared parameters jointly; None where it cannot be had.
    """

    rows: int
    margins: Margins
    khat: float | None


class Correction(NamedTuple):
    """What would have to be added to approximate results of all rows; `(parameter, 3)`: low, median, high (90 %).

    Attributes
    ----------
    shift
        Of the mean, in posterior standard deviations.
    log_sd
        Of the log standard deviation.
    """

    shift: np.ndarray
    log_sd: np.ndarray


class Assessment(NamedTuple):
    """Whether to believe an approximation.

    Attributes
    ----------
    verdict
        `believable`, `means only`, `do not use`, or `not known`.
    reasons
        What it rests on: sentences, the worst first.
    correction
        At all rows; None from fewer than three increments.
    """

    verdict: str
    reasons: tuple[str, ...]
    correction: Correction | None


class ApproximateMoments(NamedTuple):
    """Mean and sd `(parameter,)` of an approximation, and the independent draws that they are worth."""

    mean: np.ndarray
    sd: np.ndarray
    n_independent: float


def moments_of(draws: np.ndarray) -> ApproximateMoments:
    """Moments of independent draws `(draw, parameter)`."""
    return ApproximateMoments(draws.mean(axis=0), draws.std(axis=0, ddof=1), len(draws))


def margins_of(nuts: np.ndarray, approximate: ApproximateMoments) -> Margins:
    """Compare the same parameters.

    Parameters
    ----------
    nuts
        `(chain, draw, parameter)`.
    """
    flat = nuts.reshape(-1, nuts.shape[-1])
    sd, other = flat.std(axis=0, ddof=1), approximate.sd
    ratio, n = other / sd, approximate.n_independent
    return Margins(
        (approximate.mean - flat.mean(axis=0)) / sd,
        np.sqrt(1 / rhat_and_ess(nuts)[1] + ratio**2 / n),
        np.log(ratio),
        # Of a normal: the relative error of a standard deviation is 1 / sqrt(2 n).
        np.sqrt((mcse_of_sd(nuts) / sd) ** 2 + 1 / (2 * n)),
    )


def assess_approximation(
    increments: Sequence[ComparedWithNuts],
    names: Sequence[str],
    n_rows: int,
    biased: Sequence[str],
    doubts: Sequence[str] = (),
) -> Assessment:
    """Judge an approximation of all rows.

    The largest increment decides; what its errors grow to at all rows can only make it worse, where the 90 % interval
    of the extrapolation lies beyond a bound as a whole.

    Parameters
    ----------
    increments
        In growing order, those whose approximation has converged.
    names
        Of the parameters.
    n_rows
        All rows.
    biased
        Parameters whose errors over simulated data sets are not symmetric (VSBC), adjusted by Holm.
    doubts
        What the method itself has to say against its intervals.
    """
    if not increments:
        reason = (
            "no increment has a NUTS fit that can be used and an approximation that has converged"
        )
        return Assessment("not known", (reason,), None)
    last = increments[-1]
    correction = _correction(increments, n_rows)
    means = _means(last, names, correction, n_rows)
    others = [*_spread(last, names, correction, n_rows), *doubts]
    if biased:
        means.append(
            f"over simulated data sets the errors of {', '.join(biased)} are not symmetric"
        )
    if means:
        return Assessment("do not use", (*means, *others), correction)
    if others:
        return Assessment("means only", tuple(others), correction)
    return Assessment("believable", (_praise(last),), correction)


def _means(
    last: ComparedWithNuts, names: Sequence[str], correction: Correction | None, n_rows: int
) -> list[str]:
    shift, error = last.margins.shift, last.margins.shift_mcse
    beyond = np.abs(shift) - _ERRORS * error
    worst, found = int(np.argmax(beyond)), []
    if beyond[worst] > MOST_SHIFT:
        found.append(
            f"at {last.rows:,} rows the mean of {names[worst]} is off by {shift[worst]:+.2f} posterior sds"
            f" (+- {error[worst]:.2f}; at most {MOST_SHIFT:g})"
        )
    return found + _beyond(correction and -correction.shift, MOST_SHIFT, names, n_rows, "the mean")


def _spread(
    last: ComparedWithNuts, names: Sequence[str], correction: Correction | None, n_rows: int
) -> list[str]:
    log_sd, error = last.margins.log_sd, last.margins.log_sd_mcse
    beyond = np.abs(log_sd) - _ERRORS * error
    worst, found = int(np.argmax(beyond)), []
    if beyond[worst] > MOST_LOG_SD:
        found.append(
            f"at {last.rows:,} rows the sd of {names[worst]} is {np.exp(log_sd[worst]):.2f} times that of NUTS"
            f" (between {np.exp(-MOST_LOG_SD):g} and {np.exp(MOST_LOG_SD):g} is asked for)"
        )
    if last.khat is not None and not last.khat <= HIGHEST_KHAT:
        found.append(f"at {last.rows:,} rows k-hat is {last.khat:.2f} (at most {HIGHEST_KHAT:g})")
    return found + _beyond(
        correction and -correction.log_sd, MOST_LOG_SD, names, n_rows, "the log sd"
    )


def _beyond(
    extrapolated: np.ndarray | None, most: float, names: Sequence[str], n_rows: int, what: str
) -> list[str]:
    if extrapolated is None:
        return []
    lowest, highest = extrapolated.min(axis=1), extrapolated.max(axis=1)
    nearest = np.where(lowest > 0, lowest, -highest)
    worst = int(np.argmax(nearest))
    if nearest[worst] <= most:
        return []
    low, high = lowest[worst], highest[worst]
    return [
        f"at all {n_rows:,} rows {what} of {names[worst]} would be off by {low:+.2f} to {high:+.2f}"
    ]


def _praise(last: ComparedWithNuts) -> str:
    tail = "" if last.khat is None else f", k-hat is {last.khat:.2f}"
    return (
        f"at {last.rows:,} rows means are off by {np.abs(last.margins.shift).max():.2f} posterior sds at most, sds by a"
        f" factor of {np.exp(np.abs(last.margins.log_sd).max()):.2f}{tail}"
    )


def _correction(increments: Sequence[ComparedWithNuts], n_rows: int) -> Correction | None:
    if len(increments) < 3:
        return None
    share = np.array([one.rows for one in increments]) / n_rows
    # A bias that stays is more of a posterior's sd with the root of the rows; one of the order of the
    # posterior's variance, as where the posterior becomes normal, is less.
    of_shift = np.stack([share**0.5, share**-0.5], axis=1), np.ones(2)
    of_log_sd = np.stack([np.ones(len(share)), np.log(share)], axis=1), np.array([1.0, 0.0])
    every = Margins(*map(np.stack, zip(*(one.margins for one in increments), strict=True)))
    # What undoes a difference has its bounds the other way round.
    return Correction(
        -extrapolate(*of_shift, every.shift, every.shift_mcse)[:, ::-1],
        -extrapolate(*of_log_sd, every.log_sd, every.log_sd_mcse)[:, ::-1],
    )


def extrapolate(design: np.ndarray, at: np.ndarray, y: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Extrapolate a regression: low, median and high of a 90 % interval, `(parameter, 3)`.

    Least squares; the residual variance is not taken to be less than what Monte Carlo errors make it.

    Parameters
    ----------
    design
        `(increment, term)`, more increments than terms.
    at
        `(term,)` where to.
    y, error
        `(increment, parameter)` values, and their Monte Carlo errors.
    """
    found, *_ = np.linalg.lstsq(design, y, rcond=None)
    df = design.shape[0] - design.shape[1]
    residual = ((y - design @ found) ** 2).sum(axis=0) / df
    variance = np.maximum(residual, (error**2).mean(axis=0))
    sd = np.sqrt(variance * (at @ np.linalg.inv(design.T @ design) @ at))
    return (at @ found)[:, None] + sd[:, None] * student.ppf(_PROBABILITIES, df)
