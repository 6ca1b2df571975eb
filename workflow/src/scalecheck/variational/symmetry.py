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

NDArray = np.ndarray

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
    """

    names: tuple[str, ...]
    p: NDArray
    p_adjusted: NDArray
    mean: NDArray
    n_data_sets: int

    @property
    def biased(self) -> tuple[str, ...]:
        """Parameters whose errors are not symmetric."""
        pairs = zip(self.names, self.p_adjusted, strict=True)
        return tuple(name for name, p in pairs if p < ALPHA)


def symmetry(names: Sequence[str], below: NDArray) -> Symmetry:
    """Test the symmetry of each parameter.

    Parameters
    ----------
    below
        `(data set, parameter)` probability that the approximation gives to values below the truth.
    """
    p = np.array([_p_value(one - 0.5, np.random.default_rng(0)) for one in below.T])
    return Symmetry(tuple(names), p, holm(p), below.mean(axis=0), len(below))


def _p_value(u: NDArray, rng: np.random.Generator) -> float:
    """Give the rank of the distance between the distributions of u and of -u, `(n,)`, among reflections."""
    order = np.argsort(-np.abs(u))
    signs = rng.choice([-1.0, 1.0], (_REFLECTIONS, len(u)))
    every = np.concatenate([np.sign(u)[order][None], signs])
    distance = np.abs(np.cumsum(every, axis=1)).max(axis=1)
    return float((distance >= distance[0]).mean())
