"""The file of a running fit: a line for every block, as `scalecheck-watch` reads it."""

import contextlib
import datetime
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scalecheck.files import formats
from scalecheck.sampler import Progress

# Between two lines of a fit, unless something ended: what nobody could read is not written.
SECONDS = 1.0


class ProgressLog:
    """Writes how the fits of a batch run.

    A line is written for a block that ends warmup or the fit, and else if a second has passed since
    the last one. The files begin anew with the batch, unless it goes on from a checkpoint, so that an
    empty one is a fit that has started.

    Parameters
    ----------
    paths, fits
        File and name of each fit of the batch.
    warmup
        Warmup iterations.
    goes_on
        Whether the batch was begun before.
    clock
        Gives seconds.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        fits: Sequence[str],
        warmup: int,
        *,
        goes_on: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.paths, self.fits, self.warmup, self.clock = paths, fits, warmup, clock
        self.written = [-math.inf] * len(fits)
        self.phases = ["warmup"] * len(fits)
        for path in paths:
            if not (goes_on and path.exists()):
                formats.write_text(path, "")

    def tell(self, told: Sequence[Progress]) -> None:
        """Write the lines of a block that are due."""
        now = self.clock()
        for one in told:
            ends = one.phase != self.phases[one.fit] or (one.iterations >= one.total).all()
            if ends or now - self.written[one.fit] >= SECONDS:
                # On a full disk a line is left out, and the fit goes on.
                with contextlib.suppress(OSError):
                    content = line(self.fits[one.fit], self.warmup, one)
                    formats.append_line(self.paths[one.fit], content)
                self.written[one.fit] = now
            self.phases[one.fit] = one.phase


def line(fit: str, warmup: int, told: Progress) -> dict[str, Any]:
    """Give a line of `progress.jsonl`, in which the fit has its name and the line its time."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    content = {**told._asdict(), "seconds_left": list(told.seconds_left)}
    numbers = {name: _short(value) for name, value in content.items() if name != "fit"}
    return {"time": now, "fit": fit, "warmup": warmup, **numbers}


def _short(value: Any) -> Any:
    """Lists for arrays, and floats in as many digits as anybody reads."""
    match value:
        case np.ndarray():
            return _short(value.tolist())
        case list():
            return [_short(part) for part in value]
        case float():
            return float(f"{value:.6g}")
        case _:
            return value
