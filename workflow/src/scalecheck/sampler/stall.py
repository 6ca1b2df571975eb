"""Which chains stall in warmup: those that need far more leapfrogs than the other chains of their fit."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

# Mean leapfrogs per iteration of each warmup window.
ByWindow = Float[np.ndarray, "window chain"]

# Twice running, because one window may only have begun badly.
FACTOR = 5.0
WINDOWS = 2


def slow(leapfrogs: ByWindow) -> Bool[np.ndarray, "window chain"]:
    """Compare each chain with its siblings, window by window.

    All chains of a fit have as many iterations to come, so the leapfrogs that they are projected to
    take stand to each other as their leapfrogs per iteration do.

    Parameters
    ----------
    leapfrogs
        `(window, chain)` mean per iteration; NaN where a chain has not ended a window.

    Returns
    -------
    ndarray
        `(window, chain)` whether the chain takes over `FACTOR` times the median of the other chains
        that ended the window; without such others it is not slow.
    """
    found = np.zeros(leapfrogs.shape, bool)
    # Nearly always: what is not so slow beside the fastest is not so beside the median.
    if not (leapfrogs > FACTOR * np.fmin.reduce(leapfrogs, axis=1, keepdims=True)).any():
        return found
    for chain in range(leapfrogs.shape[1]):
        siblings = np.delete(leapfrogs, chain, axis=1)
        known = np.isfinite(siblings).any(axis=1) & np.isfinite(leapfrogs[:, chain])
        median = np.nanmedian(siblings[known], axis=1) if known.any() else np.empty(0)
        found[known, chain] = leapfrogs[known, chain] > FACTOR * median
    return found


def stalled(leapfrogs: ByWindow) -> Bool[np.ndarray, " chain"]:
    """Say which chains stall: slow in the last `WINDOWS` warmup windows that they ended.

    Parameters
    ----------
    leapfrogs
        `(window, chain)` mean per iteration of each warmup window; NaN where a chain has not ended it.

    Returns
    -------
    ndarray
        `(chain,)`; false for a chain that has not ended so many windows, or has no siblings.
    """
    ended = np.isfinite(leapfrogs).sum(axis=0)
    is_slow = slow(leapfrogs)
    return np.array(
        [
            bool(n >= WINDOWS and is_slow[n - WINDOWS : n, chain].all())
            for chain, n in enumerate(ended)
        ],
        dtype=bool,
    )


def first_stall(leapfrogs: ByWindow) -> Int[np.ndarray, " chain"]:
    """Say in which window each chain first stalled: the last of `WINDOWS` running in which it was slow.

    A window counts once all chains have ended it, so that what is said of it stays, however late it is
    asked for: chains are stopped by this.

    Parameters
    ----------
    leapfrogs
        `(window, chain)` mean per iteration of each warmup window; NaN where a chain has not ended it.

    Returns
    -------
    ndarray
        `(chain,)` number of the window; -1 for a chain that has not stalled.
    """
    known = np.isfinite(leapfrogs).all(axis=1)
    is_slow = slow(leapfrogs) & known[:, None]
    n_runs = max(0, len(is_slow) - WINDOWS + 1)
    runs = np.array([is_slow[i : i + WINDOWS].all(axis=0) for i in range(n_runs)], bool)
    runs = runs.reshape(n_runs, leapfrogs.shape[1])
    found = runs.argmax(axis=0) + WINDOWS - 1 if n_runs else np.zeros(leapfrogs.shape[1], int)
    return np.where(runs.any(axis=0), found, -1)


def earliest_stall(
    leapfrogs: ByWindow, let_run: Sequence[int] = ()
) -> tuple[int, tuple[int, ...]] | None:
    """Say which chains of a fit stalled first, as it is known once all chains have ended that window.

    Parameters
    ----------
    leapfrogs
        `(window, chain)` mean per iteration of each warmup window; NaN where a chain has not ended it.
    let_run
        Chains that may stall.

    Returns
    -------
    tuple or None
        Number of the window, and the chains; None where none has stalled.
    """
    windows = first_stall(leapfrogs)
    windows[list(let_run)] = -1
    if (windows < 0).all():
        return None
    window = int(windows[windows >= 0].min())
    return window, tuple(np.flatnonzero(windows == window).tolist())
