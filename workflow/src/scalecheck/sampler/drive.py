"""Drive the lanes of a batch of fits, block by block: what ends makes room for what waits."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from scalecheck.sampler import blocks
from scalecheck.sampler.adaptation import plan_warmup
from scalecheck.sampler.blocks import Plan, State
from scalecheck.sampler.history import History
from scalecheck.sampler.metric import lay_out
from scalecheck.sampler.nuts import Iterations, Potential, Settings
from scalecheck.sampler.run import Clock, Draws, Elapsed, Progress, Window
from scalecheck.sampler.schedule import Block

NDArray = np.ndarray

# Steps of the loop between two looks of the host, at most and at first; and what they should take: a
# signal to end is answered between two blocks.
STEPS, FIRST_STEPS, SECONDS = 1000, 16, 2.0

# Going on with fewer fits takes another program, whose compilation takes as long as so many numbers are
# worked through: 5 s at 3e9 numbers a second (64 lanes of a logistic regression on one core).
COMPILE_NUMBERS = 1.5e10
LANE_VECTORS = 50  # that a step reads or writes besides the data

# Iterations of a lane that a block has room for: what they hold is written once, and copied once.
MOST_ROOM, LEAST_ROOM, NUMBERS = 64, 4, 2**24


class Batch(NamedTuple):
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

    def with_fit(self, place: int, other: "Batch") -> "Batch":
        """Put a fit, a batch of its own, in a place."""
        put = lambda x, new: x.at[place].set(new[0])  # noqa: E731
        fits = self.fits.copy()
        fits[place] = other.fits[0]
        state = jax.tree.map(put, self.state, other.state)
        arrays = {name: put(values, other.arrays[name]) for name, values in self.arrays.items()}
        return Batch(fits, state, arrays)

    def only(self, chosen: NDArray) -> "Batch":
        """Take the fits at `(fit,)` places."""
        take = lambda x: x[chosen]  # noqa: E731
        return Batch(
            self.fits[chosen],
            jax.tree.map(take, self.state),
            {name: values[chosen] for name, values in self.arrays.items()},
        )


class Snapshot(NamedTuple):
    """A run between two blocks.

    Attributes
    ----------
    state
        All that it goes on from, but for its history.
    news
        Its history since the last snapshot.
    """

    state: dict[str, NDArray]
    news: dict[str, NDArray]


class Saved(NamedTuple):
    """A run to be resumed: the state of its last snapshot, and the news of all."""

    state: Mapping[str, NDArray]
    news: Sequence[Mapping[str, NDArray]]


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
    on_block: Callable[[Progress], None] = lambda progress: None,
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
        Fit and its draws `(chain, draw, ...)` -> whether they suffice.
    steps
        Steps of the loop between two looks of the host, at most.
    slots
        Fits that run at once; None for all.
    on_block
        Called after every block.
    keep
        Called after every block with a function that takes a snapshot.
    saved
        Of a run with the same arguments: it goes on from there, and ends with the same bits.
    """
    run = _Run(
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
    )
    if saved is not None:
        run.resume(saved)
    while run.live.any():
        run.block(on_block)
        run.shrink()
        keep(run.snapshot)
    return run.result()


