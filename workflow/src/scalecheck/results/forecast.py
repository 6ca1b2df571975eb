"""What the full fit would cost: a fit of all rows with the settings of the increments, forecast from those.

Its gradients are chains x (warmup x leapfrogs of warmup + draws x leapfrogs after it). Leapfrogs per
iteration are predicted by their regression on the rows, both in logs, as `checks.scaling` predicts those of an
increment. A fit goes on to four times `sampler.draws` where it cannot be used with fewer: how often is learnt from the
increments. Seconds are gradients times seconds per gradient, a power of the rows above a floor (`checks.gradient_cost`),
after those of starting and compiling. Small increments say little of how much lies above the floor, and the fit to
forecast may be a hundred times as large. So the forecast averages over all shares that agree with the timings.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls
from scipy.stats import norm
from scipy.stats import t as student

from scalecheck.checks.gradient_cost import TIMING_DF, TIMING_SD, cost_per_gradient
from scalecheck.checks.scaling import predict_leapfrogs
from scalecheck.results.increment_costs import IncrementCosts, Timings

Interval = tuple[float, float, float]

# The bounds of the 90 % interval, and the median between them.
PROBABILITIES = (0.05, 0.5, 0.95)
# How often fits take 1 to 4 times the draws asked for: a priori, a quarter goes on each time; that counts as much
# as `_FITS` fits that were seen. Chosen on seeds of tests/benchmarks/forecast.py that coverage is not counted on.
_TIMES = np.arange(1.0, 5.0)
_A_PRIORI = np.array([0.75, 0.1875, 0.046875, 0.015625])
_FITS = 4
# Relative errors of the seconds of a fit, and of starting and compiling; and what a gradient takes within a fit
# over what it takes alone, a priori: chains wait for the longest trajectory among them.
_TIMING_SD, _STARTING_SD, _WITHIN, _WITHIN_SD = 0.15, 0.2, 1.5, 0.5
_N_QUANTILES, _N_TIMINGS, _N_GROWTHS = 200, 15, 15
# Shares of the seconds of a gradient that grow with the rows, among which these are found.
_SHARES = np.linspace(0.0, 1.0, 2001)


class Cases(NamedTuple):
    """A distribution as equally spaced quantiles of its parts.

    Attributes
    ----------
    values, weights
        `(case,)`.
    """

    values: np.ndarray
    weights: np.ndarray

    @property
    def interval(self) -> Interval:
        """Low, median and high."""
        order = np.argsort(self.values)
        weights = self.weights[order]
        at = np.cumsum(weights) - weights / 2
        low, median, high = np.interp(PROBABILITIES, at, self.values[order])
        return float(low), float(median), float(high)


class Forecast(NamedTuple):
    """What a fit would take: low, median and high each, the bounds of a 90 % interval.

    Attributes
    ----------
    rows
        Of the fit.
    gradients, seconds
        Of all chains, warmup included; seconds include starting and compiling.
    price
        In the currency of `budget.price_per_hour`; None where that is not given.
    """

    rows: int
    gradients: Interval
    seconds: Interval
    price: Interval | None


def forecast(
    effort: IncrementCosts, timings: Timings, n_rows: int, price_per_hour: float | None = None
) -> Forecast:
    """Forecast a fit of so many rows with the settings of the increments.

    Parameters
    ----------
    effort, timings
        What the increments so far took, two at least.
    n_rows
        Rows of the fit to forecast.
    price_per_hour
        Of the machine; None where it is not known.
    """
    gradients = gradients_of(effort, n_rows)
    each, error = seconds_of_gradient(effort, timings, n_rows)
    # A fit of a new shape compiles anew: increments that took less than half found their program in the cache.
    starting = timings.starting[timings.starting >= timings.starting.max() / 2]
    # A machine that is slow at one is slow at the other.
    slow = norm.ppf(_midpoints(_N_TIMINGS))
    running = each[:, None] * np.exp(error[:, None] * slow)
    # (growth, slow, start, gradients)
    cases = (
        np.exp(_STARTING_SD * slow)[:, None, None] * starting[:, None]
        + running[..., None, None] * gradients.values
    )
    weights = np.broadcast_to(gradients.weights, cases.shape)
    seconds = Cases(cases.ravel(), weights.ravel() / weights[..., 0].size).interval
    price = None
    if price_per_hour is not None:
        low, median, high = (price_per_hour / 3600 * part for part in seconds)
        price = low, median, high
    return Forecast(n_rows, gradients.interval, seconds, price)


def gradients_of(effort: IncrementCosts, n_rows: int) -> Cases:
    """Gradients that a fit of so many rows may take, those of draws beyond `sampler.draws` included.

    Parameters
    ----------
    effort
        Of the increments so far, two at least.
    n_rows
        Rows of the fit to forecast.
    """
    # A fit that is slow in warmup is slow after it: both are taken to be at the same quantile.
    at = _midpoints(_N_QUANTILES)
    warmup, sampling = (
        _at_quantiles(effort.rows, leapfrogs, n_rows, at)
        for leapfrogs in (effort.warmup, effort.sampling)
    )
    seen = (effort.times[:, None] == _TIMES).sum(axis=0)
    chance = (_FITS * _A_PRIORI + seen) / (_FITS + seen.sum())
    by_chain = effort.n_warmup * warmup[:, None] + effort.n_draws * sampling[:, None] * _TIMES
    return Cases(
        (effort.warmup.shape[1] * by_chain).ravel(), np.tile(chance / _N_QUANTILES, _N_QUANTILES)
    )


def _midpoints(number: int) -> np.ndarray:
    return (np.arange(number) + 0.5) / number


def _at_quantiles(
    rows: np.ndarray, leapfrogs: np.ndarray, n_rows: int, at: np.ndarray
) -> np.ndarray:
    mean, scale, df = predict_leapfrogs(rows, np.log2(leapfrogs), float(n_rows))
    return 2 ** (mean + scale * student.ppf(at, df))


def seconds_of_gradient(
    effort: IncrementCosts, timings: Timings, n_rows: int
) -> tuple[Float[np.ndarray, " case"], Float[np.ndarray, " case"]]:
    """Seconds of a gradient within a fit of so many rows, equally likely cases, and the relative error of each.

    Within an increment it took a constant, what a leapfrog costs beside its gradient, plus a multiple of
    what it takes alone: non-negative least squares of relative errors, the multiple near 1.5 a priori. As neither is
    negative, the fit to forecast lies between the last increment and what would grow as gradients alone do: the error
    is no larger than that, however badly gradients were timed.

    Parameters
    ----------
    effort, timings
        Of the increments so far, two at least.
    n_rows
        Rows of the fit to forecast.

    Returns
    -------
    each, error
        `(case,)`.
    """
    within = timings.running / timings.gradients
    exponent = cost_per_gradient(timings.padded_rows, timings.alone).exponent
    over_last = (np.append(timings.padded_rows, n_rows) / timings.padded_rows[-1]) ** exponent
    timed = np.isfinite(timings.alone) & (timings.alone > 0)
    shares, log_last = _shares_that_grow(np.log(timings.alone[timed]), over_last[:-1][timed])
    alone = np.exp(log_last)[:, None] * (1 - shares[:, None] + shares[:, None] * over_last)
    each, error = np.array([_within_a_fit(within, one) for one in alone]).T
    return each, error


def _shares_that_grow(
    log_alone: Float[np.ndarray, " fit"], over_last: Float[np.ndarray, " fit"]
) -> tuple[Float[np.ndarray, " case"], Float[np.ndarray, " case"]]:
    """Which share of the seconds of a gradient of the last increment grows with the rows: equally likely cases.

    A priori all shares are equally likely. Given one, the logarithms of what gradients took differ from what it says by
    errors of a normal, whose variance has the prior of `checks.gradient_cost`.

    Parameters
    ----------
    log_alone
        Logarithm of the seconds of a gradient.
    over_last
        Rows over those of the last increment, to the power that seconds grow with.

    Returns
    -------
    shares, log_last
        `(case,)` the share, and the logarithm of the seconds of a gradient of the last increment with it.
    """
    off = log_alone - np.log(1 - _SHARES[:, None] * (1 - over_last))
    log_last = off.mean(axis=1)
    squares = ((off - log_last[:, None]) ** 2).sum(axis=1)
    likely = (TIMING_DF * TIMING_SD**2 + squares) ** (-(TIMING_DF + len(log_alone) - 1) / 2)
    chance = np.cumsum(likely) / likely.sum()
    shares = np.interp(_midpoints(_N_GROWTHS), chance, _SHARES)
    return shares, np.interp(shares, _SHARES, log_last)


def _within_a_fit(
    within: Float[np.ndarray, " fit"], alone: Float[np.ndarray, " fit+1"]
) -> tuple[float, float]:
    """Seconds of a gradient within the fit to forecast, and their relative error.

    Parameters
    ----------
    within
        Seconds of a gradient within the increments.
    alone
        What one takes alone there, and last in the fit to forecast.
    """
    seen = np.stack([np.ones(len(within)), alone[:-1]], axis=1)
    design = np.vstack([seen / within[:, None] / _TIMING_SD, [0.0, 1 / _WITHIN_SD]])
    target = np.append(np.full(len(within), 1 / _TIMING_SD), _WITHIN / _WITHIN_SD)
    # Of order one, or the solver would see two columns of very different length.
    unit = np.array([within.mean(), 1.0])
    found = nnls(design * unit, target)[0] * unit
    new = np.array([1.0, alone[-1]])
    each = float(new @ found)
    scaled = new * unit
    variance = scaled @ np.linalg.solve((design * unit).T @ (design * unit), scaled) / each**2
    growth = np.log(alone[-1] / alone[-2])
    return each, float(np.sqrt(_TIMING_SD**2 + min(variance, _TIMING_SD**2 + growth**2)))
