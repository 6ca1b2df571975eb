"""Draws of what units share from a multivariate t around its mode, weighted by Pareto smoothed importance sampling.

A. Vehtari et al., "Pareto smoothed importance sampling", arXiv:1507.02646.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln, logsumexp

from scalecheck.diagnostics import array_stats
from scalecheck.laplace.population import Matrix, Theta

# A t of fewer degrees of freedom than it has dimensions is hardly ever where a normal is.
_FEWEST_DF = 7.0
# By what a t is wider than draws from which it was made.
_WIDER = 1.1
# A covariance is taken from so many effective draws for each parameter, and from so many at least. Steps in which a
# power is found.
_ENOUGH, _FEWEST, _BISECTIONS = 3.0, 12.0, 30
# Scales of a side, in posterior standard deviations.
_SCALES = (0.4, 3.0)
# Log ratios nearer to each other than this differ by rounding.
_ROUNDING = 1e-3


class SplitT(NamedTuple):
    """A multivariate t whose scale along an axis is one above its centre and another below it.

    A posterior may be skew. J. Geweke, "Bayesian inference in econometric models using Monte Carlo integration",
    Econometrica 57 (1989), splits the t so; here each side has the mass that makes the density continuous.

    Attributes
    ----------
    centre
        `(d,)`.
    root
        `(d, d)` axes in its columns, each a posterior standard deviation long.
    above, below
        `(d,)` scales along the axes.
    """

    centre: Theta
    root: Matrix
    above: Theta
    below: Theta

    @property
    def df(self) -> float:
        """Degrees of freedom."""
        return max(_FEWEST_DF, float(len(self.centre)))

    def draw(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, "draw d"]:
        """Draw `(n, d)`."""
        d = len(self.centre)
        size = np.abs(
            rng.standard_normal((n, d)) * np.sqrt(self.df / rng.chisquare(self.df, (n, 1)))
        )
        is_above = rng.random((n, d)) < self.above / (self.above + self.below)
        z = size * np.where(is_above, self.above, -self.below)
        return self.centre + z @ self.root.T

    def log_density(self, places: Float[np.ndarray, "draw d"]) -> Float[np.ndarray, " draw"]:
        """Log density `(draw,)`."""
        d, df = len(self.centre), self.df
        z = np.linalg.solve(self.root, (places - self.centre).T).T
        z = np.where(z > 0, z / self.above, z / self.below)
        constant = gammaln((df + d) / 2) - gammaln(df / 2) - d / 2 * np.log(df * np.pi)
        constant -= np.linalg.slogdet(self.root)[1] + np.log((self.above + self.below) / 2).sum()
        return constant - (df + d) / 2 * np.log1p((z**2).sum(axis=1) / df)


def log_mixture(
    proposals: Sequence[SplitT], places: Float[np.ndarray, "draw d"]
) -> Float[np.ndarray, " draw"]:
    """Log density `(draw,)` of draws of which each proposal has given as many."""
    each = [proposal.log_density(places) for proposal in proposals]
    return logsumexp(each, axis=0) - np.log(len(each))


def split_scales(drops: Float[np.ndarray, "side d"], reach: float) -> Float[np.ndarray, "side d"]:
    """Scale at which a normal falls as far within `reach` standard deviations as the log density did, `drops`."""
    drops = np.where(np.isfinite(drops), drops, np.inf)
    return np.clip(reach / np.sqrt(2 * np.maximum(drops, 1e-6)), *_SCALES)


class Smoothed(NamedTuple):
    """Importance weights.

    Attributes
    ----------
    weight
        `(draw,)` of sum 1.
    khat
        Shape of the tail of the ratios.
    """

    weight: Float[np.ndarray, " draw"]
    khat: float

    @property
    def effective(self) -> float:
        """Effective number of draws."""
        return float(1 / (self.weight**2).sum())

    def moments(self, values: Float[np.ndarray, "draw d"]) -> tuple[Theta, Matrix]:
        """Mean `(d,)` and covariance `(d, d)`."""
        mean = self.weight @ values
        centred = values - mean
        return mean, centred.T @ (self.weight[:, None] * centred)

    def resample(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Numbers `(n,)` of draws, each as often as its weight says, up to one: systematic resampling."""
        places = (rng.random() + np.arange(n)) / n
        return np.minimum(np.searchsorted(np.cumsum(self.weight), places), len(self.weight) - 1)


def adapted(before: SplitT, weights: Smoothed, places: Float[np.ndarray, "draw d"]) -> SplitT:
    """Move a t to where its weighted draws are, as far as these can tell.

    Where few draws have all the weight, weights are taken to a power at which enough of them count. The covariance is
    shrunk towards the one before, made as wide as they are. O. Cappe et al., "Adaptive importance sampling in general
    mixture classes", arXiv:0710.4242, adapt a proposal round by round.
    """
    d = len(before.centre)
    tempered = _tempered(weights, min(max(_ENOUGH * d, _FEWEST), len(places) / 4))
    mean, covariance = tempered.moments(places)
    inner = np.linalg.solve(before.root, np.linalg.solve(before.root, covariance).T)
    root = before.root @ np.linalg.cholesky(_shrunk(inner, tempered.effective))
    sides = np.full(d, _WIDER)
    return SplitT(mean, root, sides, sides)


def _shrunk(covariance: Matrix, n: float) -> Matrix:
    """Shrink a covariance of so many draws towards a multiple of one, by as much as is best for a normal.

    Y. Chen et al., "Shrinkage algorithms for MMSE covariance estimation", IEEE Trans. Signal Process. 58 (2010): the
    oracle approximating shrinkage.
    """
    d, trace, square = len(covariance), np.trace(covariance), (covariance**2).sum()
    apart = square - trace**2 / d
    if apart <= _ROUNDING * square:
        return trace / d * np.eye(d)
    share = min(1.0, ((1 - 2 / d) * square + trace**2) / ((n + 1 - 2 / d) * apart))
    return (1 - share) * covariance + share * trace / d * np.eye(d)


def _tempered(weights: Smoothed, enough: float) -> Smoothed:
    """Take weights to the largest power, up to one, at which so many draws are effective."""
    log_weight = np.log(np.maximum(weights.weight, 1e-300))

    def at(power: float) -> Smoothed:
        weight = np.exp(power * (log_weight - log_weight.max()))
        return Smoothed(weight / weight.sum(), weights.khat)

    low, high = 0.0, 1.0
    if at(high).effective >= enough:
        return weights
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).effective >= enough else (low, middle)
    return at(low)


def smooth(log_ratios: Float[np.ndarray, " draw"]) -> Smoothed:
    """Smooth the largest of some importance ratios; ratios that are no number have no weight.

    Where the largest are all the same, as those of a chain that stood still, the shape of their tail is infinite, and
    so it is where none is a number.
    """
    known = np.isfinite(log_ratios)
    if not known.any():
        return Smoothed(np.full(len(log_ratios), 1 / len(log_ratios)), np.inf)
    log_ratios = np.where(known, log_ratios, log_ratios[known].min() - 50)
    log_ratios = log_ratios - log_ratios.max()
    if np.ptp(log_ratios) < _ROUNDING:
        return Smoothed(np.full(len(log_ratios), 1 / len(log_ratios)), 0.0)
    try:
        # ArviZ takes log likelihoods, whose ratios are the other way round.
        smoothed, khat = array_stats.psislw(-log_ratios)
    except ValueError:  # all tail values are the same
        smoothed, khat = log_ratios, np.inf
    weight = np.exp(smoothed - np.max(smoothed))
    return Smoothed(weight / weight.sum(), float(khat))
