"""Drive the lanes of a batch of fits, block by block, in ever smaller batches."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from scalecheck.sampler import blocks
from scalecheck.sampler.adaptation import plan_warmup
from scalecheck.sampler.blocks import Plan, State
from scalecheck.sampler.metric import lay_out
from scalecheck.sampler.nuts import Iterations, Potential, Settings
from scalecheck.sampler.progress import Progress, Tally
from scalecheck.sampler.run import Clock, Draws, Elapsed, Window

NDArray = np.ndarray

# Steps of the loop between two looks of the host, unless a lane runs out of room before.
STEPS = 1000

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

    def only(self, chosen: NDArray) -> "Batch":
        """Take the fits at `(fit,)` places."""
        take = lambda x: x[chosen]  # noqa: E731
        return Batch(
            self.fits[chosen],
            jax.tree.map(take, self.state),
            {name: values[chosen] for name, values in self.arrays.items()},
        )


class History:
    """What the chains of a fit did so far, to which blocks are appended."""

    def __init__(self, n_chains: int, warmup: int) -> None:
        self.warmup = warmup
        self.chains: list[list[Iterations]] = [[] for _ in range(n_chains)]
        self.done = np.zeros(n_chains, int)

    def append(self, chain: int, seen: Iterations) -> None:
        """Add iterations `(n, ...)` of a chain; positions only where they are draws."""
        n_warmup = int(np.clip(self.warmup - self.done[chain], 0, len(seen.n_steps)))
        self.done[chain] += len(seen.n_steps)
        # Copies, or each would keep the whole block in memory.
        kept = seen._replace(z=seen.z[n_warmup:])
        self.chains[chain].append(jax.tree.map(np.copy, kept))

    def joined(self) -> Iterations:
        """All iterations `(chain, iteration)`, and draws `(chain, draw, d)`."""
        chains = [
            jax.tree.map(lambda *parts: np.concatenate(parts), *parts) for parts in self.chains
        ]
        return jax.tree.map(lambda *parts: np.stack(parts), *chains)


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
    on_block: Callable[[list[Progress]], None] = lambda told: None,
) -> Draws:
    """Sample all chains of all fits of one shape, a leapfrog of each at a time.

    Where no more than half of the fits still run, it goes on with half of them: fewer lanes step
    faster, though every halving is a program of its own.

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
        Steps of the loop between two looks of the host.
    on_block
        Called after every block, with the fits that ran in it.
    """
    run = _Run(potential, dict(arrays), dict(starts), settings, key, draws, most_draws, enough)
    while run.live.any():
        run.block(steps, on_block)
        run.shrink()
    return run.result()


class _Run:
    """The state of one call of `sample_lanes`."""

    def __init__(
        self, potential: Potential, arrays: Any, starts: Any, settings: Settings, key: jax.Array,
        draws: int, most_draws: int, enough: Callable[[int, dict[str, NDArray]], bool],
    ) -> None:  # fmt: skip
        first = {name: values[0, 0] for name, values in starts.items()}
        flat, self.unravel = ravel_pytree(first)
        n_fits, n_chains = next(iter(starts.values())).shape[:2]
        room = int(np.clip(NUMBERS // (n_fits * n_chains * len(flat)), LEAST_ROOM, MOST_ROOM))
        self.plan = Plan(
            potential, self.unravel, settings, lay_out(first, settings.dense),
            plan_warmup(settings), room,
        )  # fmt: skip
        self.draws, self.most_draws, self.enough = draws, most_draws, enough
        self.totals = np.full(n_fits, settings.warmup + draws, "int32")
        self.live = np.ones(n_fits, bool)
        self.histories = [History(n_chains, settings.warmup) for _ in range(n_fits)]
        self.tally = Tally(settings, n_fits, n_chains)
        self.metrics: list[Any] = [None] * n_fits
        self.programs: dict[int, Any] = {}
        self.useful = self.stepped = 0
        self.clock = Clock()
        keys = jax.vmap(lambda one: jax.random.split(one, n_chains))(key)
        arrays = {name: jnp.asarray(values) for name, values in arrays.items()}
        place = jax.jit(lambda *parts: blocks.init(self.plan, *parts))
        self.batch = Batch(np.arange(n_fits), place(keys, starts, arrays), arrays)
        self.clock.lap(compile=1.0)

    def block(self, steps: int, on_block: Callable[[list[Progress]], None]) -> None:
        """Run one block, and keep what it did."""
        began, batch = time.perf_counter(), self.batch
        before = np.array([self.histories[fit].done for fit in batch.fits])
        totals = np.where(self.live[batch.fits], self.totals[batch.fits], 0).astype("int32")
        carry = self._program()(batch.state, totals, np.int32(steps), batch.arrays)
        self.batch = batch._replace(state=carry.state)
        seen = blocks.unpack(np.asarray(carry.seen))
        after = np.asarray(carry.state.lane.iteration)
        self._append(seen, before, after)
        self.useful += int(carry.n_useful)
        self.stepped += int(carry.n_steps) * after.size
        running = batch.fits[self.live[batch.fits]]
        self._tally(seen, after - before, time.perf_counter() - began)
        self._end_fits(running)
        self._lap(seen, before, after)
        on_block(self.tally.tell(running, self.totals))

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
                    self.histories[fit].append(chain, own)

    def _end_fits(self, running: NDArray) -> None:
        """Let fits rest that have their draws, unless they need more."""
        for fit in running:
            history, total = self.histories[fit], int(self.totals[fit])
            if (history.done < total).any():
                continue
            more = total - self.plan.settings.warmup + self.draws <= self.most_draws
            if more and not self.enough(int(fit), self._sites(history.joined().z)):
                self.totals[fit] += self.draws
                continue
            self.live[fit] = False
            place = int(np.flatnonzero(self.batch.fits == fit)[0])
            self.metrics[fit] = np.asarray(self.batch.state.adaptation.metrics[place])

    def shrink(self) -> None:
        """Go on with the power of two that holds the fits that still run."""
        fits = self.batch.fits
        live = np.flatnonzero(self.live[fits])
        size = 1 << (len(live) - 1).bit_length() if len(live) else 0
        if 0 < size <= len(fits) // 2:
            resting = np.flatnonzero(~self.live[fits])[: size - len(live)]
            self.batch = self.batch.only(np.concatenate([live, resting]))

    def _lap(self, seen: Iterations, before: NDArray, after: NDArray) -> None:
        """Share the block's time between warmup and draws by their leapfrogs."""
        number = before[..., None] + np.arange(seen.n_steps.shape[2])
        leapfrogs = np.where(number < after[..., None], seen.n_steps, 0)
        total = leapfrogs.sum()
        warm = leapfrogs[number < self.plan.settings.warmup].sum()
        share = float(warm / total) if total else float((after < self.plan.settings.warmup).any())
        self.clock.lap(warmup=share, sampling=1 - share)

    def _tally(self, seen: Iterations, ended: NDArray, seconds: float) -> None:
        places = np.flatnonzero(self.live[self.batch.fits])
        metrics = self.batch.state.adaptation.metrics
        self.tally.add(
            self.batch.fits[places],
            jax.tree.map(lambda x: x[places], seen._replace(z=None)),
            ended[places],
            seconds,
            lambda i, chain, window: np.asarray(metrics[places[i], chain, window]),
        )

    def _sites(self, z: NDArray) -> dict[str, NDArray]:
        each = jax.vmap(jax.vmap(self.unravel))
        return {name: np.asarray(values) for name, values in each(jnp.asarray(z)).items()}

    def result(self) -> Draws:
        """Give all draws and what was seen of every iteration."""
        joined = [history.joined() for history in self.histories]
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
