"""The frame of every program: options, log, and errors in one line."""

import argparse
import atexit
import contextlib
import errno
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from scalecheck.errors import StudyError
from scalecheck.files.layout import StudyFolder
from scalecheck.runtime.locks import claim
from scalecheck.study import settings

# As good as the start of the process: nothing that takes time has been imported yet.
BEGAN = time.perf_counter()

Log = Callable[[str], None]

FAILED = "failed: "  # before the last line of a log, where its program failed
_TIME = "%Y-%m-%d %H:%M:%S"
# Imports and traces of JAX make millions of objects that stay. Python would look through them for cycles after
# every 2,000 new ones.
_OBJECTS_BETWEEN_SEARCHES = 50_000

_LOGGER = logging.getLogger("scalecheck")
_LOGGER.setLevel(logging.INFO)
_LOGGER.propagate = False  # lines of other packages, or of a user's model, are not ours to show
_LOGGER.addHandler(logging.NullHandler())


def main(
    name: str,
    description: str | None,
    run: Callable[[argparse.Namespace, Log], None],
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    fits: Callable[[argparse.Namespace], Sequence[str]] = lambda options: (),
) -> None:
    """Run a program on the results of one study.

    A `StudyError`, a full disk, a folder that cannot be written and a lack of memory become one line on
    stderr and in the log, and exit status 1. What is being written by another process is refused.

    Parameters
    ----------
    run
        Takes the options and a function that adds a timestamped line to the log.
    add_options
        Adds options to `--settings`, `--digest` and `--log`, which every program has. `folder` is that of the settings.
    fits
        Names the fits that the options ask for, of a program that fits: others may be made beside them.
    """
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument(
        "--settings", type=Path, required=True, help="results/<study>/settings.json"
    )
    parser.add_argument("--digest", default="", help="of the settings that they are to be")
    parser.add_argument("--log", type=Path, help="file for progress lines; default: stderr")
    add_options(parser)
    gc.set_threshold(_OBJECTS_BETWEEN_SEARCHES)
    # The system frees what is left: the interpreter would look through it once more, for half a second.
    atexit.register(gc.freeze)
    options = parser.parse_args()
    options.folder = options.settings.parent
    # The log, too, belongs to whoever writes already.
    with errors_in_one_line(options.log):
        settings.read_settings(options.settings, options.digest)
        folder, names = StudyFolder(options.folder), fits(options) or (name,)
        with claimed(folder, names, options.log) as log:
            run(options, log)


@contextlib.contextmanager
def claimed(folder: StudyFolder, names: Iterable[str], path: Path | None) -> Iterator[Log]:
    """Claim what a program writes, and only then open its log: it, too, belongs to whoever writes already.

    Parameters
    ----------
    names
        Of fits, or of the program.
    path
        Of the log; stderr where it is None.
    """
    with claim(folder, names), logged(path) as log:
        yield log


@contextlib.contextmanager
def logged(path: Path | None) -> Iterator[Log]:
    """Open a log of timestamped lines: a file, made empty first, or stderr.

    A file also takes the line that a program ends with where it fails.
    """
    handler = logging.StreamHandler() if path is None else _LogFile(path)
    if path is None:  # the line that a program ends with stands there anyway
        handler.addFilter(lambda record: record.levelno < logging.ERROR)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", _TIME))
    _LOGGER.addHandler(handler)
    try:
        with errors_in_one_line():
            yield _LOGGER.info
    finally:
        _LOGGER.removeHandler(handler)


class _Formatter(logging.Formatter):
    """Mark the line that a program ends with where it fails."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name is that of logging)
        if record.levelno >= logging.ERROR:
            record.message = FAILED + record.message
        return super().formatMessage(record)


class _LogFile(logging.Handler):
    """A log that is opened for every line, and misses those for which there is no room."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        # A line is not worth a fit: the disk may have room again before anything has to be written.
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(f"{self.format(record)}\n")


def end_at_once(line: str) -> NoReturn:
    """End the program with status 1 and a line from another thread: what computes below Python hears no exception."""
    _LOGGER.error(line)
    print(line, file=sys.stderr, flush=True)
    os._exit(1)


def add_devices(parser: argparse.ArgumentParser) -> None:
    """Add what the scheduler tells a program of fits about its GPUs."""
    parser.add_argument("--gpu", type=int, default=0, help="GPUs that the scheduler gave this job")
    parser.add_argument("--gres", default="", help="the same as Slurm's gres, such as gpu:1")


@contextlib.contextmanager
def errors_in_one_line(not_open: Path | None = None) -> Iterator[None]:
    """End the program with status 1 at what a user can mend, as one line on stderr and in the log, if any.

    Parameters
    ----------
    not_open
        A log that takes the line where it is not there: Snakemake deletes it before the job. One that is there may
        belong to another process.
    """
    try:
        yield
    except Exception as error:
        line = _line_of(error)
        if line is None:
            raise
        _LOGGER.error(line)
        if not_open is not None:
            _begin_with(line, not_open)
        print(line, file=sys.stderr)
        raise SystemExit(1) from None


def _begin_with(line: str, path: Path) -> None:
    """Make a log of the line that a program ends with, where there is none yet."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(f"{time.strftime(_TIME)} {FAILED}{line}\n")


# Of the disk and of permissions: other errors of the system are ours.
_ADVICE = dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO),
    "make room and run again, which goes on from what is there",
) | dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS),
    "mend its permissions, or give another folder by --config results=FOLDER",
)


def _line_of(error: Exception) -> str | None:
    """Say what a user can mend; None of what is for its author to mend."""
    if isinstance(error, StudyError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _ADVICE:
        file = f"{error.filename}: " if error.filename else ""
        return f"{file}cannot be written: {error.strerror}: {_ADVICE[error.errno]}"
    # By its words: JAX is not imported here, and has one error for everything.
    words = str(error).splitlines()[0] if str(error) else ""
    if isinstance(error, MemoryError) or words.startswith("RESOURCE_EXHAUSTED"):
        return (
            f"out of memory ({words or 'MemoryError'}): use fewer rows (increments.end, subsets.size), fewer"
            " chains (sampler.chains), or a machine with more"
        )
    return None
