"""Numbers that are set by environment variables."""

import os

from scalecheck.errors import StudyError


def positive_number(variable: str, unit: str) -> float | None:
    """Read a positive number from the environment; None where the variable is not set, or empty.

    Parameters
    ----------
    unit
        In which it is given, for the message.

    Raises
    ------
    StudyError
        Names the variable and what it holds.
    """
    given = os.environ.get(variable)
    if not given:
        return None
    try:
        found = float(given)
    except ValueError:
        found = float("nan")
    if not found > 0:
        raise StudyError(f"{variable} must be a positive number of {unit}, not {given!r}")
    return found
