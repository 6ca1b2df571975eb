"""Fits that end before they have their draws: which they are, by what rule, and the sentence that says why."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Int

from scalecheck.sampler.schedule import window_stops
from scalecheck.sampler.stall import WINDOWS, ByWindow, earliest_stall
from scalecheck.sampler.types import ByChain, ByFit, ByLane

NO_LIMIT = 2**31 - 1  # lanes count their leapfrogs in 32 bits
MOST_RESTARTS = 2  # of a chain

# As few draws as `sampler.draws` may ask for: with fewer, a fit is given up.
LEAST_DRAWS = 10

Reason = Literal["stalled", "capped"]
_REASONS: tuple[Reason, ...] = ("stalled", "capped")
Leapfrogs = Int[np.ndarray, "chain iteration"]


class Discarded(NamedTuple):
    """A chain that stalled in warmup and was restarted: of which fit, and what it had done by then."""

    fit: int
    chain: int
    iterations: int
    leapfrogs: int


class Stopped(NamedTuple):
    """A fit that was stopped. What is kept of it are the iterations that all of its chains have.

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
    why: Reason
    chains: tuple[int, ...]
    iterations: tuple[int, ...]
    leapfrogs: tuple[int, ...]

    def has_draws(self, warmup: int) -> bool:
        """Whether it has as many draws as a posterior needs."""
        return min(self.iterations) - warmup >= LEAST_DRAWS


# ---- the rules


