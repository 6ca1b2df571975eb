"""The jobs among which fits that wait for no other are divided: `2-of-5` is the second of five."""

import hashlib
from collections.abc import Sequence

from scalecheck.errors import StudyError
from scalecheck.files.formats import PlannedRow

# All but increments, each of which goes on from the one before.
KINDS = ("subset", "level")


def parts(plan: Sequence[PlannedRow], batches: int) -> list[str]:
    """Name the jobs of subsets and levels.

    Parameters
    ----------
    plan
        The rows of plan.csv.
    batches
        Jobs at most; no job is without a fit.
    """
    n_parts = min(batches, len(_without_increments(plan)))
    return [f"{number}-of-{n_parts}" for number in range(1, n_parts + 1)]


def fits_of(plan: Sequence[PlannedRow], part: str) -> list[str]:
    """Name the fits of one job, in the order of the plan.

    Raises
    ------
    StudyError
        When there is no such job, or it has no fit.
    """
    number, _, n_parts = part.partition("-of-")
    fits = _without_increments(plan)
    if not (number.isdecimal() and n_parts.isdecimal() and 0 < int(number) <= int(n_parts)):
        raise StudyError(f"--part must be like 2-of-5, got {part}")
    if int(number) > len(fits):
        raise StudyError(f"--part must name one of the {len(fits)} subsets and levels, got {part}")
    return fits[int(number) - 1 :: int(n_parts)]


def digest(names: Sequence[str]) -> str:
    """Tell lists of fits apart by a few characters, where ten thousand names would stand in every log."""
    return hashlib.blake2b("\n".join(names).encode(), digest_size=8).hexdigest()


def _without_increments(plan: Sequence[PlannedRow]) -> list[str]:
    return [row.fit for row in plan if row.kind in KINDS]
