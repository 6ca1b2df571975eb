"""How far the fits of a batch are to go, and which of them ended before, or began chains anew."""

from collections.abc import Callable, Mapping

import numpy as np

from scalecheck.sampler.draws import Discarded
from scalecheck.sampler.early_stop import NO_LIMIT, Stopped, as_rows, from_rows, stopped_by_cap
from scalecheck.sampler.stall import earliest_stall

NDArray = np.ndarray

MOST_RESTARTS = 2  # of a chain


class FitProgress:
    """Where fits end.

    `totals`, `(fit,)`, are the iterations that the chains of a fit are to make, `limits`, `(fit, chain)`,
    the leapfrogs that each may take; `live`, `(fit,)`, says which fits have not ended.

    Parameters
    ----------
    n_fits, n_chains
        Numbers.
    warmup, draws, most_draws
        Iterations; a fit gets `draws` more at a time, up to `most_draws`.
    most_gradients
        Leapfrogs that a chain may take, those of what was discarded of it included; None without limit.
    """

    def __init__(
        self,
        n_fits: int,
        n_chains: int,
        warmup: int,
        draws: int,
        most_draws: int,
        most_gradients: int | None,
    ) -> None:
        self.draws, self.most = draws, warmup + most_draws
        self.totals = np.full(n_fits, warmup + draws, "int32")
        self.limits = np.full((n_fits, n_chains), most_gradients or NO_LIMIT, "int32")
        self.live = np.ones(n_fits, bool)
        self.n_windows = np.zeros(n_fits, int)  # that all chains of a fit have ended
        self.discarded: list[Discarded] = []
        self.stopped: list[Stopped] = []

    def with_new_window(self, fits: NDArray, n_windows: NDArray) -> NDArray:
        """Give those of some fits whose chains have all ended another window since they were last looked at.

        `n_windows` is `(fit,)` of all fits.
        """
        found = fits[n_windows[fits] != self.n_windows[fits]]
        self.n_windows[found] = n_windows[found]
        return found

    def to_begin_anew(self, fit: int, by_window: NDArray) -> tuple[int, tuple[int, ...]] | None:
        """Give the first window, of `(window, chain)`, in which chains stalled that may begin anew, and those."""
        begun = [one.chain for one in self.discarded if one.fit == fit]
        let_run = [chain for chain in set(begun) if begun.count(chain) == MOST_RESTARTS]
        return earliest_stall(by_window, let_run)

    def discard(self, one: Discarded) -> int:
        """Note that a chain begins anew, with what is left of its gradients; give how many times it did."""
        self.discarded.append(one)
        self.limits[one.fit, one.chain] -= one.leapfrogs
        return sum((other.fit, other.chain) == one[:2] for other in self.discarded)

    def stop(self, one: Stopped) -> None:
        """End a fit with the iterations that all its chains have."""
        self.stopped.append(one)
        self.totals[one.fit] = min(one.iterations)
        self.live[one.fit] = False

    def judge(
        self, fit: int, iterations: NDArray, leapfrogs: NDArray, enough: Callable[[], bool]
    ) -> None:
        """End a fit that has its draws, or may take no more gradients; let it go on if it needs more.

        Parameters
        ----------
        iterations, leapfrogs
            `(chain,)` so far.
        enough
            Whether the draws of a fit that has those asked for suffice.
        """
        total = int(self.totals[fit])
        lacks, is_full = iterations < total, leapfrogs >= self.limits[fit]
        if (lacks & ~is_full).any():
            return
        if not lacks.any() and (total + self.draws > self.most or enough()):
            self.live[fit] = False
        elif is_full.any():
            self.stop(stopped_by_cap(fit, is_full, iterations, leapfrogs))
        else:
            self.totals[fit] += self.draws

    def arrays(self) -> dict[str, NDArray]:
        """Give all of it as named arrays of the same shapes."""
        return {
            "totals": self.totals,
            "live": self.live,
            "n_windows": self.n_windows,
            "discarded": np.array(self.discarded, int).reshape(-1, len(Discarded._fields)),
            "stopped": as_rows(self.stopped, self.limits.shape[1]),
        }

    def restore(self, arrays: Mapping[str, NDArray]) -> None:
        """Go on from what `arrays` gave, in the same shapes."""
        self.totals, self.live = arrays["totals"].copy(), arrays["live"].copy()
        self.n_windows = arrays["n_windows"].copy()
        for one in arrays["discarded"].tolist():
            self.discard(Discarded(*one))
        self.stopped = from_rows(arrays["stopped"])
