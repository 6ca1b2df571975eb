"""The frame of every program: options, log, and errors in one line."""

import argparse
import contextlib
import datetime
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scalecheck.errors import StudyError

# As good as the start of the process: nothing that takes time has been imported yet.
BEGAN = time.perf_counter()

Log = Callable[[str], None]


def main(
    name: str,
    description: str | None,
    run: Callable[[argparse.Namespace, Log], None],
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> None:
    """Run a program on the results of one study.

    A `StudyError` becomes one line on stderr and in the log, and exit status 1.

    Parameters
    ----------
    run
        Takes the options and a function that adds a timestamped line to the log.
    add_options
        Adds options to `--settings`, `--folder` and `--log`, which every program has.
    """
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--settings", required=True, help="sections of the study as JSON")
    parser.add_argument("--folder", type=Path, required=True, help="the folder results/<study>")
    parser.add_argument("--log", type=Path, help="file for progress lines; default: stderr")
    add_options(parser)
    options = parser.parse_args()
    log = open_log(options.log)
    with errors_in_one_line(log if options.log is not None else None):
        run(options, log)


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Add what the scheduler tells a program of fits about its GPUs."""
    parser.add_argument("--gpu", type=int, default=0, help="GPUs that the scheduler gave this job")
    parser.add_argument("--gres", default="", help="the same as Slurm's gres, such as gpu:1")


@contextlib.contextmanager
def errors_in_one_line(log: Log | None = None) -> Iterator[None]:
    """End the program with status 1 at a `StudyError`, as one line on stderr and in the log, if any."""
    try:
        yield
    except StudyError as error:
        if log is not None:
            log(str(error))
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


def open_log(path: Path | None) -> Log:
    """Give a function that adds a timestamped line to a file, made empty first, or to stderr."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")

    def log(line: str) -> None:
        stamped = f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S} {line}\n"
        if path is None:
            sys.stderr.write(stamped)
            return
        with path.open("a", encoding="utf-8") as file:
            file.write(stamped)

    return log
