"""What the twenty models are at their true parameters, in NumPy: the densities that the oracles take.

A log density `(rows,)` takes the parameters, the rows, an offset of the predictor and a factor of
the residual scale: what a defect changes. Levels that come from a population are put at their
posterior mean given the true parameters, so that a score is the marginal one (Fisher's identity,
exact for means of normal outcomes).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, gammaln, log_expit, logsumexp

NDArray = np.ndarray
_LOG_2PI = np.log(2 * np.pi)


class Rows(NamedTuple):
    """A table as a density takes it.

    Attributes
    ----------
    y
        `(rows,)` outcome.
    x
        `(rows, 1 + k)` ones and the covariates as the table has them.
    columns
        All columns by name.
    own
        `(rows,)` part of the predictor that belongs to levels from a population.
    """

    y: NDArray
    x: NDArray
    columns: Mapping[str, NDArray]
    own: Any = 0.0


LogDensity = Callable[[NDArray, Rows, Any, Any], NDArray]


class Truth(NamedTuple):
    """A true model.

    Attributes
    ----------
    theta
        `(d,)` true parameters, on any scale: their scores are projected out.
    log_density
        `(theta, rows, offset, scale) -> (rows,)`.
    levels
        `rows -> (own (rows,), statistics (k,))`: the posterior mean of levels from a population,
        and what estimates their spread.
    """

    theta: tuple[float, ...]
    log_density: LogDensity
    levels: Callable[[Rows], tuple[NDArray, NDArray]] | None = None


def _predictor(beta: NDArray, rows: Rows, offset: Any) -> NDArray:
    return rows.x @ beta + rows.own + offset


def normal(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    """Coefficients and the log of the scale."""
    return _log_normal(rows.y - _predictor(theta[:-1], rows, offset), np.exp(theta[-1]) * scale)


def _log_normal(residual: NDArray, scale: Any) -> NDArray:
    return -0.5 * (residual / scale) ** 2 - np.log(scale) - 0.5 * _LOG_2PI


def student(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    """Four degrees of freedom."""
    scale = np.exp(theta[-1]) * scale
    z = (rows.y - _predictor(theta[:-1], rows, offset)) / scale
    constant = gammaln(2.5) - gammaln(2.0) - 0.5 * np.log(4 * np.pi)
    return constant - np.log(scale) - 2.5 * np.log1p(z**2 / 4)


def bernoulli(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    eta = _predictor(theta, rows, offset)
    return log_expit(np.where(rows.y > 0, eta, -eta))


def poisson(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    eta = _predictor(theta, rows, offset)
    return rows.y * eta - np.exp(eta) - gammaln(rows.y + 1)


def negative_binomial(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    eta, shape = _predictor(theta[:-1], rows, offset), np.exp(theta[-1])
    total = np.logaddexp(eta, theta[-1])
    chosen = gammaln(rows.y + shape) - gammaln(shape) - gammaln(rows.y + 1)
    return chosen + shape * (theta[-1] - total) + rows.y * (eta - total)


def gamma(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    return _log_gamma(rows.y, _predictor(theta[:-1], rows, offset), np.exp(theta[-1]))


def _log_gamma(y: NDArray, log_mean: NDArray, shape: Any) -> NDArray:
    log_rate = np.log(shape) - log_mean
    return shape * log_rate - gammaln(shape) + (shape - 1) * np.log(y) - np.exp(log_rate) * y


def hurdle(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    """Coefficients, the log of the shape and the logit of the share of nothing."""
    some = rows.y > 0
    eta = _predictor(theta[:-2], rows, offset)
    amount = _log_gamma(np.where(some, rows.y, 1.0), eta, np.exp(theta[-2]))
    return np.where(some, log_expit(-theta[-1]) + amount, log_expit(theta[-1]))


def zero_inflated(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    """Coefficients and the logit of the share."""
    count = log_expit(-theta[-1]) + poisson(theta[:-1], rows, offset, scale)
    return np.where(rows.y > 0, count, np.logaddexp(log_expit(theta[-1]), count))


def weibull(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    """Coefficients and the log of the shape; of a lost row the survival."""
    shape = np.exp(theta[-1])
    log_ratio = np.log(rows.y) - _predictor(theta[:-1], rows, offset)
    hazard = theta[-1] + shape * log_ratio - np.log(rows.y)
    return np.where(rows.columns["lost"] > 0, 0.0, hazard) - np.exp(shape * log_ratio)


def ordinal(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    """The slope, and cutpoints in place of an intercept."""
    eta = rows.x[:, 1] * theta[0] + offset
    cuts = np.concatenate([[-np.inf], theta[1:], [np.inf]])
    grade = rows.y.astype(int)
    above, below = expit(eta - cuts[grade]), expit(eta - cuts[grade + 1])
    return np.log(above - below)


def beta(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    """Coefficients and the log of the precision."""
    mean, precision = expit(_predictor(theta[:-1], rows, offset)), np.exp(theta[-1])
    a, b = precision * mean, precision * (1 - mean)
    constant = gammaln(precision) - gammaln(a) - gammaln(b)
    return constant + (a - 1) * np.log(rows.y) + (b - 1) * np.log1p(-rows.y)


def choices(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    """Intercept and slope of two choices beside the first."""
    scores = np.stack(
        [np.zeros(len(rows.y)), *(rows.x @ own + offset for own in theta.reshape(2, -1))]
    )
    return scores[rows.y.astype(int), np.arange(len(rows.y))] - logsumexp(scores, axis=0)


def mixture(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    """Two means, the log of the scale and the logit of the share of the first."""
    scale = np.exp(theta[2]) * scale
    first, second = (_log_normal(rows.y - offset - mean, scale) for mean in theta[:2])
    return np.logaddexp(log_expit(theta[3]) + first, log_expit(-theta[3]) + second)


def indexed(column: str, count: int) -> LogDensity:
    """Give a normal density with a level per label, then slopes, then the log of the scale."""

    def log_density(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
        mean = theta[rows.columns[column]] + rows.x[:, 1:] @ theta[count:-1] + offset
        return _log_normal(rows.y - mean, np.exp(theta[-1]) * scale)

    return log_density


def autoregressive(theta: NDArray, rows: Rows, offset: Any, scale: Any) -> NDArray:
    """Coefficients, what is kept of the row before, and the log of the scale."""
    mean = _predictor(theta[:-2], rows, offset) + theta[-2] * rows.columns["lag"]
    return _log_normal(rows.y - mean, np.exp(theta[-1]) * scale)


def of_groups(column: str, beta: tuple[float, ...], spread: float) -> Callable[[Rows], Any]:
    """Give the levels of one grouping with residuals of scale 1: shrunken means of residuals."""

    def levels(rows: Rows) -> tuple[NDArray, NDArray]:
        codes = rows.columns[column]
        residual = rows.y - rows.x @ np.array(beta)
        count = np.bincount(codes)
        level = np.bincount(codes, residual) / (count + spread**-2)
        return level[codes], np.array([(level**2).sum()])

    return levels


def of_crossed(
    columns: tuple[str, str], beta: tuple[float, ...], spreads: tuple[float, float]
) -> Callable[[Rows], Any]:
    """Give the levels of two crossed groupings with residuals of scale 1."""

    def levels(rows: Rows) -> tuple[NDArray, NDArray]:
        codes = [rows.columns[name] for name in columns]
        parts = [np.eye(own.max() + 1)[own] for own in codes]
        precision = np.concatenate(
            [np.full(part.shape[1], s**-2) for part, s in zip(parts, spreads, strict=True)]
        )
        z = np.concatenate(parts, axis=1)
        residual = rows.y - rows.x @ np.array(beta)
        level = np.linalg.solve(z.T @ z + np.diag(precision), z.T @ residual)
        first = parts[0].shape[1]
        return z @ level, np.array([(level[:first] ** 2).sum(), (level[first:] ** 2).sum()])

    return levels


def of_slopes(
    column: str, mean: tuple[float, float], covariance: NDArray
) -> Callable[[Rows], tuple[NDArray, NDArray]]:
    """Give intercepts and slopes of groups, around their mean, with residuals of scale 1."""
    precision = np.linalg.inv(covariance)

    def levels(rows: Rows) -> tuple[NDArray, NDArray]:
        codes = rows.columns[column]
        residual = rows.y - rows.x @ np.array(mean)
        n = codes.max() + 1
        moments = np.zeros((n, 2, 2))
        np.add.at(moments, codes, rows.x[:, :, None] * rows.x[:, None, :])
        seen = np.zeros((n, 2))
        np.add.at(seen, codes, rows.x * residual[:, None])
        level = np.linalg.solve(moments + precision, seen[:, :, None])[:, :, 0]
        squares = level.T @ level
        own = (rows.x * level[codes]).sum(axis=1)
        return own, np.array([squares[0, 0], squares[1, 1], squares[0, 1]])

    return levels
