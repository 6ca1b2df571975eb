"""The ten kinds of defect: what each does to a table, and the answers that name it rightly.

A defect and its null share the rows and the random numbers of the outcome, so that their tables
differ by the defect alone. (Counts and shares are drawn by rejection: there the numbers are others
after the first row that differs.) Sizes are in units of a model's `spread`, the standard deviation that a
normal outcome as informative as its rows would have: a defect then is about as hard to find in
one model as in another, for whoever knows it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scenarios import DEFECTS, N_GROUPS, Design
from scipy.signal import lfilter

NDArray = np.ndarray

STRENGTHS = ("weak", "middle", "strong")
# The sd of outlying residuals, in sds of the others; and how far an outlying predictor is shifted.
OUTLYING, SHIFTED = 6.0, 4.0
# From which time on the regime is another; the autocorrelation of what is added to a predictor.
CHANGE, MEMORY = 0.6, 0.7


class Change(NamedTuple):
    """What a defect does to a table.

    Attributes
    ----------
    offset
        `(rows,)` added to the predictor.
    noise
        What becomes of standard residuals `(rows,)`.
    mixing
        `(rows,)` by which the means of counts are multiplied.
    zero
        `(rows,)` whether an outcome is set to zero.
    written
        `(rows,)` by which x1 is multiplied in the table, after the outcome is drawn.
    """

    offset: Any = 0.0
    noise: Callable[[NDArray], NDArray] = lambda noise: noise
    mixing: Any = 1.0
    zero: Any = False
    written: Any = 1.0


class Altered(Design):
    """Rows whose outcome is drawn with a defect: outcomes of scenarios draw through these methods."""

    change: Change = Change()
    residual: Callable[[np.random.Generator, int], NDArray]

    def predictor(self, beta: Any) -> NDArray:
        return super().predictor(beta) + self.change.offset

    def noise(self) -> NDArray:
        return self.change.noise(self.residual(self.rng, len(self.x)))

    def counts(self, mean: NDArray) -> NDArray:
        return super().counts(mean * self.change.mixing)


@dataclass(frozen=True)
class Defect:
    """One kind.

    Attributes
    ----------
    sizes
        Of each strength.
    change
        `(rows, random numbers of its own, size, spread, has normal residuals) -> Change`.
    example
        The defect of the calibration whose kind and accepted answers it has.
    """

    sizes: tuple[float, float, float]
    change: Callable[[Design, np.random.Generator, float, float, bool], Change]
    example: str

    @property
    def kind(self) -> str:
        return DEFECTS[self.example].kind

    @property
    def axes(self) -> frozenset[str]:
        """Axes that name it; empty text: none."""
        return frozenset(axis or "" for _, axis in DEFECTS[self.example].accepted)


def _groups(d: Design, rng: Any, size: float, spread: float, normal: bool) -> Change:
    return Change(offset=spread * size * rng.standard_normal(N_GROUPS)[d.grp])


def _drift(d: Design, rng: Any, size: float, spread: float, normal: bool) -> Change:
    return Change(offset=spread * size * (d.time - 0.5) * d.x[:, 0])


def _regime(d: Design, rng: Any, size: float, spread: float, normal: bool) -> Change:
    return Change(offset=spread * size * (d.time > CHANGE))


def _overdispersion(d: Design, rng: Any, size: float, spread: float, normal: bool) -> Change:
    return Change(mixing=rng.gamma(1 / size, size, len(d.x)))


def _quadratic(d: Design, rng: Any, size: float, spread: float, normal: bool) -> Change:
    return Change(offset=spread * size * (d.x[:, 0] ** 2 - 1))


def _contamination(d: Design, rng: Any, size: float, spread: float, normal: bool) -> Change:
    """Few residuals are large; where there are none, few predictors are far off, up or down."""
    outlying = rng.random(len(d.x)) < size
    if normal:
        further = OUTLYING * outlying * rng.standard_normal(len(d.x))
        return Change(noise=lambda noise: noise + further)
    return Change(offset=spread * SHIFTED * outlying * rng.choice([-1, 1], len(d.x)))


def _heteroscedastic(d: Design, rng: Any, size: float, spread: float, normal: bool) -> Change:
    return Change(noise=lambda noise: np.exp(size * d.x[:, 0]) * noise)


def _zero_inflation(d: Design, rng: Any, size: float, spread: float, normal: bool) -> Change:
    return Change(zero=rng.random(len(d.x)) < size)


def _source_units(d: Design, rng: Any, size: float, spread: float, normal: bool) -> Change:
    return Change(written=np.where(d.src == 0, size, 1.0))


def _autoregression(d: Design, rng: Any, size: float, spread: float, normal: bool) -> Change:
    """Neighbours' residuals are correlated; where there are none, neighbours share part of their predictor."""
    if normal:
        return Change(noise=lambda noise: _continued(noise, size))
    wave = _continued(rng.standard_normal(len(d.x)), MEMORY)
    return Change(offset=spread * np.sqrt(size / MEMORY) * wave)


def _continued(noise: NDArray, keep: float) -> NDArray:
    """Let each residual keep a part of the one before, with the variance as it was."""
    own = np.sqrt(1 - keep**2) * noise
    own[0] = noise[0]
    return lfilter([1.0], [1.0, -keep], own)


KINDS = {
    "groups": Defect((0.13, 0.20, 0.30), _groups, "groups"),
    "drift": Defect((0.28, 0.46, 0.70), _drift, "drift"),
    "regime": Defect((0.17, 0.27, 0.40), _regime, "regime"),
    "overdispersion": Defect((0.04, 0.07, 0.12), _overdispersion, "overdispersion"),
    "quadratic": Defect((0.06, 0.10, 0.16), _quadratic, "quadratic"),
    "contamination": Defect((0.004, 0.01, 0.02), _contamination, "contamination"),
    "heteroscedastic": Defect((0.06, 0.10, 0.16), _heteroscedastic, "heteroscedastic"),
    "zero_inflation": Defect((0.03, 0.05, 0.08), _zero_inflation, "zero_inflation"),
    "source_units": Defect((1.4, 1.8, 2.54), _source_units, "source_units"),
    "autoregression": Defect((0.08, 0.13, 0.20), _autoregression, "autoregression"),
}