class _Run:
    """The state of one call of `sample_lanes`."""

    def __init__(
        self, potential: Potential, arrays: Any, starts: Any, settings: Settings, key: jax.Array,
        draws: int, most_draws: int, enough: Callable[[int, dict[str, NDArray]], bool], steps: int,
        slots: int | None,
    ) -> None:  # fmt: skip
        first = {name: values[0, 0] for name, values in starts.items()}
        flat, self.unravel = ravel_pytree(first)
        n_fits, n_chains = next(iter(starts.values())).shape[:2]
        room = int(np.clip(NUMBERS // (n_fits * n_chains * len(flat)), LEAST_ROOM, MOST_ROOM))
        self.plan = Plan(
            potential, self.unravel, settings, lay_out(first, settings.dense),
            plan_warmup(settings), room, steps,
        )  # fmt: skip
        self.draws, self.most_draws, self.enough = draws, most_draws, enough
        self.totals = np.full(n_fits, settings.warmup + draws, "int32")
        self.live = np.ones(n_fits, bool)
        self.most_steps = FIRST_STEPS
        self.history = History(n_fits, n_chains, settings.warmup)
        self.metrics: list[Any] = [None] * n_fits
        self.programs: dict[int, Any] = {}
        self.useful = self.stepped = 0
        self.clock = Clock()
        keys = jax.vmap(lambda one: jax.random.split(one, n_chains))(key)
        arrays = {name: jnp.asarray(values) for name, values in arrays.items()}
        place = jax.jit(lambda *parts: blocks.init(self.plan, *parts))
        self.begun = Batch(np.arange(n_fits), place(keys, starts, arrays), arrays)
        n_slots = min(n_fits, slots or n_fits)
        self.batch, self.waiting = self.begun.only(np.arange(n_slots)), np.arange(n_slots, n_fits)
        self.clock.lap(compile=1.0)

    def block(self, on_block: Callable[[Progress], None]) -> None:
        """Run one block, and keep what it did."""
        program, began, batch = self._program(), time.perf_counter(), self.batch
        before = self.history.done[batch.fits]
        totals = np.where(self.live[batch.fits], self.totals[batch.fits], 0).astype("int32")
        carry = program(batch.state, totals, np.int32(self.most_steps), batch.arrays)
        self.batch = batch._replace(state=carry.state)
        seen = blocks.unpack(np.asarray(carry.seen))
        after = np.asarray(carry.state.lane.iteration)
        self._append(seen, before, after)
        self.useful += int(carry.n_useful)
        self.stepped += int(carry.n_steps) * after.size
        running = batch.fits[self.live[batch.fits]]
        self._end_fits(running)
        share = self._lap(seen, before, after)
        seconds = time.perf_counter() - began
        pace = int(carry.n_steps) * SECONDS / max(seconds, 1e-9)
        self.most_steps = int(np.clip(pace, 1, min(4 * self.most_steps, self.plan.steps)))
        on_block(self._progress(running, seen, before, after, share, seconds))

    def _program(self) -> Any:
        """Compile for as many fits as still run: once per number, also across processes by JAX's cache."""
        batch, n_fits = self.batch, len(self.batch.fits)
        if n_fits not in self.programs:
            totals = np.zeros(n_fits, "int32")
            advance = jax.jit(lambda *parts: blocks.advance(self.plan, *parts))
            lowered = advance.lower(batch.state, totals, np.int32(1), batch.arrays)
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
        """Let fits rest that have their draws, unless they need more."""
        for fit in running:
            total = int(self.totals[fit])
            if (self.history.done[fit] < total).any():
                continue
            more = total - self.plan.settings.warmup + self.draws <= self.most_draws
            if more and not self.enough(int(fit), self._sites(self.history.joined(int(fit)).z)):
                self.totals[fit] += self.draws
                continue
            self.live[fit] = False
            place = int(np.flatnonzero(self.batch.fits == fit)[0])
            self.metrics[fit] = np.asarray(self.batch.state.adaptation.metrics[place])
            if len(self.waiting):
                self.batch = self.batch.with_fit(place, self.begun.only(self.waiting[:1]))
                self.waiting = self.waiting[1:]

    def shrink(self) -> None:
        """Go on with the power of two that holds the fits that still run, if that is worth it."""
        fits = self.batch.fits
        live = np.flatnonzero(self.live[fits])
        size = 1 << (len(live) - 1).bit_length() if len(live) else 0
        if 0 < size <= len(fits) // 2 and self._saved_by(size) > COMPILE_NUMBERS:
            resting = np.flatnonzero(~self.live[fits])[: size - len(live)]
            self.batch = self.batch.only(np.concatenate([live, resting]))

    def _saved_by(self, size: int) -> float:
        """Numbers that need not be worked through with so many fits; no clock has a part in it."""
        fits = self.batch.fits
        each = sum(values[0].size for values in jax.tree.leaves(self.batch.arrays))
        n_chains, d = self.batch.state.lane.front.z.shape[1:]
        running = fits[self.live[fits]].tolist()
        steps = max(self.history.steps_to(fit, int(self.totals[fit])) for fit in running)
        return (len(fits) - size) * n_chains * (each + LANE_VECTORS * d) * steps

    def _lap(self, seen: Iterations, before: NDArray, after: NDArray) -> float:
        """Share the block's time between warmup and draws by their leapfrogs; give the share of warmup."""
        number = before[..., None] + np.arange(seen.n_steps.shape[2])
        leapfrogs = np.where(number < after[..., None], seen.n_steps, 0)
        total = leapfrogs.sum()
        warm = leapfrogs[number < self.plan.settings.warmup].sum()
        share = float(warm / total) if total else float((after < self.plan.settings.warmup).any())
        self.clock.lap(warmup=share, sampling=1 - share)
        return share

    def _progress(
        self, running: NDArray, seen: Iterations, before: NDArray, after: NDArray, share: float,
        seconds: float,
    ) -> Progress:  # fmt: skip
        ended = after - before
        done = self.history.done[running]
        left = int((self.totals[running, None] - done).sum())
        number = np.arange(seen.n_steps.shape[2]) < ended[..., None]
        n_steps = seen.n_steps[number]
        divergences = int(self.history.divergences[running].sum())
        block = Block(int(before.min()), int(done.min()), None, share > 0)
        return Progress(
            [int(fit) for fit in running],
            block,
            int(self.totals[running].max()),
            float(np.asarray(self.batch.state.lane.step_size).mean()),
            float(n_steps.mean()) if len(n_steps) else float("nan"),
            divergences,
            seconds / max(1, int(ended.sum())) * left,
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
            "totals": self.totals,
            "live": self.live,
            "waiting": self.waiting,
            "counts": np.array([self.useful, self.stepped]),
            "seconds": np.array(spent),
        }
        return Snapshot({**state, **leaves, **metrics}, self.history.news())

    def resume(self, saved: Saved) -> None:
        """Go on where a run with the same arguments was saved."""
        state = saved.state
        structure = jax.tree.structure(self.batch.state)
        leaves = [jnp.asarray(state[f"lane-{i}"]) for i in range(structure.num_leaves)]
        chosen, self.waiting = self.begun.only(state["fits"]), state["waiting"]
        self.batch = chosen._replace(state=jax.tree.unflatten(structure, leaves))
        self.totals, self.live = state["totals"].copy(), state["live"].copy()
        self.useful, self.stepped = map(int, state["counts"])
        self.metrics = [state.get(f"metric-{i}") for i in range(len(self.metrics))]
        self.clock.add(
            *(dict(zip(Elapsed._fields, spent, strict=True)) for spent in state["seconds"])
        )
        for news in saved.news:
            self.history.restore(news)

    def _sites(self, z: NDArray) -> dict[str, NDArray]:
        each = jax.vmap(jax.vmap(self.unravel))
        return {name: np.asarray(values) for name, values in each(jnp.asarray(z)).items()}

    def result(self) -> Draws:
        """Give all draws and what was seen of every iteration."""
        joined = [self.history.joined(fit) for fit in range(len(self.live))]
        return Draws(
            [self._sites(fit.z) for fit in joined],
            [fit._replace(z=None) for fit in joined],
            self._windows(joined),
            Elapsed(**self.clock.wall),
            Elapsed(**self.clock.cpu),
            self.useful / self.stepped,
        )

    def _windows(self, joined: list[Iterations]) -> list[Window]:
        found, start = [], 0
        for number, stop in enumerate(self.plan.warmup.stops):
            found.append(
                Window(
                    stop,
                    np.stack([fit.step_size[:, stop - 1] for fit in joined]),
                    np.stack([fit.acceptance_rate[:, start:stop].mean(axis=1) for fit in joined]),
                    np.stack([metrics[:, number] for metrics in self.metrics]),
                )
            )
            start = stop
        return found
