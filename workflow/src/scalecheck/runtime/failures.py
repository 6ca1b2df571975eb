"""What the programs of failed jobs ended with, said after all that Snakemake has to say."""

import atexit
import re
import sys
from pathlib import Path

from scalecheck.runtime.program import FAILED

# How Snakemake's own log names the logs of a failed job.
_LOGS = re.compile(r"^ +log: (.+) \(check log file\(s\) for error details\)$", re.MULTILINE)


def tell_at_exit(log: Path) -> None:
    """Print the last lines of the logs of failed jobs when this process ends.

    Parameters
    ----------
    log
        Of Snakemake.
    """
    for line in lines_of(log):
        atexit.register(print, line, file=sys.stderr)


def lines_of(log: Path) -> list[str]:
    """Give the line that each program of a failed job ended with, in one line each, and each once.

    Parameters
    ----------
    log
        Of Snakemake.
    """
    try:
        told = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    paths = [Path(path) for found in _LOGS.findall(told) for path in found.split(", ")]
    ends = [_end_of(path) for path in dict.fromkeys(paths)]
    return list(dict.fromkeys(line for line in ends if line))


def _end_of(path: Path) -> str:
    """Give what a program says that it failed of; empty where it does not say so."""
    try:
        *_, last = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return ""
    return last.partition(FAILED)[2]
