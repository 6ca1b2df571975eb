"""Sample a batch of fits, a leapfrog of every chain at a time: a fit that ends makes room for one that waits.

Between two blocks of steps the host looks at the chains: it notes what they did, restarts those that stall,
ends fits that have their draws, and gives their places away. What it decides depends on iterations and leapfrogs
alone, never on a clock or on where blocks end, so that a run that is killed and resumed ends with the same bits.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Shaped, UInt32

from scalecheck.sampler import lane_state
from scalecheck.sampler.draws import Clock, Draws, Elapsed, Window
from scalecheck.sampler.early_stop import Discarded, FitProgress, first_progress, stopped_by_stall
from scalecheck.sampler.iteration_log import NO_NEWS, IterationLog
from scalecheck.sampler.place_lanes import InitialAdaptation, State
from scalecheck.sampler.progress import Progress, Tally, first_tally
from scalecheck.sampler.schedule import window_stops
from scalecheck.sampler.shared_programs import placing_for, programs_for
from scalecheck.sampler.snapshot import SavedRun, Snapshot, from_arrays, to_arrays
from scalecheck.sampler.streamed_draws import Flow, Reduced, Streams
from scalecheck.sampler.types import ByDraw, ByFit, ByLane, Iterations, Potential, Settings
from scalecheck.sampler.warmup_adaptation import plan_warmup

# Steps of the loop between two looks of the host, at most and at first; and what they should take: a
# signal to end is answered between two blocks.
STEPS, FIRST_STEPS, SECONDS = 1000, 16, 2.0

# Going on with fewer fits takes another program, whose compilation takes as long as so many numbers are
# worked through: 5 s at 1e9 numbers a second (40 lanes with 165 centred intercepts on one core; twice
# as many of a logistic regression).
COMPILE_NUMBERS = 5e9
LANE_VECTORS = 50  # that a step reads or writes besides the data

# Fit, chain and how many times it was restarted -> its start by site, `(...)` each.
Restart = Callable[[int, int, int], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class LaneOptions:
    """How far fits go, and what becomes of them on the way.

    Attributes
    ----------
    draws
        Draws per chain.
    most_draws
        Draws per chain that a fit gets at most, where `enough` asks for more: `draws` at a time.
    enough
        Fit and its draws that are held `(chain, draw, ...)` -> whether they suffice.
    steps
        Steps of the loop between two looks of the host, at most.
    slots
        Fits that run at once; None for all.
    streams
        Sites whose draws are held, and what of the others is reduced to moments; None holds all.
    begin
        Step sizes and variances to begin warmup with, for a diagonal metric.
    restart
        Gives another start of a chain that stalls in warmup: it is restarted there, at most twice. None
        lets it run.
    stops_stalled
        Whether a fit ends where a chain stalls in warmup; not with `restart`.
    most_gradients
        Leapfrogs that a chain may take, warmup and what was discarded included: its fit ends when all
        chains have their draws or took so many.
    """

    draws: int
    most_draws: int = 0
    enough: Callable[[int, ByDraw], bool] = lambda fit, z: True
    steps: int = STEPS
    slots: int | None = None
    streams: Streams | None = None
    begin: InitialAdaptation | None = None
    restart: Restart | None = None
    stops_stalled: bool = False
    most_gradients: int | None = None


class ActiveFits(NamedTuple):
    """Fits that still run, in the shape that is compiled for so many.

    Attributes
    ----------
    fits
        Numbers of the fits; some only fill the shape and rest.
    state
        Their lanes.
    arrays
        Their data.
    """

    fits: ByFit
    state: State
    arrays: dict[str, Shaped[Array, "fit ..."]]

    def with_fit(self, place: int, other: "ActiveFits") -> "ActiveFits":
        """Put the one fit of others in a place."""
        if len(self.fits) == 1:
            return other
        fits = self.fits.copy()
        fits[place] = other.fits[0]
        return ActiveFits(fits, *_put(self[1:], np.int32(place), other[1:]))

    def only(self, chosen: Int[np.ndarray, " chosen"]) -> "ActiveFits":
        """Take the fits at `(fit,)` places."""
        return ActiveFits(self.fits[chosen], *_take(self[1:], chosen.astype("int32")))


# One program each: a call for each of the many parts of a lane would take longer than a block of a small fit.
@jax.jit
def _put(parts: Any, place: Any, others: Any) -> Any:
    return jax.tree.map(lambda x, new: x.at[place].set(new[0]), parts, others)


@jax.jit
def _put_chain(parts: Any, place: Any, chain: Any, others: Any) -> Any:
    return jax.tree.map(lambda x, new: x.at[place, chain].set(new[0, 0]), parts, others)


@jax.jit
def _take(parts: Any, chosen: Any) -> Any:
    return jax.tree.map(lambda x: x[chosen], parts)


@functools.partial(jax.jit, static_argnums=1)
def _key_of_restart(key: Any, n_chains: int, chain: Any, times: Any) -> Any:
    return jax.random.fold_in(jax.random.split(key, n_chains)[chain], times)


class EndedFit(NamedTuple):
    """What is kept of a fit that has ended, beside its iterations.

    Attributes
    ----------
    metrics
        `(chain, window, d)` diagonal of the inverse mass at the end of each window.
    reduced
        What its draws were reduced to; None where all are held.
    """

    metrics: Float[np.ndarray, "chain window d"]
    reduced: Reduced | None


class RunState(NamedTuple):
    """All that a run goes on from, but for its iterations.

    Attributes
    ----------
    fits, waiting
        Numbers of the fits that have a place, and of those that wait for one.
    lanes
        Of the fits that have a place.
    progress, tally
        Of all fits.
    ended
        Fits that have ended, by their number.
    seconds, cpu_seconds
        Wall and processor seconds so far.
    useful, stepped
        Leapfrogs that moved a chain, and all that were computed.
    """

    fits: Int[np.ndarray, " place"]
    waiting: Int[np.ndarray, " waiting"]
    lanes: State
    progress: FitProgress
    tally: Tally
    ended: dict[int, EndedFit]
    seconds: Elapsed
    cpu_seconds: Elapsed
    useful: int
    stepped: int


class LaneEngine:
    """A run of `sample_lanes`, whose arguments it has."""

    def __init__(
        self,
        potential: Potential,
        arrays: Mapping[str, Any],
        starts: Mapping[str, Any],
        settings: Settings,
        key: UInt32[Array | np.ndarray, "fit 2"],
        options: LaneOptions,
    ) -> None:
        n_fits, n_chains = next(iter(starts.values())).shape[:2]
        n_slots = min(n_fits, options.slots or n_fits)
        self.options = options
        self.arrays, self.starts, self.keys = arrays, starts, key
        self.programs = programs_for(
            potential, arrays, starts, settings, options.steps, n_slots, options.streams
        )
        self.plan = self.programs.plan
        self.n_warmup, self.stops = settings.warmup, window_stops(settings.warmup)
        dtype = jax.dtypes.canonicalize_dtype(next(iter(starts.values())).dtype)
        self.warmup = plan_warmup(settings, dtype)
        self.placing = placing_for(starts, settings, len(self.warmup.stops), self.plan.flow.moments)
        self.begin = options.begin or _no_adaptation(n_fits, n_chains, self.plan.flow, dtype)
        self.progress = first_progress(
            (n_fits, n_chains),
            settings.warmup,
            options.draws,
            options.most_draws,
            options.most_gradients,
        )
        self.most_steps = FIRST_STEPS
        self.log = IterationLog(n_fits, n_chains, settings.warmup)
        self.tally = first_tally(settings, n_fits, n_chains)
        self.ended: dict[int, EndedFit] = {}
        self.useful = self.stepped = 0
        self.clock = Clock()
        self.batch, self.waiting = self._begun(np.arange(n_slots)), np.arange(n_slots, n_fits)
        self.clock.lap(compile=1.0)

    def _begun(self, fits: ByFit) -> ActiveFits:
        """Give some fits at their starts."""
        starts, begin = jax.tree.map(lambda x: x[_rows(fits)], (dict(self.starts), self.begin))
        arrays = self._arrays_of(fits)
        each = [
            self._evaluate(fit, {n: z[i] for n, z in starts.items()})
            for i, fit in enumerate(fits.tolist())
        ]
        found = jax.tree.map(lambda *parts: np.stack(parts), *each)
        state = self.placing.fits(np.asarray(self.keys)[_rows(fits)], begin, starts, *found)
        return ActiveFits(fits, state, arrays)

    def _evaluate(self, fit: int, z: Any) -> Any:
        """Give potentials and gradients of the chains `(chain, ...)` of a fit."""
        own = {name: values[fit] for name, values in self.arrays.items()}
        return jax.device_get(self.programs.evaluate(z, own, np.int32(1)))

    def _arrays_of(self, fits: ByFit) -> dict[str, Shaped[Array, "fit ..."]]:
        """Data of the fits that have a place: the others' need not be on the device."""
        return {name: jax.device_put(values[_rows(fits)]) for name, values in self.arrays.items()}

    # ---- a block

    def block(self) -> list[Progress]:
        """Run one block, note what it did, and end the fits that are done; say how those run that ran in it."""
        program, began, batch = self._program(), time.perf_counter(), self.batch
        before = self.log.done[batch.fits]
        totals = np.where(self.progress.live, self.progress.totals, 0)[batch.fits].astype("int32")
        limits, most_steps = self.progress.limits[batch.fits], np.int32(self.most_steps)
        carry = program(self.warmup, batch.state, totals, limits, most_steps, batch.arrays)
        self.batch = batch._replace(state=carry.state)
        seen = lane_state.unpack(np.asarray(carry.seen))
        after = np.asarray(carry.state.lane.iteration)
        self._append(seen, before, after)
        self.useful += int(carry.n_useful)
        self.stepped += int(carry.n_steps) * after.size
        running = batch.fits[self.progress.live[batch.fits]]
        self._add_to_tally(seen, after - before, time.perf_counter() - began)
        # Stalls first: a fit may have ended in the very block in which a chain is known to stall.
        if self.options.restart is not None or self.options.stops_stalled:
            self._judge_stalls(running)
        self._end_fits(running)
        self._lap(seen, before, after)
        seconds = time.perf_counter() - began
        pace = int(carry.n_steps) * SECONDS / max(seconds, 1e-9)
        self.most_steps = int(np.clip(pace, 1, min(4 * self.most_steps, self.plan.steps)))
        return self.tally.report(running, self.progress.totals)

    def _program(self) -> Any:
        """Compile for as many fits as still run: once per number, also across processes by JAX's cache."""
        batch, n_fits = self.batch, len(self.batch.fits)
        totals, limits = np.zeros(n_fits, "int32"), self.progress.limits[batch.fits]
        arguments = (self.warmup, batch.state, totals, limits, np.int32(1), batch.arrays)
        program = self.programs.advance(n_fits, *arguments)
        self.clock.lap(compile=1.0)
        return program

    def _append(self, seen: Iterations, before: ByLane, after: ByLane) -> None:
        for i, fit in enumerate(self.batch.fits.tolist()):
            for chain, n in enumerate(after[i] - before[i]):
                if n:
                    own = jax.tree.map(lambda x, i=i, c=chain, n=n: x[i, c, :n], seen)
                    self.log.append(fit, chain, own)

    def _add_to_tally(self, seen: Iterations, ended: ByLane, seconds: float) -> None:
        places = np.flatnonzero(self.progress.live[self.batch.fits])
        # Most blocks end no window: only then are they copied, and all at once.
        metrics = functools.cache(lambda: np.asarray(self.batch.state.adaptation.metrics))
        self.tally.add(
            self.batch.fits[places],
            jax.tree.map(lambda x: x[places], seen._replace(z=None)),
            ended[places],
            seconds,
            lambda i, chain, window: metrics()[places[i], chain, window],
        )

    def _lap(self, seen: Iterations, before: ByLane, after: ByLane) -> None:
        """Share the block's time between warmup and draws by their leapfrogs."""
        number = before[..., None] + np.arange(seen.n_steps.shape[2])
        leapfrogs = np.where(number < after[..., None], seen.n_steps, 0)
        total = leapfrogs.sum()
        warm = leapfrogs[number < self.n_warmup].sum()
        share = float(warm / total) if total else float((after < self.n_warmup).any())
        self.clock.lap(warmup=share, sampling=1 - share)

    # ---- chains that stall

    def _judge_stalls(self, fits: ByFit) -> None:
        """Restart chains that stalled in warmup, or end their fit.

        Looked for where all chains of a fit have ended another window, and judged by those windows
        alone: what is done does not depend on how steps are cut into blocks.
        """
        for fit in self.progress.with_new_window(fits, self.tally.n_windows_ended()).tolist():
            by_window = self.tally.leapfrogs_by_window(fit)
            if self.options.stops_stalled:
                if one := stopped_by_stall(fit, by_window, self.stops):
                    self.progress.stop(one)
            elif found := self.progress.to_restart(fit, by_window):
                for chain in found[1]:
                    self._restart(fit, chain, found[0], by_window[:, chain])

    def _restart(
        self, fit: int, chain: int, window: int, by_window: Float[np.ndarray, " window"]
    ) -> None:
        stops = np.array(self.stops[: window + 1])
        leapfrogs = by_window[: window + 1] @ np.diff(stops, prepend=0)
        times = self.progress.discard(
            Discarded(fit, chain, int(stops[-1]), round(float(leapfrogs)))
        )
        n_chains = len(self.progress.limits[fit])
        key = _key_of_restart(self.keys[fit], n_chains, np.int32(chain), np.int32(times))
        assert self.options.restart is not None
        found = self.options.restart(fit, chain, times)
        # The other chains only fill the shape that is compiled for.
        z = {name: np.stack([values] * n_chains) for name, values in found.items()}
        values, slopes = self._evaluate(fit, z)
        one = lambda x: x[None, :1]  # noqa: E731
        begin = jax.tree.map(lambda x: x[fit : fit + 1, chain : chain + 1], self.begin)
        begun = self.placing.chains(key[None, None], begin, *jax.tree.map(one, (z, values, slopes)))
        place = np.int32(self._place(fit))
        state = _put_chain(self.batch.state, place, np.int32(chain), begun)
        self.batch = self.batch._replace(state=state)
        self.log.discard(fit, chain)
        self.tally.forget(fit, chain)

    def _place(self, fit: int) -> int:
        return int(np.flatnonzero(self.batch.fits == fit)[0])

    # ---- fits that end

    def _end_fits(self, running: ByFit) -> None:
        """Let fits rest that have their draws, or may not go on, and give their places to those that wait."""
        leapfrogs = np.asarray(self.batch.state.lane.leapfrogs)
        for fit in running.tolist():
            place = self._place(fit)
            if self.progress.live[fit]:
                suffices = functools.partial(self._suffices, fit)
                self.progress.judge(fit, self.log.done[fit], leapfrogs[place], suffices)
            if self.progress.live[fit]:
                continue
            metrics = np.asarray(self.batch.state.adaptation.metrics)[place, :, : len(self.stops)]
            self.ended[fit] = EndedFit(metrics, self._reduced(place))
            if len(self.waiting):
                self.batch = self.batch.with_fit(place, self._begun(self.waiting[:1]))
                self.waiting = self.waiting[1:]

    def _suffices(self, fit: int) -> bool:
        return self.options.enough(fit, self.plan.flow.sites(self.log.joined(fit).z))

    def _reduced(self, place: int) -> Reduced | None:
        state = self.batch.state
        if state.streamed is None:
            return None
        streamed = jax.tree.map(lambda x: np.asarray(x)[place], state.streamed)
        return self.plan.flow.finish(streamed, np.asarray(state.lane.tree.candidate.z)[place])

    def shrink(self) -> None:
        """Go on with the power of two that holds the fits that still run, if that is worth it."""
        fits = self.batch.fits
        live = np.flatnonzero(self.progress.live[fits])
        size = 1 << (len(live) - 1).bit_length() if len(live) else 0
        if 0 < size <= len(fits) // 2 and self._saved_by(size) > COMPILE_NUMBERS:
            resting = np.flatnonzero(~self.progress.live[fits])[: size - len(live)]
            self.batch = self.batch.only(np.concatenate([live, resting]))

    def _saved_by(self, size: int) -> float:
        """Numbers that need not be worked through with so many fits; no clock has a part in it."""
        fits = self.batch.fits
        each = sum(values.size for values in self.batch.arrays.values()) / len(fits)
        n_chains, d = self.batch.state.lane.front.z.shape[1:]
        running = fits[self.progress.live[fits]].tolist()
        steps = max(self.log.steps_to(fit, int(self.progress.totals[fit])) for fit in running)
        return (len(fits) - size) * n_chains * (each + LANE_VECTORS * d) * steps

    # ---- saved and resumed

    def _state(self) -> RunState:
        return RunState(
            self.batch.fits,
            self.waiting,
            self.batch.state,
            self.progress,
            self.tally,
            self.ended,
            self.clock.wall,
            self.clock.cpu,
            self.useful,
            self.stepped,
        )

    def snapshot(self) -> Snapshot:
        """Give what this run goes on from, and its iterations since the last snapshot."""
        return Snapshot(to_arrays(self._state()), to_arrays(self.log.news()))

    def resume(self, saved: SavedRun) -> None:
        """Go on where a run with the same arguments was saved."""
        one = EndedFit(np.zeros(0), self.plan.flow.reduced_like())
        has_ended = np.flatnonzero(~saved.state["progress:live"]).tolist()
        like = self._state()._replace(ended=dict.fromkeys(has_ended, one))
        state = from_arrays(saved.state, like)
        lanes = jax.device_put(state.lanes)
        self.batch = ActiveFits(state.fits, lanes, self._arrays_of(state.fits))
        self.waiting, self.progress, self.tally = state.waiting, state.progress, state.tally
        self.ended, self.useful, self.stepped = state.ended, state.useful, state.stepped
        self.clock.add(state.seconds, state.cpu_seconds)
        for news in saved.news:
            if news:
                self.log.restore(from_arrays(news, NO_NEWS))

    # ---- what it gives

    def result(self) -> Draws:
        """Give all draws and what was seen of every iteration."""
        flow, stopped = self.plan.flow, self.progress.stopped
        empty = lane_state.nothing(len(flow.places), self.batch.state.lane.front.z.dtype)
        for one in stopped:
            self.log.cut(one.fit, min(one.iterations), empty)
        fits = range(len(self.progress.live))
        joined = [self.log.joined(fit) for fit in fits]
        return Draws(
            [flow.sites(fit.z) for fit in joined],
            [fit._replace(z=None) for fit in joined],
            self._windows(joined),
            self.clock.wall,
            self.clock.cpu,
            self.useful / self.stepped,
            self.progress.discarded,
            stopped,
            [one for fit in fits if (one := self.ended[fit].reduced) is not None] or None,
        )

    def _windows(self, joined: list[Iterations]) -> list[Window]:
        metrics = np.stack([self.ended[fit].metrics for fit in range(len(joined))])
        stops = self.stops
        return [
            Window(
                stop,
                np.stack([_within(fit.step_size, start, stop)[..., -1] for fit in joined]),
                np.stack(
                    [_within(fit.acceptance_rate, start, stop).mean(axis=1) for fit in joined]
                ),
                np.where(
                    [[[fit.step_size.shape[1] >= stop]] for fit in joined],
                    metrics[:, :, number],
                    np.nan,
                ),
            )
            for number, (start, stop) in enumerate(zip((0, *stops), stops, strict=False))
        ]


