"""Few, round ticks on axes that may span decades."""

import math
from collections.abc import Callable

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from scalecheck.report.number_format import tick


def log_range(values: np.ndarray, *, least: float = 1.0, margin: float = 1.15) -> tuple:
    """Limits of a log axis around values `(n,)`, spanning a factor of `least` at the least."""
    good = values[np.isfinite(values) & (values > 0)]
    if not good.size:
        return 0.5, 2.0
    low, high = good.min() / margin, good.max() * margin
    stretch = math.sqrt(max(1.0, least / (high / low)))
    return low / stretch, high * stretch


def log_ticks(low: float, high: float, most: int, *, fine: bool = True) -> list[float]:
    """At most so many ticks of a round series within limits."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    choices = (
        ((1, 1.5, 2, 3, 5, 7), 1),
        ((1, 2, 5), 1),
        ((1, 3), 1),
        *(((1,), stride) for stride in (1, 2, 3, 6)),
    )
    ticks: list[float] = []
    for steps, stride in choices if fine else choices[1:]:
        ticks = [s * 10.0**d for d in decades if d % stride == 0 for s in steps]
        ticks = [place for place in ticks if low <= place <= high]
        if len(ticks) <= most:
            break
    if len(ticks) >= 2:
        return ticks
    places = MaxNLocator(max(2, most - 1)).tick_values(low, high)
    return [place for place in places if place > 0]


def binary_ticks(low: float, high: float, most: int) -> list[float]:
    """At most so many powers of two within limits."""
    exponents = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    stride = max(1, -(-len(exponents) // most))
    return [2.0**e for e in exponents if e % stride == 0]


def set_linear(axis: Axis, most: int) -> None:
    """Put at most so many intervals between round, labelled ticks."""
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))


def set_log(axis: Axis, ticks: list[float], label: Callable[[float], str]) -> None:
    """Put labelled ticks on a log axis and no others."""
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
