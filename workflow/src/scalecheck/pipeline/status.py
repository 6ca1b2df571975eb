"""Where every fit of a study stands, from its files alone: nothing here imports JAX."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scalecheck.files import formats, record
from scalecheck.files.layout import StudyFolder
from scalecheck.files.record import FitRecord
from scalecheck.results.totals import spent

# Seconds without a line after which a running fit is said to be silent: what a job that hangs looks like.
SILENT = 60.0

# In the order in which they are shown.
STATES = ("running", "starting", "sampled", "waiting", "done", "stopped", "skipped")


class FitState(NamedTuple):
    """A planned fit.

    Attributes
    ----------
    fit, rows
        Of the plan.
    state
        One of `STATES`: `starting` has no block yet, `sampled` waits for the fits that it shares a job
        with, or for its checks.
    told
        The last line of its progress, empty where there is none.
    record
        Its record; None where there is none.
    silent
        Seconds since its progress last grew.
    """

    fit: str
    rows: int
    state: str
    told: dict[str, Any]
    record: FitRecord | None
    silent: float

    @property
    def stalled(self) -> list[int]:
        """Numbers of the chains that stall."""
        flags = self.told.get("stalled", [])
        return [chain for chain, flag in enumerate(flags) if flag]

    @property
    def is_silent(self) -> bool:
        """Whether it should have been heard of."""
        return self.state in ("running", "starting") and self.silent >= SILENT


def read_states(folder: StudyFolder, now: float) -> list[FitState]:
    """Read where every fit stands, those that run first.

    Parameters
    ----------
    now
        Seconds since 1970.

    Raises
    ------
    StudyError
        When the folder holds no plan.
    """
    plan = formats.read_plan(folder.plan)
    found = [_read(folder, row, now) for row in plan]
    return sorted(found, key=lambda one: STATES.index(one.state))


def _read(folder: StudyFolder, row: formats.PlannedRow, now: float) -> FitState:
    progress, path = folder.progress(row.fit), folder.record(row.fit)
    grew = _changed(progress)
    told = (formats.read_last_line(progress) or {}) if grew else {}
    # Written last, and removed by a job that makes the fit again.
    known = record.read(path) if path.exists() else None
    return FitState(row.fit, row.rows, _state(told, known, grew), told, known, now - grew)


def _changed(path: Path) -> float:
    """Give the time of the last change; 0 for a file that is not there."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _state(told: dict[str, Any], known: FitRecord | None, grew: float) -> str:
    if known:
        return known.status
    if not told:
        return "starting" if grew else "waiting"
    return "sampled" if min(told["iterations"]) >= told["total"] else "running"


def is_over(folder: StudyFolder, states: Sequence[FitState]) -> bool:
    """Whether there is a verdict on these very fits: all are done, of the rows planned, and it says what they took.

    No dates are asked, which a clock that jumps would turn round: no two runs of a fit take the same seconds.
    """
    verdict = formats.peek_json(folder.verdict)
    done = [one.record for one in states if one.record and one.record.rows == one.rows]
    if verdict is None or len(done) < len(states):
        return False
    took = spent(done, record.peek(folder.confirmation))
    return (verdict.get("gradients"), verdict.get("seconds")) == took
