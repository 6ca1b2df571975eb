"""A limit to how long a user's code may take before any fit: a model that never ends is found and named."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from scalecheck.errors import StudyError
from scalecheck.runtime import environment, program

SECONDS = 300.0
VARIABLE = "SCALECHECK_MODEL_SECONDS"

# Seconds after which it is tried again: what is raised while Python collects its garbage is lost.
_AGAIN = 1.0
# Seconds after which what hears nothing, because it computes below Python, is ended from outside.
_PATIENCE = 5.0


class _TimeIsUp(BaseException):
    """Names the line. Not an Exception, which code that tries something may catch."""


@contextlib.contextmanager
def limited(path: Path) -> Iterator[None]:
    """Limit what runs inside, compiled or not; elsewhere than in the main thread, where no signal arrives, do not.

    Inside another limit there is that one alone.

    Parameters
    ----------
    path
        The user's file, for the message.

    Raises
    ------
    StudyError
        Names the file, and the line that it was at; or the environment variable, when it is no positive number.
    """
    is_limited = signal.getitimer(signal.ITIMER_REAL)[0] > 0
    if is_limited or threading.current_thread() is not threading.main_thread():
        yield
        return
    limit = environment.positive_number(VARIABLE, "seconds") or SECONDS
    rule = f"has not ended after {limit:g} s (the environment variable {VARIABLE} changes how long it may take)"

    def end(_: int, frame: FrameType | None) -> NoReturn:
        raise _TimeIsUp(_line_in(path, frame))

    last = threading.Timer(limit + _PATIENCE, program.end_at_once, [f"{path}: {rule}"])
    last.daemon = True
    last.start()
    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, limit, _AGAIN)
    try:
        yield
    except _TimeIsUp as ended:
        raise StudyError(f"{path}{ended}: {rule}") from None
    finally:
        last.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _line_in(path: Path, frame: FrameType | None) -> str:
    while frame is not None:
        if frame.f_code.co_filename in (str(path), str(path.resolve())):
            return f", line {frame.f_lineno}"
        frame = frame.f_back
    return ""
