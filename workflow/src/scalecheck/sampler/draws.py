"""What a batch of fits gives: draws, statistics of every iteration, windows of warmup, and what it took."""

import operator
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from scalecheck.sampler.early_stop import Discarded, Stopped
from scalecheck.sampler.streamed_draws import Reduced
from scalecheck.sampler.types import ByDraw, Iterations


class Window(NamedTuple):
    """The chains at the end of a warmup window.

    Attributes
    ----------
    stop
        Iterations done.
    step_size
        `(fit, chain)`.
    acceptance_rate
        `(fit, chain)` mean over the window.
    inverse_mass_matrix
        `(fit, chain, d)` its diagonal, in the order of NumPyro's blocks.
    """

    stop: int
    step_size: Float[np.ndarray, "fit chain"]
    acceptance_rate: Float[np.ndarray, "fit chain"]
    inverse_mass_matrix: Float[np.ndarray, "fit chain d"]


class Elapsed(NamedTuple):
    """Seconds by phase."""

    compile: float
    warmup: float
    sampling: float


class Draws(NamedTuple):
    """A batch of fits.

    Attributes
    ----------
    z
        By fit: unconstrained sites that are held, after warmup, `(chain, draw, ...)`.
    iterations
        By fit: sampler statistics of every iteration, warmup included, `(chain, iteration)`; `z`
        None.
    windows
        One per warmup window; NaN of a fit that ended before.
    seconds, cpu_seconds
        Wall and processor seconds by phase.
    useful
        Share of the leapfrogs computed that moved a chain, where lanes step together; else None.
    discarded
        Chains that were restarted; what they did is in none of the others.
    stopped
        Fits that were stopped before they had their draws: `z` and `iterations` have what all chains did.
    reduced
        By fit: what is left of sites that are not held; None where all are.
    audits
        By fit, how well its potential is known, where that is an estimate; None of a fit without draws. Else empty.
    moved
        As `z`, in the coordinates in which the sampler moved; None where those are the same.
    """

    z: list[ByDraw]
    iterations: list[Iterations]
    windows: list[Window]
    seconds: Elapsed
    cpu_seconds: Elapsed
    useful: float | None = None
    discarded: Sequence[Discarded] = ()
    stopped: Sequence[Stopped] = ()
    reduced: Sequence[Reduced] | None = None
    moved: Sequence[ByDraw] | None = None
    audits: Sequence[Any] = ()

    def last(self, number: int) -> dict[str, Float[np.ndarray, "chain ..."]]:
        """Where the sampler left the chains of a fit, in its coordinates: all latent sites `(chain, ...)`."""
        if self.reduced is not None:
            return self.reduced[number].last
        moved = self.z if self.moved is None else self.moved
        return {name: values[:, -1] for name, values in moved[number].items()}

    def stopped_of(self, number: int) -> Stopped | None:
        """Give how a fit was stopped; None where it has its draws."""
        return next((one for one in self.stopped if one.fit == number), None)


class Clock:
    """Seconds since the last lap, added up by phase: of the wall, and of the processor."""

    def __init__(self) -> None:
        self.wall = self.cpu = Elapsed(0.0, 0.0, 0.0)
        self.last = time.perf_counter(), time.process_time()

    def lap(self, compile: float = 0.0, warmup: float = 0.0, sampling: float = 0.0) -> None:
        """Share the time since the last lap among phases."""
        now = time.perf_counter(), time.process_time()
        wall, cpu = (new - old for new, old in zip(now, self.last, strict=True))
        shares = (compile, warmup, sampling)
        self.add(*(Elapsed(*(share * spent for share in shares)) for spent in (wall, cpu)))
        self.last = now

    def add(self, wall: Elapsed, cpu: Elapsed) -> None:
        """Add what a part of the run took."""
        self.wall = Elapsed(*map(operator.add, self.wall, wall))
        self.cpu = Elapsed(*map(operator.add, self.cpu, cpu))
