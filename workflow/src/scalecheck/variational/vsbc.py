"""Variational simulation-based calibration: are the errors of an approximation symmetric over data sets?

Parameters come from the prior, data from the model, and the approximation is fitted: the probability that it gives to
values below the truth has a symmetric distribution where its means are not biased, however wrong its standard
deviations are. Y. Yao et al., "Yes, but did it work?", arXiv:1802.02538, section 3. Their Kolmogorov-Smirnov distance
between p and 1 - p is ranked among those after random reflections, which is exact, where its table holds for two
independent samples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scalecheck.checks.agreement import holm

# Of the adjusted p below which a parameter is called biased.
ALPHA = 0.05
_REFLECTIONS = 9999


class Symmetry(NamedTuple):
    """What simulated data sets say.

    Attributes
    ----------
    names
        Of the parameters.
    p, p_adjusted
        `(parameter,)` of the test, and adjusted by Holm.
    mean
        `(parameter,)` mean probability below the truth; .5 where nothing is wrong, more where estimates are too low.
    n_data_sets
        How many.
    n_open
        How many more whose fit has not converged.
    """

    names: tuple[str, ...]
    p: np.ndarray
    p_adjusted: np.ndarray
    mean: np.ndarray
    n_data_sets: int
    n_open: int

    @property
    def biased(self) -> tuple[str, ...]:
        """Parameters whose errors are not symmetric."""
        pairs = zip(self.names, self.p_adjusted, strict=True)
        return tuple(name for name, p in pairs if p < ALPHA)


def judge_symmetry(names: Sequence[str], below: np.ndarray, converged: np.ndarray) -> Symmetry:
    """Test the symmetry of each parameter over the data sets whose fit has converged.

    Whether one does depends on its data alone, given which the truth is a draw from the posterior: leaving others out
    does not bend the test. What they end with is no approximation that is to be believed, and may be no number.

    Parameters
    ----------
    below
        `(data set, parameter)` probability that the approximation gives to values below the truth.
    converged
        `(data set,)` whether its fit has.
    """
    kept = below[converged]
    p = np.array([_p_value(one - 0.5, np.random.default_rng(0)) for one in kept.T])
    mean = kept.mean(axis=0) if len(kept) else np.full(len(names), np.nan)
    return Symmetry(tuple(names), p, holm(p), mean, len(kept), int((~converged).sum()))


def _p_value(u: np.ndarray, rng: np.random.Generator) -> float:
    """Give the rank of the distance between the distributions of u and of -u, `(n,)`, among reflections."""
    order = np.argsort(-np.abs(u))
    signs = rng.choice([-1.0, 1.0], (_REFLECTIONS, len(u)))
    every = np.concatenate([np.sign(u)[order][None], signs])
    distance = np.abs(np.cumsum(every, axis=1)).max(axis=1, initial=0.0)
    return float((distance >= distance[0]).mean())
