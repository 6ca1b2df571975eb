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
PROGRAMS = {"scalecheck-prepare": "plan.csv", "scalecheck-judge": "report.html"}
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
    """Draw a moment: any; in a fit; or in one of the next programs that are no fits.

    Parameters
    ----------
    most
        Seconds until it, at most, of a run from nothing: less the fewer programs are left.
    """
    files = folder / RESULTS
    missing = [name for name, file in PROGRAMS.items() if not (files / file).exists()]
    any_moment = Moment(rng.uniform(0, most) * (1 + len(missing)) / (1 + len(PROGRAMS)))
    of_fit = Moment(rng.uniform(0, OF_FIT), SAVED)
    of_program = Moment(rng.uniform(0, OF_PROGRAM), rng.choice(missing or list(PROGRAMS)))
    fits_are_done = (files / "fits/increments.json").exists()
    return rng.choice([any_moment, of_program, any_moment if fits_are_done else of_fit])


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
