"""How the fits of a batch run: sums that every engine adds its blocks to, and what they say of each fit.

Sums by chain and window are kept and no iteration is, so that a block of many lanes costs a few
operations on whole arrays.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from scalecheck.sampler.schedule import window_stops
from scalecheck.sampler.stall import stalled
from scalecheck.sampler.time_left import FORGET, Pace, error_of_pace, one_block
from scalecheck.sampler.types import ByChain, ByFit, ByLane, Iterations, Settings

_QUANTILE = 1.598  # of the normal: the interval of a time left has probability 0.89


class TimeLeft(NamedTuple):
    """Seconds until a fit has its draws, with an equal-tailed 89 % interval; NaN where no pace is known."""

    low: float
    median: float
    high: float


class Progress(NamedTuple):
    """One fit after a block.

    Attributes
    ----------
    fit
        Its number in the batch.
    phase
        `warmup` while any chain adapts, then `sampling`.
    iterations
        `(chain,)` done.
    total
        Iterations of a chain; grows where a fit goes on because it needs more draws.
    step_size
        `(chain,)` that the next iteration uses; NaN before the first ends.
    leapfrogs, acceptance_rate, depth_saturated
        `(chain,)` of the iterations that ended in this block: leapfrogs per iteration, mean rate of
        acceptance, share of trajectories cut at the largest depth; NaN where none ended.
    divergences
        `(chain,)` after warmup, so far.
    metric_change
        `(chain,)` root mean square of the log ratio of the diagonal inverse mass matrix between the
        last two warmup windows that renewed it; NaN before there are two.
    gradients, gradients_projected
        `(chain,)` leapfrogs so far, and of the whole run at the recent pace.
    stalled
        `(chain,)` by the rule of `stall.stalled`.
    seconds_left
        Until `total`, at the recent pace, see `Tally`.
    """

    fit: int
    phase: str
    iterations: ByChain
    total: int
    step_size: Float[np.ndarray, " chain"]
    leapfrogs: Float[np.ndarray, " chain"]
    acceptance_rate: Float[np.ndarray, " chain"]
    divergences: ByChain
    depth_saturated: Float[np.ndarray, " chain"]
    metric_change: Float[np.ndarray, " chain"]
    gradients: ByChain
    gradients_projected: Float[np.ndarray, " chain"]
    stalled: Bool[np.ndarray, " chain"]
    seconds_left: TimeLeft


class LastBlock(NamedTuple):
    """Sums over the iterations that ended in the last block of a fit, `(fit, chain)` each.

    Attributes
    ----------
    ended
        Their number.
    leapfrogs, accepted
        Their leapfrogs, and rates of acceptance.
    saturated
        Those that were cut at the largest depth.
    """

    ended: Float[np.ndarray, "fit chain"]
    leapfrogs: Float[np.ndarray, "fit chain"]
    accepted: Float[np.ndarray, "fit chain"]
    saturated: Float[np.ndarray, "fit chain"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Tally:
    """What a batch of fits has done so far.

    The time left is that of the chain that has longest to go: its iterations to come, times its seconds
    per iteration in recent blocks. Blocks before the last renewal of the metric do not count, once
    there is one after it. How far off the leapfrogs per iteration to come may be is `error_of_pace`;
    as long as the metric is still to be renewed, the lower end of the interval is one leapfrog per
    iteration, for a metric that fits may save nearly all of them.

    Attributes
    ----------
    done, gradients, divergences
        `(fit, chain)` iterations and leapfrogs; divergences after warmup.
    step_size, metric_change, stalled
        `(fit, chain)` as `Progress` has them.
    by_window
        `(fit, chain, window)` leapfrogs.
    pace, epoch
        `(fit, chain)` of recent blocks, and the number of the window in which these were.
    last
        Sums of the last block.
    settings
        Of NUTS.
    """

    done: ByLane
    gradients: ByLane
    divergences: ByLane
    step_size: Float[np.ndarray, "fit chain"]
    metric_change: Float[np.ndarray, "fit chain"]
    stalled: Bool[np.ndarray, "fit chain"]
    by_window: Float[np.ndarray, "fit chain window"]
    pace: Pace
    epoch: ByLane
    last: LastBlock
    settings: Settings = dataclasses.field(metadata={"static": True})

    @functools.cached_property
    def stops(self) -> tuple[int, ...]:
        """Iterations done at the end of each warmup window."""
        return window_stops(self.settings.warmup)

    @property
    def most_steps(self) -> int:
        """Leapfrogs of a trajectory that is cut at the largest depth."""
        return 2**self.settings.max_tree_depth - 1

    def add(
        self,
        fits: Sequence[int] | ByFit,
        seen: Iterations,
        ended: ByLane,
        seconds: float,
        metric: Callable[[int, int, int], Float[np.ndarray, " d"]],
    ) -> None:
        """Add a block.

        Parameters
        ----------
        fits
            Numbers of the fits that ran in it, `(fit,)`.
        seen
            Of these fits, `(fit, chain, iteration)`, filled from the front; `z` is not looked at.
        ended
            `(fit, chain)` iterations that ended.
        seconds
            Wall time of the block.
        metric
            Place among these fits, chain and warmup window -> diagonal inverse mass `(d,)` at its end.
        """
        fits = np.asarray(fits, int)
        before, after = self.done[fits], self.done[fits] + ended
        room = np.arange(np.shape(seen.n_steps)[2])
        filled = room < ended[..., None]
        sums = lambda values: np.where(filled, values, 0).sum(axis=2)  # noqa: E731
        self._add_windows(fits, np.where(filled, seen.n_steps, 0), before[..., None] + room)
        sampled = before[..., None] + room >= self.settings.warmup
        self.divergences[fits] += sums(np.asarray(seen.diverging) & sampled)
        last = np.maximum(ended - 1, 0)[..., None]
        size = np.take_along_axis(np.asarray(seen.step_size, float), last, axis=2)[..., 0]
        self.step_size[fits] = np.where(ended > 0, size, self.step_size[fits])
        leapfrogs = sums(seen.n_steps)
        self.gradients[fits] += leapfrogs
        self.done[fits] = after
        saturated = sums(seen.n_steps >= self.most_steps)
        block = LastBlock(ended, leapfrogs, sums(seen.acceptance_rate), saturated)
        for own, new in zip(self.last, block, strict=True):
            own[fits] = new
        self._compare_metrics(fits, before, after, metric)
        closes = self._n_windows(before) < self._n_windows(after)
        for fit in fits[closes.any(axis=1)].tolist():
            self.stalled[fit] = stalled(self.leapfrogs_by_window(fit))
        self._renew_pace(fits, before, one_block(ended, leapfrogs, seconds))

    def forget(self, fit: int, chain: int) -> None:
        """Forget what a chain did: it is restarted."""
        fresh = jax.tree.leaves(first_tally(self.settings, 1, 1))
        for own, new in zip(jax.tree.leaves(self), fresh, strict=True):
            own[fit, chain] = new[0, 0]

    def _n_windows(self, done: Int[np.ndarray, "*any"]) -> Int[np.ndarray, "*any"]:
        """Warmup windows that ended, after so many iterations of any one shape."""
        return np.searchsorted(self.stops, done, side="right")

    def _add_windows(
        self,
        fits: ByFit,
        n_steps: Int[np.ndarray, "fit chain n"],
        number: Int[np.ndarray, "fit chain n"],
    ) -> None:
        window = self._n_windows(number)
        for one in np.unique(window[window < len(self.stops)]):
            self.by_window[fits, :, one] += np.where(window == one, n_steps, 0).sum(axis=2)

    def _compare_metrics(
        self,
        fits: ByFit,
        before: ByLane,
        after: ByLane,
        metric: Callable[[int, int, int], Float[np.ndarray, " d"]],
    ) -> None:
        # The metric is not renewed by the first window nor by the last.
        for window in range(2, len(self.stops) - 1):
            stop = self.stops[window]
            for place, chain in np.argwhere((before < stop) & (stop <= after)).tolist():
                old, new = (metric(place, chain, one) for one in (window - 1, window))
                logs = np.log(np.asarray(new, float)) - np.log(np.asarray(old, float))
                self.metric_change[fits[place], chain] = np.sqrt(np.mean(logs**2))

    def _renew_pace(self, fits: ByFit, before: ByLane, block: Pace) -> None:
        # A new metric is a new pace, and so is the step size that is kept from the end of warmup on.
        epoch = self._n_windows(before)
        weight = np.where(epoch == self.epoch[fits], FORGET, 0.0)
        self.epoch[fits] = epoch
        for sums, new in zip(self.pace, block, strict=True):
            sums[fits] = weight * sums[fits] + new

    def n_windows_ended(self) -> ByFit:
        """`(fit,)` warmup windows that all chains of a fit have ended."""
        return self._n_windows(self.done.min(axis=1))

    def leapfrogs_by_window(self, fit: int) -> Float[np.ndarray, "window chain"]:
        """`(window, chain)` mean leapfrogs per iteration of each warmup window; NaN where it has not ended."""
        length = np.diff(self.stops, prepend=0)
        ended = self.done[fit][:, None] >= np.array(self.stops)
        return np.where(ended, self.by_window[fit] / length, np.nan).T

    def report(
        self, fits: Sequence[int] | ByFit, totals: Int[np.ndarray, " all"]
    ) -> list[Progress]:
        """Say how these fits run.

        Parameters
        ----------
        fits
            Numbers of the fits that ran in the last block, `(fit,)`.
        totals
            Of every fit of the batch, `(fit,)`: iterations of a chain.
        """
        fits = np.asarray(fits, int)
        done, pace = self.done[fits], Pace(*(part[fits] for part in self.pace))
        ended, leapfrogs, accepted, saturated = (part[fits] for part in self.last)
        to_come = np.maximum(
            totals[fits][:, None] - done, 0
        )  # of a fit that was ended, some have more
        to_take = np.where(to_come, _ratio(pace.leapfrogs, pace.iterations) * to_come, 0)
        seconds = self._seconds_left(pace, to_come, done)
        by_fit = zip(
            fits.tolist(),
            np.where((done < self.settings.warmup).any(axis=1), "warmup", "sampling").tolist(),
            done,
            totals[fits].tolist(),
            self.step_size[fits],
            _ratio(leapfrogs, ended),
            _ratio(accepted, ended),
            self.divergences[fits],
            _ratio(saturated, ended),
            self.metric_change[fits],
            self.gradients[fits],
            self.gradients[fits] + to_take,
            self.stalled[fits],
            (TimeLeft(*ends) for ends in seconds.tolist()),
            strict=True,
        )
        return [Progress(*values) for values in by_fit]

    def _seconds_left(
        self, pace: Pace, to_come: ByLane, done: ByLane
    ) -> Float[np.ndarray, "fit 3"]:
        """`(fit, 3)` low, median and high of the chain that has longest to go, from `(fit, chain)` each."""
        median = np.where(to_come, _ratio(pace.seconds, pace.iterations) * to_come, 0)
        width = _QUANTILE * error_of_pace(pace, to_come, done < self.settings.warmup)
        per_iteration = _ratio(pace.leapfrogs, pace.iterations)
        low, high = np.exp(-width), np.minimum(np.exp(width), self.most_steps / per_iteration)
        last_renewal = self.stops[-2] if len(self.stops) > 1 else 0
        low = np.where(done < last_renewal, np.minimum(low, 1 / per_iteration), low)
        return np.stack([(end * median).max(axis=1) for end in (low, 1, high)], axis=1)


def first_tally(settings: Settings, n_fits: int, n_chains: int) -> Tally:
    """InitialAdaptation a batch of so many fits and chains."""
    shape = (n_fits, n_chains)
    zeros = functools.partial(np.zeros, shape)
    return Tally(
        done=zeros(int),
        gradients=zeros(int),
        divergences=zeros(int),
        step_size=np.full(shape, np.nan),
        metric_change=np.full(shape, np.nan),
        stalled=zeros(bool),
        by_window=np.zeros((*shape, len(window_stops(settings.warmup)))),
        pace=Pace(*(zeros() for _ in Pace._fields)),
        epoch=zeros(int),
        last=LastBlock(*(zeros() for _ in LastBlock._fields)),
        settings=settings,
    )


def _ratio(
    parts: Shaped[np.ndarray, "*dims"], of: Shaped[np.ndarray, "*dims"]
) -> Float[np.ndarray, "*dims"]:
    """Divide sums of the same dims; NaN where there is nothing to divide by."""
    return np.divide(parts, of, out=np.full(np.shape(of), np.nan), where=of > 0)
