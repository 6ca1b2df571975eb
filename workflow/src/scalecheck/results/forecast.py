"""What the full fit would cost: a fit of all rows with the settings of the increments, forecast from those.

Its gradients are chains x (warmup x leapfrogs of warmup + draws x leapfrogs after it). Leapfrogs per
iteration are predicted by their regression on the rows, both in logs, as `checks.scaling` predicts those of an
increment. A fit goes on to four times `sampler.draws` where it cannot be used with fewer: how often is learnt from the
increments. Seconds are gradients times seconds per gradient, a power of the rows above a floor (`checks.gradient_cost`),
after those of starting and compiling.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls
from scipy.stats import norm
from scipy.stats import t as student

from scalecheck.checks.gradient_cost import cost_per_gradient
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
_N_QUANTILES, _N_TIMINGS = 400, 41


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
    running = each * np.exp(error * slow)[:, None] * gradients.values
    cases = np.exp(_STARTING_SD * slow)[:, None, None] * starting[:, None] + running[:, None]
    shared = gradients.weights / _N_TIMINGS / len(starting)
    seconds = Cases(cases.ravel(), np.tile(shared, _N_TIMINGS * len(starting))).interval
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
) -> tuple[float, float]:
    """Seconds of a gradient within a fit of so many rows, and their relative error.

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
    """
    within = timings.running / timings.gradients
    alone = cost_per_gradient(timings.padded_rows, timings.alone)
    seen = np.stack([np.ones(len(within)), alone.predict(timings.padded_rows)], axis=1)
    design = np.vstack([seen / within[:, None] / _TIMING_SD, [0.0, 1 / _WITHIN_SD]])
    target = np.append(np.full(len(within), 1 / _TIMING_SD), _WITHIN / _WITHIN_SD)
    # Of order one, or the solver would see two columns of very different length.
    unit = np.array([within.mean(), 1.0])
    found = nnls(design * unit, target)[0] * unit
    new = np.array([1.0, alone.predict(np.array([n_rows]))[0]])
    each = float(new @ found)
    scaled = new * unit
    variance = scaled @ np.linalg.solve((design * unit).T @ (design * unit), scaled) / each**2
    growth = np.log(new[1] / seen[-1, 1])
    return each, float(np.sqrt(_TIMING_SD**2 + min(variance, _TIMING_SD**2 + growth**2)))
