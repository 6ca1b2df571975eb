"""What is measured of scores along an axis, and where the observed stands among flips.

Several statistics look at the same scores: for levels that differ, for one level that does, for a slope, a bend
or a break. They are made comparable by what each does under the null, and the largest is ranked: one p-value,
however many there are.

Formulas and sources: docs/statistics.md, section 2.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from scalecheck.checks.scores import LINEAR, LOG, SQUARE
from scalecheck.checks.standardised_scores import StandardisedScores, Sums

Measured = Float[np.ndarray, "flip statistic"]

LEVELS, LEVEL, VARIANCE, CHANGE = "levels", "level", "variance", "change"
# A shape names what is seen if it deviates by at most so much less than what deviates most.
NEARLY = 0.2
# A contrast of a parameter has no variance of its own where the model has that term: the rest is rounding.
SATURATED = 1e-8


class AxisStatistic(NamedTuple):
    """One of them.

    Attributes
    ----------
    what
        `levels`, all of them; `level`, the one that differs most; `variance`, of a parameter between levels;
        `change`, a change-point; or a shape of an ordered axis.
    parameter
        Number of the parameter; None: all together.
    """

    what: str
    parameter: int | None = None


class _Shape(NamedTuple):
    """How the sums along one contrast are measured.

    Attributes
    ----------
    name
        Of the shape.
    parameters
        Numbers of the parameters whose contrast varies.
    single
        `(r, parameter)`, sums times this are the contrasts of those parameters, of unit variance.
    """

    name: str
    parameters: tuple[int, ...]
    single: Float[np.ndarray, "r parameter"]


class AxisStatistics(NamedTuple):
    """All that is measured along one axis.

    Attributes
    ----------
    flow
        The scores.
    each
        The statistics, in order.
    shapes
        How those of shapes are measured.
    """

    flow: StandardisedScores
    each: tuple[AxisStatistic, ...]
    shapes: tuple[_Shape, ...]

    def name(self, deviations: Float[np.ndarray, " statistic"]) -> AxisStatistic:
        """Choose what is said: the statistic that deviates most, or a shape that does so nearly.

        Parameters
        ----------
        deviations
            `(statistic,)`, from `Null.deviation`.
        """
        # A shape says more than that levels differ. What a slope lacks is a bend of its effect.
        says = {LINEAR: 0.9 * NEARLY, SQUARE: NEARLY, LOG: NEARLY}
        more = np.array([says.get(one.what, 0.0) for one in self.each])
        return self.each[int((deviations + more * max(0.0, deviations.max())).argmax())]

    @classmethod
    def of(cls, flow: StandardisedScores, shapes: Sequence[str]) -> "AxisStatistics":
        """Say what can be measured.

        Parameters
        ----------
        flow
            The scores.
        shapes
            Names of the contrasts; with any the axis is ordered, and a change-point is looked for.
        """
        found = [_shape(flow, number, name) for number, name in enumerate(shapes)]
        each = [AxisStatistic(LEVELS), AxisStatistic(LEVEL)]
        each += [AxisStatistic(VARIANCE, number) for number in range(len(flow.directions))]
        if found:
            each.append(AxisStatistic(CHANGE))
        for shape in found:
            each += [AxisStatistic(shape.name, n) for n in shape.parameters]
        return cls(flow, tuple(each), tuple(found))

    def measure(self, sums: Sums) -> Measured:
        """Return the statistics `(flip, statistic)`, each on a scale on which it is nearly normal.

        They are sums of squares, whose cube roots are (Wilson & Hilferty 1931).
        """
        flow = self.flow
        u, by_level = flow.fluctuation(sums.by_level), flow.by_level(sums.by_level)
        moved = ((u @ flow.directions.T) ** 2).sum(axis=1)
        found = [by_level.sum(axis=1), by_level.max(axis=1), *moved.T]
        if self.shapes:
            found.append(_change(flow, u))
        for number, shape in enumerate(self.shapes):
            found += [*((sums.along[:, number] @ shape.single) ** 2).T]
        return np.cbrt(np.stack(found, axis=1))


def _shape(flow: StandardisedScores, number: int, name: str) -> _Shape:
    entries = flow.shaped[:, number]
    outer = entries.T @ entries
    # Scores of a parameter are `coordinates @ inverse`: the root of the outer product.
    scores = np.linalg.pinv(flow.root)
    own = np.einsum("rd,rs,sd->d", scores, outer, scores)
    size = (scores**2).sum(axis=0)
    # Contrasts have mean square 1: what is small is small beside the scores.
    varies = np.flatnonzero(own > SATURATED * size)
    single = scores[:, varies] / np.sqrt(own[varies])
    return _Shape(name, tuple(varies.tolist()), single)


def _change(
    flow: StandardisedScores, u: Float[np.ndarray, "flip level r"]
) -> Float[np.ndarray, " flip"]:
    """Return what sees a change of regime, `(flip,)`."""
    elapsed = flow.share.cumsum()[:-1]
    path = u.cumsum(axis=1)[:, :-1]
    return ((path**2).sum(axis=-1) / (elapsed * (1 - elapsed))).max(axis=1)


class Null:
    """What the statistics do under random signs, and how many of the flips deviate more than the observed."""

    def __init__(self, measured: Measured, observed: Float[np.ndarray, "1 statistic"]) -> None:
        """Take the scale of each statistic from the flips.

        Parameters
        ----------
        measured
            `(flip, statistic)`.
        observed
            `(1, statistic)`.
        """
        self.centre = np.median(measured, axis=0)
        # Tails differ: statistics are made alike where few flips come.
        self.spread = np.quantile(measured, 0.99, axis=0) - self.centre
        self.n, self.n_exceeding = 0, 0
        self.observed = observed
        self.add(measured)

    def deviations(self, measured: Measured) -> Measured:
        """Return how far statistics lie above the centre of the null, in spreads; a constant one nowhere."""
        varies = self.spread > 1e-5 * np.maximum(np.abs(self.centre), 1e-30)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(varies, (measured - self.centre) / self.spread, -np.inf)

    def add(self, measured: Measured) -> None:
        """Count further flips."""
        # Flips that equal the observed in exact arithmetic have to count, rounded or not.
        least = self.deviations(self.observed * (1 - 1e-5)).max()
        self.n += len(measured)
        self.n_exceeding += int((self.deviations(measured).max(axis=1) >= least).sum())

    @property
    def deviation(self) -> Float[np.ndarray, " statistic"]:
        """How far the observed deviates in each statistic."""
        return self.deviations(self.observed)[0]

    @property
    def p(self) -> float:
        """Share of the flips and the observed that deviate at least as much."""
        return (self.n_exceeding + 1) / (self.n + 1)
