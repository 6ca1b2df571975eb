"""Numbers as a reader wants them: few digits, units, never a "nan"."""

import math
from collections.abc import Callable, Iterable
from typing import Any

MISSING = "–"
_SPACE = "\N{NO-BREAK SPACE}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def is_missing(value: Any) -> bool:
    """Tell whether a value of a table is absent: None, NaN, NaT or an empty text."""
    # A NaN of whatever type is what differs from itself; pandas' NA does not say.
    return value is None or str(value) in {"", "<NA>", "NaT"} or bool(value != value)


def count(value: Any) -> str:
    """Write a whole number with thousands separators."""
    return MISSING if _not_finite(value) else _minus(f"{round(float(value)):,}")


def large_count(value: Any) -> str:
    """Write a whole number; in words where it is too large to read: `32.1 million`."""
    if not _not_finite(value):
        for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
            if float(value) >= max(size, 1e7) * 0.9995:
                return f"{_significant(float(value) / size, 3)}{_SPACE}{name}"
    return count(value)


def number(value: Any, digits: int = 3) -> str:
    """Write a number with so many significant digits; powers of ten beyond 1e-4 and 1e7."""
    return _number(value, digits, lambda text: text)


def tick(value: Any) -> str:
    """Write a round number as briefly as it can be."""
    return _number(value, 6, _trim)


def _number(value: Any, digits: int, finish: Callable[[str], str]) -> str:
    if is_missing(value):
        return MISSING
    value = float(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value != 0 and not 1e-4 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return _minus(f"{finish(mantissa)}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}")
    return finish(_significant(value, digits))


def percent(share: Any) -> str:
    """Write a share of one as a percentage."""
    if _not_finite(share):
        return MISSING
    share = 100 * float(share)
    if 0 < share < 0.1:
        return f"<{_SPACE}0.1{_SPACE}%"
    return f"{_trim(f'{share:.{0 if share >= 10 else 1}f}')}{_SPACE}%"


def p_value(p: Any, name: str = "p") -> str:
    """Write a p-value: `p < 0.001`, `p = 0.012`, `p = 0.43`."""
    if _not_finite(p):
        return MISSING
    p = float(p)
    if p < 0.001:
        return f"{name} < 0.001"
    if p > 0.99:
        return f"{name} > 0.99"
    return f"{name} = {p:.3f}" if p < 0.1 else f"{name} = {p:.2f}"


def bare_p(p: Any) -> str:
    """Write a p-value for a column of them: `< 0.001`, `0.012`."""
    return p_value(p, "").replace("=", "").strip()


def duration(seconds: Any) -> str:
    """Write a time, given in seconds, in the unit that suits it."""
    if _not_finite(seconds):
        return MISSING
    seconds = float(seconds)
    if seconds == 0:
        return f"0{_SPACE}s"
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
    for size, unit in units:
        # Two minutes read better as seconds, two hours as minutes: change units late.
        if seconds >= size * (2 if size >= 60 else 0.9995):
            amount = _significant(seconds / size, 2 if seconds < size * 100 else 3)
            return f"{_trim(amount)}{_SPACE}{unit}"
    return f"{_significant(seconds * 1e9, 2)}{_SPACE}ns"


def estimate(mean: Any, low: Any, high: Any, width: float | None = None) -> str:
    """Write a mean and its interval with common digits: `0.0203 [0.0197, 0.0209]`.

    The digits are those that the width of the interval deserves, or the width that is given: a
    column of estimates should share them.
    """
    if _not_finite(low) or _not_finite(high):
        return number(mean)
    own = float(high) - float(low)
    texts = _alike((mean, low, high), own if width is None else width, digits=2)
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def span(low: Any, high: Any) -> str:
    """Write a range of values: `0.0196 to 0.0211`."""
    texts = _alike((low, high), float(high) - float(low), digits=1)
    return texts[0] if texts[0] == texts[1] else " to ".join(texts)


def text(value: Any) -> str:
    """Write any value of a table; numbers with three digits, whole ones in full."""
    if is_missing(value):
        return MISSING
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    try:
        as_float = float(value)
    except (TypeError, ValueError):
        return str(value)
    if isinstance(value, str):
        return value
    whole = as_float.is_integer() and abs(as_float) < 1e15
    return count(value) if whole else _number(value, 3, _trim)


def _alike(values: Iterable[Any], width: float, digits: int) -> list[str]:
    """Write values with the decimals that show so many digits of a width, where fixed ones suit it."""
    if not 1e-6 < width < 1e6:
        return [number(value) for value in values]
    decimals = max(0, digits - 1 - math.floor(math.log10(width)))
    return [MISSING if _not_finite(value) else _fixed(value, decimals) for value in values]


def _fixed(value: Any, decimals: int) -> str:
    rounded = round(float(value), decimals)
    return _minus(f"{0.0 if rounded == 0 else rounded:,.{decimals}f}")


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return _minus(f"{value:,.{decimals}f}")


def _trim(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _minus(digits: str) -> str:
    return digits.replace("-", "−")


def _not_finite(value: Any) -> bool:
    return is_missing(value) or not math.isfinite(float(value))
