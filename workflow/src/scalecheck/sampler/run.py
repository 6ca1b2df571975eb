"""Drive the chains of a batch of fits through warmup and sampling, block by block."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck.sampler.nuts import Iterations, Potential, Settings, compile_program
from scalecheck.sampler.schedule import Block, blocks

NDArray = np.ndarray[Any, Any]


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
        `(fit, chain, d)` its diagonal, sites in alphabetical order.
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


class Draws(NamedTuple):
    """A batch of fits.

    Attributes
    ----------
    z
        Unconstrained sites after warmup, `(fit, chain, draw, ...)`.
    iterations
        Sampler statistics of every iteration, warmup included, `(fit, chain, iteration)`; `z` None.
    windows
        One per warmup window.
    seconds, cpu_seconds
        Wall and processor seconds by phase.
    """

    z: dict[str, NDArray]
    iterations: Iterations
    windows: list[Window]
    seconds: Elapsed
    cpu_seconds: Elapsed


class Progress(NamedTuple):
    """The batch after a block; means are over its fits and chains.

    Attributes
    ----------
    block
        The block that ended.
    total
        Iterations of the whole run.
    step_size, leapfrogs
        Step size, and leapfrogs per iteration in this block.
    divergences
        After warmup, so far.
    seconds_left
        At the pace of this block.
    """

    block: Block
    total: int
    step_size: float
    leapfrogs: float
    divergences: int
    seconds_left: float


def sample(
    potential: Potential,
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: Settings,
    *,
    key: jax.Array,
    draws: int,
    block: int = 50,
    fits_at_once: int | None = None,
    on_block: Callable[[Progress], None] = lambda progress: None,
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
    block
        Iterations between two looks of the host.
    fits_at_once
        Fits that advance together; None for all.
    on_block
        Called after every block.
    """
    n_chains = len(next(iter(starts.values()))[0])
    keys = jax.vmap(lambda one: jax.random.split(one, n_chains))(key)
    arrays = {name: jnp.asarray(values) for name, values in arrays.items()}
    clock = _Clock()
    program = compile_program(
        potential, settings, keys, dict(starts), arrays, block=block, fits_at_once=fits_at_once
    )
    clock.lap("compile")
    state = program.init(keys, dict(starts), arrays)
    seen: list[Iterations] = []
    windows: list[Window] = []
    plan = blocks(settings.warmup, draws, block)
    for part in plan:
        began = time.perf_counter()
        state, found = program.advance(state, arrays, jnp.int32(part.stop - part.start))
        seen.append(_to_host(found, part))
        if part.window is not None:
            windows.append(_window(state, seen, part, windows))
        clock.lap("warmup" if part.warmup else "sampling")
        on_block(_progress(part, plan[-1].stop, seen, settings.warmup, time.perf_counter() - began))
    z, iterations = _join(seen, settings.warmup)
    return Draws(z, iterations, windows, Elapsed(**clock.wall), Elapsed(**clock.cpu))


class _Clock:
    """Seconds since the last lap, added up by phase."""

    def __init__(self) -> None:
        self.wall = dict.fromkeys(Elapsed._fields, 0.0)
        self.cpu = dict.fromkeys(Elapsed._fields, 0.0)
        self.last = time.perf_counter(), time.process_time()

    def lap(self, phase: str) -> None:
        now = time.perf_counter(), time.process_time()
        self.wall[phase] += now[0] - self.last[0]
        self.cpu[phase] += now[1] - self.last[1]
        self.last = now


def _to_host(found: Iterations, part: Block) -> Iterations:
    """The filled part of the buffers; the sites only where they are draws."""
    n_iterations = part.stop - part.start
    kept = found._replace(z=None) if part.warmup else found
    return jax.tree.map(lambda buffer: np.asarray(buffer[:, :n_iterations]), kept)


def _window(state: Any, seen: list[Iterations], part: Block, before: list[Window]) -> Window:
    start = before[-1].stop if before else 0
    rates = np.concatenate([found.acceptance_rate for found in seen], axis=1)[:, start:]
    return Window(
        part.stop,
        np.asarray(state.adapt_state.step_size),
        rates.mean(axis=1),
        _diagonal(state.adapt_state.inverse_mass_matrix),
    )


def _diagonal(metric: Any) -> NDArray:
    """`(fit, chain, d)` from NumPyro's blocks, each `(fit, chain, n)` or `(fit, chain, n, n)`."""
    parts = [
        np.asarray(part if part.ndim == 3 else jnp.diagonal(part, axis1=2, axis2=3))
        for part in jax.tree.leaves(metric)
    ]
    return np.concatenate(parts, axis=2)


def _progress(
    part: Block, total: int, seen: list[Iterations], warmup: int, seconds: float
) -> Progress:
    done = part.stop - part.start
    diverged = sum(int(found.diverging.sum()) for found in seen if found.z is not None)
    return Progress(
        part,
        total,
        float(seen[-1].step_size[:, -1].mean()),
        float(seen[-1].n_steps.mean()),
        diverged,
        seconds / done * (total - part.stop),
    )


def _join(seen: list[Iterations], warmup: int) -> tuple[dict[str, NDArray], Iterations]:
    swap = lambda parts: np.swapaxes(np.concatenate(parts, axis=1), 1, 2)  # noqa: E731
    statistics = [found._replace(z=None) for found in seen]
    draws = [found.z for found in seen if found.z is not None]
    iterations = jax.tree.map(lambda *parts: swap(parts), *statistics)
    return jax.tree.map(lambda *parts: swap(parts), *draws), iterations
