"""What is kept of a fit while it runs, so that a killed one goes on where it was saved.

A folder per batch: `state.npz`, renewed as a whole, and a file of history for each time of saving,
written once. The state comes last and counts the files of history, so that a kill at any moment leaves
a folder that can be gone on from. Draws are a function of the fit alone, hence a resumed fit ends with
the bits of one that was never killed.
"""

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scalecheck.files.arrays import DAMAGE, read_arrays, write_arrays
from scalecheck.fitting.fit_identity import digest_of
from scalecheck.runtime import environment
from scalecheck.runtime.program import Log
from scalecheck.sampler import SavedRun, Snapshot

SECONDS = 60.0
VARIABLE = "SCALECHECK_CHECKPOINT_SECONDS"

# Raised when the arrays of a state have other names or meanings: what an older program saved starts anew, in one line.
FORMAT = 6


def identify_run(*parts: Any) -> str:
    """Give a hash of everything that determines what is saved: identities of fits, versions, the device.

    Parameters
    ----------
    parts
        What JSON can hold.
    """
    return digest_of([FORMAT, *parts])


def seconds_between() -> float:
    """Read how often a running fit is saved, seconds.

    Raises
    ------
    StudyError
        When the environment variable is no positive number.
    """
    return environment.positive_number(VARIABLE, "seconds") or SECONDS


class Checkpointer:
    """Saves one batch of fits every so often, and when the job is told to end.

    Parameters
    ----------
    folder
        Where.
    identity
        From `identify`: what is there under another one is not used.
    every
        Seconds between two times.
    log
        Takes one line.
    """

    def __init__(self, folder: Path, identity: str, every: float, log: Log) -> None:
        self.folder, self.identity, self.every, self.log = folder, identity, every, log
        self._n_parts = 0
        self._last = time.monotonic()
        self._is_told_to_end = False
        self._has_answered = False
        self._has_lost = False

    def saved(self) -> SavedRun | None:
        """Read what was kept; None where there is nothing, or nothing of this fit that is whole."""
        if not self._state.exists():
            return None
        try:
            state = read_arrays(self._state)
            if str(state.pop("identity")) != self.identity:
                return self._refuse("of other data, settings or versions")
            self._n_parts = int(state.pop("n_parts"))
            news = [read_arrays(self._part(number)) for number in range(self._n_parts)]
        except DAMAGE as error:
            return self._refuse(f"damaged ({error})")
        self.log(f"{self.folder.parent.name}: goes on from its checkpoint")
        return SavedRun(state, news)

    def _refuse(self, reason: str) -> None:
        self.log(f"{self.folder}: checkpoint not used, it is {reason}: the fit starts anew")
        self._n_parts = 0
        self.clear()

    def keep(self, take: Callable[[], Snapshot]) -> None:
        """Save a run that is due to be saved.

        Raises
        ------
        SystemExit
            When the job was told to end, after saving.
        """
        is_due = self._is_told_to_end or time.monotonic() - self._last >= self.every
        if is_due and not self._has_lost:
            try:
                self._write(take())
            except OSError as error:
                # News are handed over once: nothing saved before or later could be gone on from.
                self.log(
                    f"{self.folder}: cannot save ({error.strerror}): a killed fit would start anew"
                )
                self._has_lost = True
                self.clear()
            self._last = time.monotonic()
        if self._is_told_to_end:
            how = (
                "and not saved: run again to start anew"
                if self._has_lost
                else "and saved: run again to go on"
            )
            self.log(f"{self.folder.parent.name}: told to end, {how}")
            self._has_answered = True
            raise SystemExit(128 + signal.SIGTERM)

    def _write(self, snapshot: Snapshot) -> None:
        if snapshot.news:
            write_arrays(self._part(self._n_parts), snapshot.news)
            self._n_parts += 1
        head = {"identity": np.array(self.identity), "n_parts": np.array(self._n_parts)}
        write_arrays(self._state, head | snapshot.state)

    @contextlib.contextmanager
    def answering_signals(self) -> Iterator[None]:
        """Let SIGTERM end the job at the next time of saving; it stays what it was elsewhere.

        One that comes after the last time of saving is delivered at the end.
        """

        def note(*_: Any) -> None:
            self._is_told_to_end = True

        before = signal.signal(signal.SIGTERM, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)
            if self._is_told_to_end and not self._has_answered:
                signal.raise_signal(signal.SIGTERM)

    def clear(self) -> None:
        """Remove what was kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _state(self) -> Path:
        return self.folder / "state.npz"

    def _part(self, number: int) -> Path:
        return self.folder / f"history-{number:05d}.npz"
