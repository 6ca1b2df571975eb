"""What a check says: a p-value, an effect, a place, and a sentence that a reader acts on."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

NOTABLE = 0.05
INTERVAL = 0.89  # probability of the intervals of effects


class Effect(NamedTuple):
    """The size of what was seen.

    Attributes
    ----------
    name
        What the value measures, with its unit.
    value, low, high
        The estimate and its interval; each family says which interval.
    """

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One comparison of one family, before the error rates of all families are combined.

    Attributes
    ----------
    family
        agreement, heterogeneity, form, drift, surprise, effort, scaling or adaptation.
    p
        Raw p-value of this comparison; None: it was not run, and the message says why.
    weight
        Share of the family's error rate spent here; the p-value within the family is `min(1, p /
        weight)`.
    large
        Whether the effect is large enough to be called strong.
    effect
        None where the check was not run.
    axis, level, parameter, fit
        Where it was seen; None where that does not apply.
    kind
        What it would mean if significant: misfit, heterogeneous, or "".
    beside
        The kind of a second defect, which stays when this one is taken out; "": none is seen.
    fits
        The fits that it rests on.
    message
        One sentence: what was seen, where, how sure, what to do.

    Raises
    ------
    ValueError
        If `p` is not a probability: a NaN would pass every threshold in silence.
    """

    family: str
    p: float | None
    weight: float
    large: bool
    effect: Effect | None
    axis: str | None = None
    level: str | None = None
    parameter: str | None = None
    fit: str | None = None
    kind: str = ""
    beside: str = ""
    fits: tuple[str, ...] = ()
    message: str

    def __post_init__(self) -> None:
        """Refuse what is not a probability."""
        if self.p is not None and not 0.0 <= self.p <= 1.0:
            raise ValueError(f"the p-value of {self.family} must lie in [0, 1], but got {self.p}")


def not_run(family: str, message: str, *, weight: float = 0.0, **where: Any) -> Finding:
    """Return the finding of a check that could not be made.

    Parameters
    ----------
    family
        The family that was not run.
    message
        The reason, as one sentence.
    weight
        Share of the family's error rate that was planned for it; it is not spent.
    **where
        `axis`, `level`, `parameter`, `fit`, `kind` or `fits` of `Finding`.
    """
    return Finding(
        family=family, p=None, weight=weight, large=False, effect=None, message=message, **where
    )


def half_width(scale: float, df: int) -> float:
    """Return half the width of the 89 % interval of a t distribution."""
    return float(stdtrit(df, (1 + INTERVAL) / 2)) * scale


def notable(p: float, weight: float) -> bool:
    """Say whether a message speaks of something seen: below 5 % within its family.

    The status of a finding is the verdict's affair, after all families are known.
    """
    return p / weight < NOTABLE


def step_weight(looks: int) -> float:
    """Share of a family's error rate for each of `looks` steps; several leave half of it for all of them together."""
    return 1.0 if looks == 1 else 1 / (2 * looks)


def rounded(value: float) -> str:
    """Write a number with three significant digits and without an exponent."""
    return np.format_float_positional(float(f"{value:.3g}"), trim="-")
