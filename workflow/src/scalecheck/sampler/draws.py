"""What a batch of fits gives: draws, statistics of every iteration, windows of warmup, and what it took."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scalecheck.sampler.early_stop import Stopped
from scalecheck.sampler.streamed_draws import Reduced
from scalecheck.sampler.types import Iterations

NDArray = np.ndarray


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
    step_size: NDArray
    acceptance_rate: NDArray
    inverse_mass_matrix: NDArray


class Elapsed(NamedTuple):
    """Seconds by phase."""

    compile: float
    warmup: float
    sampling: float


class Discarded(NamedTuple):
    """A chain that stalled in warmup and was begun anew: of which fit, and what it had done by then."""

    fit: int
    chain: int
    iterations: int
    leapfrogs: int


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
        Chains that were begun anew; what they did is in none of the others.
    stopped
        Fits that ended before they had their draws: `z` and `iterations` have what all chains did.
    reduced
        By fit: what is left of sites that are not held; None where all are.
    moved
        As `z`, in the coordinates in which the sampler moved; None where those are the same.
    """

    z: list[dict[str, NDArray]]
    iterations: list[Iterations]
    windows: list[Window]
    seconds: Elapsed
    cpu_seconds: Elapsed
    useful: float | None = None
    discarded: Sequence[Discarded] = ()
    stopped: Sequence[Stopped] = ()
    reduced: Sequence[Reduced] | None = None
    moved: Sequence[dict[str, NDArray]] | None = None

    def last(self, number: int) -> dict[str, NDArray]:
        """Where the sampler left the chains of a fit, in its coordinates: all latent sites `(chain, ...)`."""
        if self.reduced is not None:
            return self.reduced[number].last
        moved = self.z if self.moved is None else self.moved
        return {name: values[:, -1] for name, values in moved[number].items()}


class Clock:
    """Seconds since the last lap, added up by phase."""

    def __init__(self) -> None:
        self.wall = dict.fromkeys(Elapsed._fields, 0.0)
        self.cpu = dict.fromkeys(Elapsed._fields, 0.0)
        self.last = time.perf_counter(), time.process_time()

    def lap(self, **shares: float) -> None:
        """Share the time since the last lap among phases."""
        now = time.perf_counter(), time.process_time()
        for phase, share in shares.items():
            self.wall[phase] += share * (now[0] - self.last[0])
            self.cpu[phase] += share * (now[1] - self.last[1])
        self.last = now

    def add(self, wall: Mapping[str, float], cpu: Mapping[str, float]) -> None:
        """Add what an earlier part of the run took."""
        for phase in Elapsed._fields:
            self.wall[phase] += float(wall[phase])
            self.cpu[phase] += float(cpu[phase])
