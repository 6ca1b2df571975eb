"""Drive the chains of a batch of fits through warmup and sampling, block by block."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from scalecheck.sampler.nuts import Iterations, Potential, Settings, compile_program
from scalecheck.sampler.progress import Progress, Tally
from scalecheck.sampler.schedule import Block, blocks, continue_blocks
from scalecheck.sampler.streams import Flow, Reduced, Streamed, Streams

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
        One per warmup window.
    seconds, cpu_seconds
        Wall and processor seconds by phase.
    useful
        Share of the leapfrogs computed that moved a chain, where lanes step together; else None.
    discarded
        Chains that were begun anew; what they did is in none of the others.
    reduced
        By fit: what is left of sites that are not held; None where all are.
    """

    z: list[dict[str, NDArray]]
    iterations: list[Iterations]
    windows: list[Window]
    seconds: Elapsed
    cpu_seconds: Elapsed
    useful: float | None = None
    discarded: Sequence[Discarded] = ()
    reduced: Sequence[Reduced] | None = None

    def last(self, number: int) -> dict[str, NDArray]:
        """Where the chains of a fit ended: all latent sites, unconstrained, `(chain, ...)`."""
        if self.reduced is not None:
            return self.reduced[number].last
        return {name: values[:, -1] for name, values in self.z[number].items()}


def sample(
    potential: Potential,
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: Settings,
    *,
    key: jax.Array,
    draws: int,
    most_draws: int = 0,
    enough: Callable[[int, dict[str, NDArray]], bool] = lambda fit, z: True,
    block: int = 50,
    fits_at_once: int | None = None,
    streams: Streams | None = None,
    on_block: Callable[[list[Progress]], None] = lambda told: None,
) -> Draws:
    """Sample all chains of all fits of one shape.

    Parameters
    ----------
    potential
        `arrays -> (z -> potential energy)` of one fit.
    arrays
        Data, `(fit, ...)`.
    starts
        Unconstrained sites, `(fit, chain, ...)`.
    key
        `(fit, 2)` one key per fit, split among its chains as `MCMC.run` does.
    draws
        Draws per chain.
    most_draws
        Draws per chain that a fit gets at most, where `enough` asks for more: `draws` at a time.
    enough
        Fit and its draws that are held `(chain, draw, ...)` -> whether they suffice.
    block
        Iterations between two looks of the host.
    fits_at_once
        Fits that advance together; None for all.
    streams
        Sites whose draws are held, and what of the others is reduced to moments, block by block; None
        holds all.
    on_block
        Called after every block, with the fits that ran in it.
    """
    n_chains = len(next(iter(starts.values()))[0])
    keys = jax.vmap(lambda one: jax.random.split(one, n_chains))(key)
    arrays = {name: jnp.asarray(values) for name, values in arrays.items()}
    clock = Clock()
    program = compile_program(
        potential, settings, keys, dict(starts), arrays, block=block, fits_at_once=fits_at_once
    )
    clock.lap(compile=1.0)
    state = program.init(keys, dict(starts), arrays)
    seen: list[list[Iterations]] = [[] for _ in key]
    windows: list[Window] = []
    stream = _Stream(streams, starts, arrays)
    tally = Tally(settings, len(key), n_chains)
    active, plan = list(range(len(key))), blocks(settings.warmup, draws, block)
    while active:
        for part in plan:
            began = time.perf_counter()
            n_iterations = np.zeros(len(key), "int32")
            n_iterations[active] = part.stop - part.start
            state, found = program.advance(state, arrays, n_iterations)
            if not part.warmup:
                stream.add(found.z, n_iterations)
            found = found._replace(z={name: found.z[name] for name in stream.flow.held})
            for fit in active:
                seen[fit].append(_to_host(found, fit, part))
            if part.window is not None:
                windows.append(_window(state, seen, part, windows))
            clock.lap(**{"warmup" if part.warmup else "sampling": 1.0})
            tally.add(
                active,
                _by_chain(found, active),
                np.full((len(active), n_chains), part.stop - part.start),
                time.perf_counter() - began,
                lambda i, chain, window: windows[window].inverse_mass_matrix[active[i], chain],  # noqa: B023
            )
            on_block(tally.tell(active, np.full(len(key), plan[-1].stop)))
        done = plan[-1].stop
        if done - settings.warmup + draws > most_draws:
            break
        active = [fit for fit in active if not enough(fit, _join(seen[fit])[0])]
        plan = continue_blocks(done, draws, block)
    joined = [_join(part) for part in seen]
    return Draws(
        [z for z, _ in joined],
        [iterations for _, iterations in joined],
        windows,
        Elapsed(**clock.wall),
        Elapsed(**clock.cpu),
        reduced=stream.finish(state.z),
    )


