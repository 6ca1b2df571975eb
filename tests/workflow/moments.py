"""When to strike: some time after a beginning, after a fit was saved, or while a certain program runs."""

import contextlib
import random
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from endings import RESULTS

# What writes which file: a program can be awaited as long as its file is not there.
PROGRAMS = {
    "scalecheck-prepare": "data.nc",
    "scalecheck-check-study": "model.json",
    "scalecheck-plan": "plan.csv",
    "scalecheck-confirm": "fits/confirmation.json",
    "scalecheck-check": "checks/findings.csv",
    "scalecheck-verdict": "verdict.json",
    "scalecheck-report": "report.html",
}
SAVED = "a fit is saved"

# Seconds: all of a program that is not a fit, and of a fit long enough to be saved many times.
OF_PROGRAM, OF_FIT = 4.0, 2.0


class Moment(NamedTuple):
    """So many seconds after something.

    Attributes
    ----------
    after
        A program that runs, `SAVED`, or nothing: the beginning.
    """

    seconds: float
    after: str = ""


def draw(rng: random.Random, folder: Path, most: float) -> Moment:
    """Draw a moment: any, up to `most` seconds; in a fit; or in a program that has still to run."""
    match rng.randrange(3):
        case 0:
            return Moment(rng.uniform(0, 1) * most)
        case 1:
            return Moment(rng.uniform(0, OF_FIT), SAVED)
        case _:
            missing = [
                name for name, file in PROGRAMS.items() if not (folder / RESULTS / file).exists()
            ]
            return Moment(rng.uniform(0, OF_PROGRAM), rng.choice(missing or list(PROGRAMS)))


def await_moment(moment: Moment, process: subprocess.Popen[str], folder: Path) -> None:
    """Wait for a moment, or until the run is over."""
    began = time.time()
    while process.poll() is None and not _has_come(moment.after, folder, began):
        time.sleep(0.05)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=moment.seconds)


def _has_come(after: str, folder: Path, began: float) -> bool:
    if after == SAVED:
        return _is_saved_since(began, folder)
    return after in ("", *programs_of(folder).values())


def programs_of(folder: Path) -> dict[int, str]:
    """Give the processes of ours that work in a folder, with the name of the program."""
    return {
        number: name
        for number, parts in processes_of(folder).items()
        if (name := next((Path(part).name for part in parts[1:2]), "")).startswith("scalecheck-")
    }


def processes_of(folder: Path) -> dict[int, list[str]]:
    """Give all processes whose working directory is a folder, with their command lines."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()) == folder.resolve():
                found[process.pid] = process.cmdline()
    return found


def _is_saved_since(began: float, folder: Path) -> bool:
    """Whether some fit was saved after a time; what was left by a run before does not count."""
    for path in folder.glob(f"{RESULTS}/fits/*/checkpoint/state.npz"):
        with contextlib.suppress(FileNotFoundError):  # a fit may end meanwhile
            if path.stat().st_mtime > began:
                return True
    return False
