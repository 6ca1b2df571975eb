"""Sample a batch of fits, a leapfrog of every chain at a time: what ends makes room for what waits."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck.sampler import block_program, lane_state
from scalecheck.sampler.block_program import Begin, State
from scalecheck.sampler.draws import Clock, Discarded, Draws, Elapsed, Window
from scalecheck.sampler.early_stop import stopped_by_stall, within
from scalecheck.sampler.footprint import plan_of
from scalecheck.sampler.iteration_log import History
from scalecheck.sampler.progress import Progress, Tally
from scalecheck.sampler.snapshot import Saved, Snapshot
from scalecheck.sampler.stopping import FitProgress
from scalecheck.sampler.streamed_draws import Streams, as_arrays, from_arrays
from scalecheck.sampler.types import Iterations, Potential, Settings

NDArray = np.ndarray


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

    fits: NDArray
    state: State
    arrays: dict[str, jax.Array]

    def with_fit(self, place: int, others: "ActiveFits", number: int) -> "ActiveFits":
        """Put one of other fits in a place."""
        fits = self.fits.copy()
        fits[place] = others.fits[number]
        return ActiveFits(fits, *_put(self[1:], place, others[1:], number))

    def only(self, chosen: NDArray) -> "ActiveFits":
        """Take the fits at `(fit,)` places; of all of them nothing is copied."""
        if np.array_equal(chosen, np.arange(len(self.fits))):
            return self
        take = lambda x: x[chosen]  # noqa: E731
        return ActiveFits(
            self.fits[chosen],
            jax.tree.map(take, self.state),
            {name: values[chosen] for name, values in self.arrays.items()},
        )


@jax.jit
def _put(parts: Any, place: Any, others: Any, number: Any) -> Any:
    """One program: a call for each of the many parts of a lane would take longer than a block of a small fit."""
    return jax.tree.map(lambda x, new: x.at[place].set(new[number]), parts, others)


# Steps of the loop between two looks of the host, at most and at first; and what they should take: a
# signal to end is answered between two blocks.
STEPS, FIRST_STEPS, SECONDS = 1000, 16, 2.0

# Going on with fewer fits takes another program, whose compilation takes as long as so many numbers are
# worked through: 5 s at 1e9 numbers a second (40 lanes with 165 centred intercepts on one core; twice
# as many of a logistic regression).
COMPILE_NUMBERS = 5e9
LANE_VECTORS = 50  # that a step reads or writes besides the data

# Fit, chain and how many times it was begun anew -> its start by site, `(...)` each.
Anew = Callable[[int, int, int], dict[str, Any]]


class LaneEngine:
    """The state of one call of `sample_lanes`."""

    def __init__(
        self,
        potential: Potential,
        arrays: Any,
        starts: Any,
        settings: Settings,
        key: jax.Array,
        draws: int,
        most_draws: int,
        enough: Callable[[int, dict[str, NDArray]], bool],
        steps: int,
        slots: int | None,
        anew: Anew | None,
        stops_stalled: bool,
        most_gradients: int | None,
        streams: Streams | None,
    ) -> None:
        n_fits, n_chains = next(iter(starts.values())).shape[:2]
        self.plan = plan_of(potential, arrays, starts, settings, steps, streams)
        self.flow = self.plan.flow
        self.enough, self.anew, self.stops_stalled = enough, anew, stops_stalled
        self.ends = FitProgress(
            n_fits, n_chains, settings.warmup, draws, most_draws, most_gradients
        )
        self.most_steps = FIRST_STEPS
        self.history = History(n_fits, n_chains, settings.warmup)
        self.tally = Tally(settings, n_fits, n_chains)
        self.metrics: list[Any] = [None] * n_fits
        self.reduced: list[Any] = [None] * n_fits  # of fits that are done
        self.programs: dict[int, Any] = {}
        self.useful = self.stepped = 0
        self.clock = Clock()
        self.keys = jax.vmap(lambda one: jax.random.split(one, n_chains))(key)
        arrays = {name: jnp.asarray(values) for name, values in arrays.items()}
        self.place = jax.jit(functools.partial(block_program.init, self.plan))
        self.begun = ActiveFits(np.arange(n_fits), self.place(self.keys, starts, arrays), arrays)
        n_slots = min(n_fits, slots or n_fits)
        self.batch, self.waiting = self.begun.only(np.arange(n_slots)), np.arange(n_slots, n_fits)
        self.clock.lap(compile=1.0)

    def begin_with(self, begin: block_program.Begin) -> None:
        """Begin warmup with step sizes and metrics that are known."""
        state = block_program.begin_with(self.plan, self.begun.state, begin)
        self.begun = self.begun._replace(state=state)
        self.batch = self.begun.only(self.batch.fits)

    def _judge_stalls(self, fits: NDArray) -> None:
        """Begin chains anew that stalled in warmup, or end their fit.

        Looked for where all chains of a fit have ended another window, and judged by those windows
        alone: what is done does not depend on how steps are cut into blocks.
        """
        for fit in self.ends.with_new_window(fits, self.tally.n_windows_ended()).tolist():
            by_window = self.tally.leapfrogs_by_window(fit)
            if self.stops_stalled:
                if one := stopped_by_stall(fit, by_window, self.plan.warmup.stops):
                    self.ends.stop(one)
            elif found := self.ends.to_begin_anew(fit, by_window):
                for chain in found[1]:
                    self._restart(fit, chain, found[0], by_window[:, chain])

    def _restart(self, fit: int, chain: int, window: int, by_window: NDArray) -> None:
        stops = np.array(self.plan.warmup.stops[: window + 1])
        leapfrogs = by_window[: window + 1] @ np.diff(stops, prepend=0)
        times = self.ends.discard(Discarded(fit, chain, int(stops[-1]), round(float(leapfrogs))))
        place = self._place(fit)
        own = self.batch.only(np.array([place]))
        key = jax.random.fold_in(self.keys[fit, chain], times)
        assert self.anew is not None
        start = jax.tree.map(lambda x: jnp.asarray(x)[None, None], self.anew(fit, chain, times))
        begun = self.place(key[None, None], start, own.arrays)
        put = lambda x, new: x.at[place, chain].set(new[0, 0])  # noqa: E731
        self.batch = self.batch._replace(state=jax.tree.map(put, self.batch.state, begun))
        self.history.discard(fit, chain)
        self.tally.forget(fit, chain)

    def block(self, on_block: Callable[[list[Progress]], None]) -> None:
        """Run one block, and keep what it did."""
        if not len(self.waiting):
            self.begun = self.begun._replace(state=None)  # nobody begins there any more
        program, began, batch = self._program(), time.perf_counter(), self.batch
        before = self.history.done[batch.fits]
        totals = np.where(self.ends.live, self.ends.totals, 0)[batch.fits].astype("int32")
        limits, most_steps = self.ends.limits[batch.fits], np.int32(self.most_steps)
        carry = program(batch.state, totals, limits, most_steps, batch.arrays)
        self.batch = batch._replace(state=carry.state)
        seen = lane_state.unpack(np.asarray(carry.seen))
        after = np.asarray(carry.state.lane.iteration)
        self._append(seen, before, after)
        self.useful += int(carry.n_useful)
        self.stepped += int(carry.n_steps) * after.size
        running = batch.fits[self.ends.live[batch.fits]]
        self._tally(seen, after - before, time.perf_counter() - began)
        # Stalls first: a fit may have ended in the very block in which a chain is known to stall.
        if self.anew is not None or self.stops_stalled:
            self._judge_stalls(running)
        self._end_fits(running)
        self._lap(seen, before, after)
        seconds = time.perf_counter() - began
        pace = int(carry.n_steps) * SECONDS / max(seconds, 1e-9)
        self.most_steps = int(np.clip(pace, 1, min(4 * self.most_steps, self.plan.steps)))
        on_block(self.tally.tell(running, self.ends.totals))

    def _program(self) -> Any:
        """Compile for as many fits as still run: once per number, also across processes by JAX's cache."""
        batch, n_fits = self.batch, len(self.batch.fits)
        if n_fits not in self.programs:
            totals = np.zeros(n_fits, "int32")
            advance = jax.jit(functools.partial(block_program.advance, self.plan))
            limits = self.ends.limits[batch.fits]
            lowered = advance.lower(batch.state, totals, limits, np.int32(1), batch.arrays)
            self.programs[n_fits] = lowered.compile()
            self.clock.lap(compile=1.0)
        return self.programs[n_fits]

    def _append(self, seen: Iterations, before: NDArray, after: NDArray) -> None:
        for i, fit in enumerate(self.batch.fits):
            for chain, n in enumerate(after[i] - before[i]):
                if n:
                    own = jax.tree.map(lambda x, i=i, c=chain, n=n: x[i, c, :n], seen)
                    self.history.append(int(fit), chain, own)

    def _end_fits(self, running: NDArray) -> None:
        """Let fits rest that have their draws, or may not go on, and give their places to those that wait."""
        leapfrogs = np.asarray(self.batch.state.lane.leapfrogs)
        for fit in running.tolist():
            place = self._place(fit)
            if self.ends.live[fit]:
                suffices = functools.partial(self._suffices, fit)
                self.ends.judge(fit, self.history.done[fit], leapfrogs[place], suffices)
            if self.ends.live[fit]:
                continue
            self.metrics[fit] = np.asarray(self.batch.state.adaptation.metrics[place])
            self._reduce(fit, place)
            if len(self.waiting):
                self.batch = self.batch.with_fit(place, self.begun, int(self.waiting[0]))
                self.waiting = self.waiting[1:]

    def _suffices(self, fit: int) -> bool:
        return self.enough(fit, self.flow.sites(self.history.joined(fit).z))

    def _place(self, fit: int) -> int:
        return int(np.flatnonzero(self.batch.fits == fit)[0])

    def _reduce(self, fit: int, place: int) -> None:
        """Keep what the draws of a fit that is done were reduced to."""
        state = self.batch.state
        if state.streamed is not None:
            streamed = jax.tree.map(lambda x: np.asarray(x[place]), state.streamed)
            last = np.asarray(state.lane.tree.candidate.z[place])
            self.reduced[fit] = self.flow.finish(streamed, last)

    def shrink(self) -> None:
        """Go on with the power of two that holds the fits that still run, if that is worth it."""
        fits = self.batch.fits
        live = np.flatnonzero(self.ends.live[fits])
        size = 1 << (len(live) - 1).bit_length() if len(live) else 0
        if 0 < size <= len(fits) // 2 and self._saved_by(size) > COMPILE_NUMBERS:
            resting = np.flatnonzero(~self.ends.live[fits])[: size - len(live)]
            self.batch = self.batch.only(np.concatenate([live, resting]))

    def _saved_by(self, size: int) -> float:
        """Numbers that need not be worked through with so many fits; no clock has a part in it."""
        fits = self.batch.fits
        each = sum(values.size for values in self.batch.arrays.values()) / len(fits)
        n_chains, d = self.batch.state.lane.front.z.shape[1:]
        running = fits[self.ends.live[fits]].tolist()
        steps = max(self.history.steps_to(fit, int(self.ends.totals[fit])) for fit in running)
        return (len(fits) - size) * n_chains * (each + LANE_VECTORS * d) * steps

    def _lap(self, seen: Iterations, before: NDArray, after: NDArray) -> None:
        """Share the block's time between warmup and draws by their leapfrogs."""
        number = before[..., None] + np.arange(seen.n_steps.shape[2])
        leapfrogs = np.where(number < after[..., None], seen.n_steps, 0)
        total = leapfrogs.sum()
        warm = leapfrogs[number < self.plan.settings.warmup].sum()
        share = float(warm / total) if total else float((after < self.plan.settings.warmup).any())
        self.clock.lap(warmup=share, sampling=1 - share)

    def _tally(self, seen: Iterations, ended: NDArray, seconds: float) -> None:
        places = np.flatnonzero(self.ends.live[self.batch.fits])
        # Most blocks end no window: only then are they copied, and all at once.
        metrics = functools.cache(lambda: np.asarray(self.batch.state.adaptation.metrics))
        self.tally.add(
            self.batch.fits[places],
            jax.tree.map(lambda x: x[places], seen._replace(z=None)),
            ended[places],
            seconds,
            lambda i, chain, window: metrics()[places[i], chain, window],
        )

    def snapshot(self) -> Snapshot:
        """Give what this run goes on from, and what happened since the last snapshot."""
        leaves = {
            f"lane-{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(self.batch.state))
        }
        metrics = {f"metric-{i}": x for i, x in enumerate(self.metrics) if x is not None}
        spent = [
            [clock[name] for name in Elapsed._fields] for clock in (self.clock.wall, self.clock.cpu)
        ]
        state = {
            "fits": self.batch.fits,
            "waiting": self.waiting,
            "counts": np.array([self.useful, self.stepped]),
            "seconds": np.array(spent),
            **self.ends.arrays(),
        }
        told = {f"tally-{name}": values for name, values in self.tally.arrays().items()}
        return Snapshot(
            {**state, **leaves, **metrics, **as_arrays(self.reduced), **told}, self.history.news()
        )

    def resume(self, saved: Saved) -> None:
        """Go on where a run with the same arguments was saved."""
        state = saved.state
        structure = jax.tree.structure(self.batch.state)
        leaves = [jnp.asarray(state[f"lane-{i}"]) for i in range(structure.num_leaves)]
        chosen, self.waiting = self.begun.only(state["fits"]), state["waiting"]
        self.batch = chosen._replace(state=jax.tree.unflatten(structure, leaves))
        self.ends.restore(state)
        self.useful, self.stepped = map(int, state["counts"])
        self.metrics = [state.get(f"metric-{i}") for i in range(len(self.metrics))]
        self.reduced = from_arrays(state, len(self.reduced))
        self.clock.add(
            *(dict(zip(Elapsed._fields, spent, strict=True)) for spent in state["seconds"])
        )
        told = {name[6:]: values for name, values in state.items() if name.startswith("tally-")}
        self.tally.restore(told)
        for news in saved.news:
            self.history.restore(news)

    def result(self) -> Draws:
        """Give all draws and what was seen of every iteration."""
        z = self.batch.state.lane.front.z
        empty = lane_state.nothing(len(self.flow.places), z.dtype)
        for one in self.ends.stopped:
            self.history.cut(one.fit, min(one.iterations), empty)
        joined = [self.history.joined(fit) for fit in range(len(self.ends.live))]
        return Draws(
            [self.flow.sites(fit.z) for fit in joined],
            [fit._replace(z=None) for fit in joined],
            self._windows(joined),
            Elapsed(**self.clock.wall),
            Elapsed(**self.clock.cpu),
            self.useful / self.stepped,
            self.ends.discarded,
            self.ends.stopped,
            None if self.flow.streams is None else self.reduced,
        )

    def _windows(self, joined: list[Iterations]) -> list[Window]:
        metrics = np.stack(self.metrics)
        stops = self.plan.warmup.stops
        return [
            Window(
                stop,
                np.stack([within(fit.step_size, start, stop)[..., -1] for fit in joined]),
                np.stack([within(fit.acceptance_rate, start, stop).mean(axis=1) for fit in joined]),
                np.where(
                    [[[fit.step_size.shape[1] >= stop]] for fit in joined],
                    metrics[:, :, number],
                    np.nan,
                ),
            )
            for number, (start, stop) in enumerate(zip((0, *stops), stops, strict=False))
        ]


