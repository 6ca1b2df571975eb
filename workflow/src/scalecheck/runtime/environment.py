"""Numbers that are set by environment variables, and where programs are found."""

import os
import shutil
from pathlib import Path

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


def find_programs(programs: Path, *, first: bool) -> None:
    """Have this process and its jobs find the programs of a folder; parameters as of `path_with`."""
    os.environ["PATH"] = path_with(programs, os.environ.get("PATH", os.defpath), first=first)


def path_with(programs: Path, found: str, *, first: bool) -> str:
    """Give a `PATH` on which programs are found.

    Parameters
    ----------
    programs
        A folder of them, with its Python.
    found
        The `PATH` of now.
    first
        Whether they come before those of another environment, which may have the same; else only if they are on none.
    """
    folders = found.split(os.pathsep)
    if not first:
        return found if str(programs) in folders else os.pathsep.join([found, str(programs)])
    python = shutil.which("python3", path=found)
    # What comes before them without a Python is no environment: somebody's own programs of these names.
    if python and Path(python).parent == programs:
        return found
    return os.pathsep.join([str(programs), found])
