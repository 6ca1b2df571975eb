"""What a batch queue is asked for, time, memory and jobs: by what is known when fits are submitted."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scalecheck.errors import StudyError
from scalecheck.files import formats
from scalecheck.files.record import peek

# Minutes. Of what nothing is known yet: rather too long than too short, for a finished fit is never repeated.
UNKNOWN = 240
# Queues start short jobs first, but none that takes less than this sooner.
LEAST = 30
# The longest that most partitions allow. What keeps checkpoints goes on at the next try.
MOST = 1440

# A fit whose posterior is not usable yet takes up to four times the draws, and trajectories may double.
MARGIN = 8


def minutes(increments: Sequence[tuple[Path, int]], attempt: int) -> int:
    """Minutes to ask for a job of all increments: a changed model makes those anew that are there, too.

    A job that keeps some of them just ends sooner.

    Parameters
    ----------
    increments
        The record and the rows of each, in their order. A record may not be there yet, or be damaged.
    attempt
        From 1: each further one asks for as much again.
    """
    seconds, per_row, unknown = 0.0, 0.0, 0
    for path, rows in increments:
        taken = sum(found.seconds.values()) if (found := peek(path)) else 0.0
        if taken:  # none of one that was skipped
            per_row = taken / rows
            seconds += taken
        else:
            unknown += rows
    if unknown and not per_row:
        return min(MOST, attempt * UNKNOWN)
    seconds += per_row * unknown
    return min(MOST, attempt * max(LEAST, math.ceil(MARGIN * seconds / 60)))


# Megabytes that the allocation holds besides a fit's own: Snakemake twice, the libraries, and what is compiled.
BESIDES = 2000
# What is forecast from shapes is no more than what has to be there at the same time.
MEMORY_MARGIN = 2


def megabytes(model: Path, rows: Sequence[int], attempt: int) -> int:
    """Megabytes to ask for a job of fits.

    Parameters
    ----------
    model
        `model.json`, which holds what a fit takes by its rows. It may not be there yet, or be damaged.
    rows
        Of each fit of the job.
    attempt
        From 1: each further one asks for as much again.
    """
    demand, taken = _demand(model), 0.0
    if demand:
        largest = sorted(rows, reverse=True)[: demand["at_once"]]
        taken = sum(_at(demand["held"], n) for n in rows)
        taken += sum(_at(demand["running"], n) for n in largest)
    return attempt * (BESIDES + math.ceil(MEMORY_MARGIN * taken / 1e6))


# Megabytes of what an approximation compiles for all rows and for each increment, and of units and their modes.
COMPILED = 2000


def megabytes_of_approximation(model: Path, attempt: int, *, by_unit: bool) -> int:
    """Megabytes to ask for an approximation of all rows.

    Parameters
    ----------
    model, attempt
        As of `megabytes`.
    by_unit
        Whether units are integrated out, block by block. A variational fit takes a gradient of all rows at once: as
        much is asked for as chains take. Where one takes the place of nested Laplace the first attempt may ask for
        too little.
    """
    taken = 0.0
    if demand := _demand(model):
        taken = _at(demand["held"], demand["rows"])
        taken += 0.0 if by_unit else _at(demand["running"], demand["rows"])
    return attempt * (BESIDES + COMPILED + math.ceil(MEMORY_MARGIN * taken / 1e6))


# Seconds of a leapfrog of one lane, whatever its model; operations that one processor does in a second.
LEAPFROG, OPERATIONS = 1e-5, 2e9
# Of a trajectory whose length nobody knows yet.
LEAPFROGS = 16
# Seconds that a job should take: long beside its imports and compilation, and its wait in the queue.
AIM = 300


def seconds(model: Path, rows: Sequence[int], iterations: int) -> float:
    """Guess how long one processor takes for fits, compilation apart: right within a factor of five or so.

    Parameters
    ----------
    model, rows
        As of `megabytes`.
    iterations
        Of all chains of a fit.
    """
    demand = _demand(model)
    if demand is None:
        return 0.0
    each = [LEAPFROG + _at(demand["operations"], n) / OPERATIONS for n in rows]
    return LEAPFROGS * iterations * sum(each)


def n_jobs(asked: int | str, model: Path, rows: Sequence[int], iterations: int) -> int:
    """Jobs among which fits of one shape are divided: as asked, or so that each takes some minutes.

    Of nothing but the study: a machine with fewer GPUs has the same jobs to do.

    Parameters
    ----------
    asked
        `batches` of the study: a number, or `auto`.
    model, rows, iterations
        As of `seconds`.

    Raises
    ------
    StudyError
        Where `auto` is asked for and `model.json` does not say what fits take.
    """
    if isinstance(asked, str):
        if _demand(model) is None:
            raise StudyError(
                f"{model}: is missing, damaged or of an earlier version, and batches: auto is computed from it:"
                f" delete it and {model.with_name('plan.csv')}, and run again"
            )
        asked = math.ceil(seconds(model, rows, iterations) / AIM)
    return max(1, min(asked, len(rows)))


def minutes_of_batch(
    model: Path, rows: Sequence[int], iterations: int, attempt: int, *, goes_on: bool
) -> int:
    """Minutes to ask for a job of fits that wait for nothing.

    Parameters
    ----------
    model, rows, iterations, attempt
        As of `megabytes` and `seconds`.
    goes_on
        Whether a job that is killed goes on from a checkpoint: what begins anew is not given less than is likely.
    """
    if _demand(model) is None:
        return min(MOST, attempt * UNKNOWN)
    guessed = math.ceil(MARGIN * seconds(model, rows, iterations) / 60)
    return min(MOST, attempt * max(LEAST if goes_on else UNKNOWN, guessed))


def _demand(model: Path) -> dict[str, Any] | None:
    found = formats.peek_json(model)
    demand = found.get("demand") if found else None
    # An older one asked for less.
    return demand if isinstance(demand, dict) and "held" in demand else None


def _at(line: dict[str, float], rows: int) -> float:
    return line["fixed"] + line["per_row"] * rows
