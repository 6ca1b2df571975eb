"""What the programs of failed jobs ended with, said after all that Snakemake has to say."""

import atexit
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from scalecheck.runtime.program import FAILED

# How Snakemake's own log names the logs of a failed job.
_LOGS = re.compile(r"^ +log: (.+) \(check log file\(s\) for error details\)$", re.MULTILINE)

# Logs that were there as the run began, and what tells each from one that was written since, by no clock.
_BEFORE: dict[Path, tuple[int, ...]] = {}


def note_logs(folder: Path) -> None:
    """Note which logs are there as the run begins: of a job that dies before its program starts, they are old."""
    _BEFORE.update({path.resolve(): _state(path.stat()) for path in folder.rglob("*.log")})


def _state(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def tell_at_exit(logs: Sequence[Path]) -> None:
    """Print what the programs of failed jobs ended with when this process ends.

    Parameters
    ----------
    logs
        Of Snakemake.
    """
    if lines := lines_of(logs):
        atexit.register(print, *lines, sep="\n", file=sys.stderr)


def lines_of(logs: Sequence[Path]) -> list[str]:
    """Give the line that each program of a failed job ended with, each line once.

    Parameters
    ----------
    logs
        Of Snakemake.
    """
    told = "".join(
        log.read_text(encoding="utf-8", errors="replace") for log in logs if log.exists()
    )
    paths = [Path(path) for found in _LOGS.findall(told) for path in found.split(", ")]
    ends = [_end_of(path) for path in dict.fromkeys(paths)]
    return list(dict.fromkeys(line for line in ends if line))


def _end_of(path: Path) -> str:
    """Give what a program says that it failed of; empty where it does not say so, or did before this run."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            if _state(os.fstat(file.fileno())) == _BEFORE.get(path.resolve()):
                return ""
            *_, last = file.read().splitlines()
    except (OSError, ValueError):
        return ""
    return last.partition(FAILED)[2]