def stopped_by_stall(fit: int, by_window: ByWindow, stops: Sequence[int]) -> Stopped | None:
    """Stop a fit at the first window by which a chain is known to stall; None where none does.

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
    fit: int, is_capped: Bool[np.ndarray, " chain"], iterations: ByChain, leapfrogs: ByChain
) -> Stopped:
    """Stop a fit of which some chains may take no more gradients, all `(chain,)`."""
    return _stopped(fit, "capped", is_capped, iterations, leapfrogs)


def _stopped(
    fit: int,
    why: Reason,
    is_cause: Bool[np.ndarray, " chain"],
    iterations: ByChain,
    leapfrogs: ByChain,
) -> Stopped:
    chains = tuple(np.flatnonzero(is_cause).tolist())
    return Stopped(fit, why, chains, tuple(iterations.tolist()), tuple(leapfrogs.tolist()))


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class FitProgress:
    """How far the fits of a batch are to go, and which of them were stopped, or restarted chains.

    Attributes
    ----------
    totals
        `(fit,)` iterations that the chains of a fit are to make.
    limits
        `(fit, chain)` leapfrogs that each may still take, without those of what was discarded.
    live
        `(fit,)` whether a fit has not ended.
    n_windows
        `(fit,)` warmup windows that all of its chains have ended, as of the last look.
    restarts
        `(restart, 4)` fields of `Discarded`.
    reason
        `(fit,)` number of the reason for which a fit was stopped; -1 where it was not.
    is_cause, iterations, leapfrogs
        `(fit, chain)` of the fits that were stopped, as `Stopped` has them.
    draws, most
        A fit gets so many draws more at a time, up to so many iterations.
    """

    totals: ByFit
    limits: ByLane
    live: Bool[np.ndarray, " fit"]
    n_windows: ByFit
    restarts: Int[np.ndarray, "restart 4"]
    reason: ByFit
    is_cause: Bool[np.ndarray, "fit chain"]
    iterations: ByLane
    leapfrogs: ByLane
    draws: int = dataclasses.field(metadata={"static": True})
    most: int = dataclasses.field(metadata={"static": True})

    @property
    def active(self) -> list[int]:
        """The fits that have not ended."""
        return np.flatnonzero(self.live).tolist()

    @property
    def discarded(self) -> list[Discarded]:
        """What the chains that were restarted had done, in this order."""
        return [Discarded(*row) for row in self.restarts.tolist()]

    @property
    def stopped(self) -> list[Stopped]:
        """The fits that were stopped."""
        by_fit = zip(self.reason, self.is_cause, self.iterations, self.leapfrogs, strict=True)
        return [
            _stopped(fit, _REASONS[why], is_cause, iterations, leapfrogs)
            for fit, (why, is_cause, iterations, leapfrogs) in enumerate(by_fit)
            if why >= 0
        ]

    def with_new_window(
        self, fits: Int[np.ndarray, " some"], n_windows: ByFit
    ) -> Int[np.ndarray, " found"]:
        """Give those of some fits whose chains have all ended another window since they were last looked at.

        `n_windows` is `(fit,)` of all fits.
        """
        found = fits[n_windows[fits] != self.n_windows[fits]]
        self.n_windows[found] = n_windows[found]
        return found

    def to_restart(self, fit: int, by_window: ByWindow) -> tuple[int, tuple[int, ...]] | None:
        """Give the first window, of `(window, chain)`, in which chains stalled that may restart, and those."""
        chains = self.restarts[self.restarts[:, 0] == fit, 1]
        times = np.bincount(chains, minlength=by_window.shape[1])
        return earliest_stall(by_window, np.flatnonzero(times == MOST_RESTARTS).tolist())

    def discard(self, one: Discarded) -> int:
        """Note that a chain restarts, with what is left of its gradients; give how many times it did."""
        self.restarts = np.concatenate([self.restarts, [one]])
        self.limits[one.fit, one.chain] -= one.leapfrogs
        return int((self.restarts[:, :2] == one[:2]).all(axis=1).sum())

    def stop(self, one: Stopped) -> None:
        """End a fit with the iterations that all its chains have."""
        self.reason[one.fit] = _REASONS.index(one.why)
        self.is_cause[one.fit, list(one.chains)] = True
        self.iterations[one.fit], self.leapfrogs[one.fit] = one.iterations, one.leapfrogs
        self.totals[one.fit] = min(one.iterations)
        self.live[one.fit] = False

    def judge(
        self, fit: int, iterations: ByChain, leapfrogs: ByChain, enough: Callable[[], bool]
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


def first_progress(
    shape: tuple[int, int], warmup: int, draws: int, most_draws: int, most_gradients: int | None
) -> FitProgress:
    """InitialAdaptation a batch.

    Parameters
    ----------
    shape
        Numbers of fits and chains.
    warmup, draws, most_draws
        Iterations; a fit gets `draws` more at a time, up to `most_draws`.
    most_gradients
        Leapfrogs that a chain may take, those of what was discarded of it included; None without limit.
    """
    return FitProgress(
        totals=np.full(shape[0], warmup + draws, "int32"),
        limits=np.full(shape, most_gradients or NO_LIMIT, "int32"),
        live=np.ones(shape[0], bool),
        n_windows=np.zeros(shape[0], int),
        restarts=np.zeros((0, len(Discarded._fields)), int),
        reason=np.full(shape[0], -1),
        is_cause=np.zeros(shape, bool),
        iterations=np.zeros(shape, int),
        leapfrogs=np.zeros(shape, int),
        draws=draws,
        most=warmup + most_draws,
    )


# ---- what is left of a fit that was stopped, and what to say


def beyond(stopped: Stopped | None, n_steps: Leapfrogs) -> list[int]:
    """Leapfrogs of each chain beyond the iterations `(chain, iteration)` that all have, where a fit was stopped."""
    return [] if stopped is None else (np.array(stopped.leapfrogs) - n_steps.sum(axis=1)).tolist()


def why_stopped(
    stopped: Stopped, n_steps: Leapfrogs, warmup: int, draws: int, max_gradients: int | None
) -> str:
    """Say why a fit was stopped, in one clause without what to change.

    Parameters
    ----------
    stopped
        How it was.
    n_steps
        `(chain, iteration)` leapfrogs of the iterations that all chains have.
    warmup, draws, max_gradients
        That were asked for.
    """
    if stopped.why == "stalled":
        windows = _stall_windows(warmup, stopped.iterations[0])
        return "; ".join(_stalled(chain, n_steps, windows) for chain in stopped.chains)
    done = [stopped.iterations[chain] for chain in stopped.chains]
    phase = "in warmup" if min(done) < warmup else "after warmup"
    asked = warmup + draws
    # All chains have what was asked for where the fit went on for more draws.
    of = f"of {asked}" if min(stopped.iterations) < asked else f"on the way to more than {asked}"
    return (
        f"{_chains(stopped.chains)} reached sampler.max_gradients ({max_gradients}) {phase}, at"
        f" iteration {', '.join(map(str, done))} {of}"
    )


def _stall_windows(warmup: int, stop: int) -> list[tuple[int, int]]:
    """Give the iterations, from and to, of the windows on which it rests that a chain stalled by `stop`."""
    stops = (0, *window_stops(warmup))
    last = stops.index(stop)
    return [(stops[i - 1], stops[i]) for i in range(last - WINDOWS + 1, last + 1)]


def _stalled(chain: int, n_steps: Leapfrogs, windows: Sequence[tuple[int, int]]) -> str:
    siblings = np.delete(n_steps, chain, axis=0)
    own = [n_steps[chain, start:stop].mean() for start, stop in windows]
    others = [np.median(siblings[:, start:stop].mean(axis=1)) for start, stop in windows]
    where = " and ".join(f"{start + 1}-{stop}" for start, stop in windows)
    took = " and ".join(f"{one:.4g}" for one in own)
    usual = " and ".join(f"{one:.4g}" for one in others)
    return (
        f"chain {chain} stalled in warmup: in iterations {where} it took {took} leapfrogs per iteration,"
        f" where the median of the others took {usual}"
    )


def _chains(chains: Sequence[int]) -> str:
    if len(chains) == 1:
        return f"chain {chains[0]}"
    *first, last = map(str, chains)
    return f"chains {', '.join(first)} and {last}"


def remedy_of(why: Reason) -> str:
    """Say what to change so that a fit is not stopped for this."""
    if why == "capped":
        return "raise sampler.max_gradients, or change the parametrisation"
    return "raise sampler.warmup, change the parametrisation, or set sampler.on_stall to restart"


def how_it_ended(
    stopped: Stopped | None, n_steps: Leapfrogs, warmup: int, draws: int, max_gradients: int | None
) -> dict[str, Any]:
    """Give what a record says of the end of a fit; arguments as of `why_stopped`, None for one that has its draws.

    `status` is `stopped` of one that was stopped with too few draws, else `done`; `reason` is why, and what to
    change; `capped` and `stalled` are the chains that were the cause and what all chains did by then, or None.
    """
    found: dict[str, Any] = {"status": "done", "reason": "", "capped": None, "stalled": None}
    if stopped is None:
        return found
    why = why_stopped(stopped, n_steps, warmup, draws, max_gradients)
    seen = {name: list(getattr(stopped, name)) for name in ("chains", "iterations", "leapfrogs")}
    found[stopped.why] = {**seen, "reason": why}
    if not stopped.has_draws(warmup):
        found |= {"status": "stopped", "reason": f"{why}: {remedy_of(stopped.why)}"}
    return found