def sample_lanes(
    potential: Potential,
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: Settings,
    *,
    key: jax.Array,
    draws: int,
    most_draws: int = 0,
    enough: Callable[[int, dict[str, NDArray]], bool] = lambda fit, z: True,
    steps: int = STEPS,
    slots: int | None = None,
    streams: Streams | None = None,
    begin: Begin | None = None,
    anew: Anew | None = None,
    stops_stalled: bool = False,
    most_gradients: int | None = None,
    on_block: Callable[[list[Progress]], None] = lambda told: None,
    keep: Callable[[Callable[[], Snapshot]], None] = lambda take: None,
    saved: Saved | None = None,
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
    anew
        Fit, chain and a number -> another start of that chain, by site: where a chain stalls in warmup,
        it begins anew there, at most twice. None lets it run.
    stops_stalled
        Whether a fit ends where a chain stalls in warmup; not with `anew`.
    most_gradients
        Leapfrogs that a chain may take, warmup and what was discarded included: its fit ends when all
        chains have their draws or took so many.
    on_block
        Called after every block, with the fits that ran in it.
    keep
        Called after every block with a function that takes a snapshot.
    saved
        Of a run with the same arguments: it goes on from there, and ends with the same bits.
    """
    run = LaneEngine(
        potential,
        dict(arrays),
        dict(starts),
        settings,
        key,
        draws,
        most_draws,
        enough,
        steps,
        slots,
        anew,
        stops_stalled,
        most_gradients,
        streams,
    )
    if begin is not None:
        run.begin_with(begin)
    if saved is not None:
        run.resume(saved)
    while run.ends.live.any():
        run.block(on_block)
        run.shrink()
        keep(run.snapshot)
    return run.result()