def _rows(fits: ByFit) -> Any:
    """Rows of some fits; of one fit as a slice, which copies nothing."""
    return slice(fits[0], fits[0] + 1) if len(fits) == 1 else fits


def _no_adaptation(n_fits: int, n_chains: int, flow: Flow, dtype: Any) -> InitialAdaptation:
    """Begin warmup with step size 1 and no metric; one number each, which is broadcast."""
    shape = (n_fits, n_chains)
    one, d = np.ones((), dtype), sum(int(np.prod(shape)) for shape in flow.shapes.values())
    return InitialAdaptation(*(np.broadcast_to(one, s) for s in (shape, shape, (*shape, d))))


def _within(
    values: Float[np.ndarray, "chain iteration"], start: int, stop: int
) -> Float[np.ndarray, "chain _"]:
    """Cut some iterations out of `(chain, iteration)`; NaN where a fit ended before."""
    if values.shape[1] < stop:
        return np.full((len(values), stop - start), np.nan, values.dtype)
    return values[:, start:stop]


def sample_lanes(
    potential: Potential,
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: Settings,
    *,
    key: UInt32[Array | np.ndarray, "fit 2"],
    on_block: Callable[[list[Progress]], None] = lambda reports: None,
    keep: Callable[[Callable[[], Snapshot]], None] = lambda take: None,
    saved: SavedRun | None = None,
    **options: Any,
) -> Draws:
    """Sample all chains of all fits of one shape, a leapfrog of each at a time.

    A fit that ends makes room for one that waits. Where none waits and no more than half still run, it
    goes on with half of the places if what that saves is worth another compilation.

    Parameters
    ----------
    potential
        `arrays -> (z -> potential energy)` of one fit.
    arrays
        Data, `(fit, ...)`.
    starts
        Unconstrained sites, `(fit, chain, ...)`.
    key
        `(fit, 2)` one key per fit, split among its chains.
    on_block
        Called after every block, with the fits that ran in it.
    keep
        Called after every block with a function that takes a snapshot.
    saved
        Of a run with the same arguments: it goes on from there, and ends with the same bits.
    **options
        `draws`, and the others of `LaneOptions`.
    """
    engine = LaneEngine(potential, arrays, starts, settings, key, LaneOptions(**options))
    if saved is not None:
        engine.resume(saved)
    while engine.progress.live.any():
        on_block(engine.block())
        engine.shrink()
        keep(engine.snapshot)
    return engine.result()
