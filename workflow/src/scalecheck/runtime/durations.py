"""Seconds in words, for the log and the terminal."""

import math
from collections.abc import Sequence


def duration(seconds: float) -> str:
    """Write seconds for people, in one unit: `8 s`, `3 min`, `2.5 h`, `4 d`."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 10 and unit != "min" else f"{value:.0f} {unit}"
    return f"{math.ceil(seconds)} s"


def interval(seconds: Sequence[float | None]) -> str:
    """Write low, median and high, such as `2 min (1..4 min)`; nothing where they are not known."""
    if None in seconds:
        return ""
    low, median, high = (duration(float(value or 0)) for value in seconds)
    if low == median == high:
        return median
    if low.split()[1:] == high.split()[1:]:
        low = low.split()[0]
    return f"{median} ({low}..{high})"
