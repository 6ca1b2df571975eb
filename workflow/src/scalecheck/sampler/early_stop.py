"""Fits that end before they have their draws: a chain stalled, or took as many gradients as it may."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from scalecheck.sampler.schedule import window_stops
from scalecheck.sampler.stall import WINDOWS, earliest_stall

NDArray = np.ndarray

NO_LIMIT = 2**31 - 1  # lanes count their leapfrogs in 32 bits

_REASONS: tuple[Literal["stalled", "capped"], ...] = ("stalled", "capped")


class Stopped(NamedTuple):
    """A fit that was ended. What is kept of it are the iterations that all of its chains have.

    Attributes
    ----------
    fit
        Its number in the batch.
    why
        `stalled`: a chain stalled in warmup. `capped`: a chain took the most gradients that it may.
    chains
        Those that did.
    iterations, leapfrogs
        Of every chain, by then; of an unfinished trajectory the leapfrogs alone.
    """

    fit: int
    why: Literal["stalled", "capped"]
    chains: tuple[int, ...]
    iterations: tuple[int, ...]
    leapfrogs: tuple[int, ...]


def stopped_by_stall(fit: int, by_window: NDArray, stops: Sequence[int]) -> Stopped | None:
    """End a fit at the first window by which a chain is known to stall; None where none does.

    It ends there for all chains, however many iterations others made until that was seen.

    Parameters
    ----------
    fit
        Its number.
    by_window
        `(window, chain)` mean leapfrogs per iteration; NaN where a chain has not ended it.
    stops
        Iterations done at the end of each window.
    """
    found = earliest_stall(by_window)
    if found is None:
        return None
    window, chains = found
    length = np.diff(stops[: window + 1], prepend=0)
    leapfrogs = np.rint(length @ by_window[: window + 1]).astype(int)
    iterations = (int(stops[window]),) * by_window.shape[1]
    return Stopped(fit, "stalled", chains, iterations, tuple(leapfrogs.tolist()))


def stopped_by_cap(
    fit: int, is_capped: NDArray, iterations: NDArray, leapfrogs: NDArray
) -> Stopped:
    """End a fit of which some chains may take no more gradients, all `(chain,)`."""
    chains = np.flatnonzero(is_capped).tolist()
    return Stopped(
        fit, "capped", *(tuple(x) for x in (chains, iterations.tolist(), leapfrogs.tolist()))
    )


def as_rows(stopped: Sequence[Stopped], n_chains: int) -> NDArray:
    """Give them as whole numbers `(fit, n)`."""
    rows = [
        (
            one.fit,
            _REASONS.index(one.why),
            *np.isin(range(n_chains), one.chains),
            *one.iterations,
            *one.leapfrogs,
        )
        for one in stopped
    ]
    return np.array(rows, int).reshape(-1, 2 + 3 * n_chains)


def from_rows(rows: NDArray) -> list[Stopped]:
    """Read what `as_rows` gave, of the same shape."""
    found = []
    for fit, why, *others in rows.tolist():
        flags, iterations, leapfrogs = np.reshape(others, (3, -1))
        one = stopped_by_cap(fit, flags, iterations, leapfrogs)
        found.append(one._replace(why=_REASONS[why]))
    return found


def within(values: NDArray, start: int, stop: int) -> NDArray:
    """Cut some iterations out of `(chain, iteration)`; NaN where a fit ended before."""
    if values.shape[1] < stop:
        return np.full((len(values), stop - start), np.nan, values.dtype)
    return values[:, start:stop]


def stall_windows(warmup: int, stop: int) -> list[tuple[int, int]]:
    """Give the iterations, from and to, of the windows on which it rests that a chain stalled by `stop`."""
    stops = (0, *window_stops(warmup))
    last = stops.index(stop)
    return [(stops[i - 1], stops[i]) for i in range(last - WINDOWS + 1, last + 1)]