class _Stream:
    """Moments of the fits of a batch, on the device: the draws of a block come to the host as far as they are held."""

    def __init__(
        self, streams: Streams | None, starts: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> None:
        self.arrays = arrays
        first = {name: jnp.asarray(values[0, 0]) for name, values in starts.items()}
        own = {name: values[0] for name, values in arrays.items()}
        self.flow = Flow(streams, first, own)
        n_fits, n_chains = next(iter(starts.values())).shape[:2]
        spread = lambda x: jnp.broadcast_to(x, (n_fits, n_chains, *x.shape))  # noqa: E731
        self.streamed: Streamed | None = jax.tree.map(spread, self.flow.begin(first, own))
        self._fold = jax.jit(self._fold_block)

    def _fold_block(self, streamed: Any, z: Any, n: jax.Array, arrays: Any) -> Any:
        by_chain = jax.tree.map(lambda values: jnp.swapaxes(values, 1, 2), z)
        rows = self._flat(3)(by_chain)
        stop = jnp.broadcast_to(n[:, None], rows.shape[:2])
        return self.flow.fold(streamed, rows, jnp.zeros_like(stop), stop, arrays)

    def _flat(self, n_leading: int) -> Callable[[Any], jax.Array]:
        ravel = lambda z: ravel_pytree(z)[0]  # noqa: E731
        for _ in range(n_leading):
            ravel = jax.vmap(ravel)
        return ravel

    def add(self, z: Any, n: NDArray) -> None:
        """Add a block's first n draws `(fit,)` of sites `(fit, draw, chain, ...)`."""
        if self.streamed is not None:
            self.streamed = self._fold(self.streamed, z, n, self.arrays)

    def finish(self, z: Any) -> list[Reduced] | None:
        """Say what the fits were reduced to whose chains ended at `(fit, chain, ...)`."""
        if self.streamed is None:
            return None
        streamed, last = jax.tree.map(np.asarray, (self.streamed, self._flat(2)(z)))
        return [
            self.flow.finish(jax.tree.map(lambda x, i=i: x[i], streamed), last[i])
            for i in range(len(last))
        ]


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


def _to_host(found: Iterations, fit: int, part: Block) -> Iterations:
    """The filled part of one fit's buffers `(iteration, chain)`; the sites only where they are draws."""
    n_iterations = part.stop - part.start
    kept = found._replace(z=None) if part.warmup else found
    return jax.tree.map(lambda buffer: np.asarray(buffer[fit, :n_iterations]), kept)


def _window(state: Any, seen: list[list[Iterations]], part: Block, before: list[Window]) -> Window:
    start = before[-1].stop if before else 0
    rates = [np.concatenate([found.acceptance_rate for found in fit])[start:] for fit in seen]
    return Window(
        part.stop,
        np.asarray(state.adapt_state.step_size),
        np.stack([rate.mean(axis=0) for rate in rates]),
        _diagonal(state.adapt_state.inverse_mass_matrix),
    )


def _diagonal(metric: Any) -> NDArray:
    """`(fit, chain, d)` from NumPyro's blocks, each `(fit, chain, n)` or `(fit, chain, n, n)`."""
    parts = [
        np.asarray(part if part.ndim == 3 else jnp.diagonal(part, axis1=2, axis2=3))
        for part in jax.tree.leaves(metric)
    ]
    return np.concatenate(parts, axis=2)


def _by_chain(found: Iterations, fits: list[int]) -> Iterations:
    """What some fits did in a block, without the sites, `(fit, chain, iteration)`."""
    swap = lambda buffer: np.swapaxes(np.asarray(buffer)[fits], 1, 2)  # noqa: E731
    return jax.tree.map(swap, found._replace(z=None))


def _join(seen: list[Iterations]) -> tuple[dict[str, NDArray], Iterations]:
    """All blocks of one fit: draws `(chain, draw, ...)`, statistics `(chain, iteration)`."""
    join = lambda *parts: np.swapaxes(np.concatenate(parts), 0, 1)  # noqa: E731
    draws = [found.z for found in seen if found.z is not None]
    return jax.tree.map(join, *draws), jax.tree.map(join, *(f._replace(z=None) for f in seen))
