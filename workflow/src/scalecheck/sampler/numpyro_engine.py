"""Drive the chains of a batch of fits through warmup and sampling, block by block."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from scalecheck.sampler import early_stop
from scalecheck.sampler.draws import Clock, Draws, Window
from scalecheck.sampler.early_stop import FitProgress
from scalecheck.sampler.numpyro_program import compile_program
from scalecheck.sampler.progress import Progress, Tally, first_tally
from scalecheck.sampler.schedule import Block, blocks, continue_blocks
from scalecheck.sampler.streamed_draws import BlockStream, Streams
from scalecheck.sampler.types import ByDraw, Iterations, Potential, Settings


def sample_numpyro(
    potential: Potential,
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: Settings,
    *,
    key: UInt32[Array | np.ndarray, "fit 2"],
    draws: int,
    most_draws: int = 0,
    enough: Callable[[int, ByDraw], bool] = lambda fit, z: True,
    block: int = 50,
    fits_at_once: int | None = None,
    stops_stalled: bool = False,
    most_gradients: int | None = None,
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
    stops_stalled
        Whether a fit ends where a chain stalls in warmup.
    most_gradients
        Leapfrogs of a chain, warmup included, after which its fit ends; looked at after a block.
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
    init, advance = compile_program(
        potential, settings, keys, dict(starts), arrays, block=block, fits_at_once=fits_at_once
    )
    clock.lap(compile=1.0)
    state = init(keys, dict(starts), arrays)
    seen: list[list[Iterations]] = [[] for _ in key]
    windows: list[Window] = []
    stream = BlockStream(streams, starts, arrays)
    tally = first_tally(settings, len(key), n_chains)
    shape = (len(key), n_chains)
    progress = early_stop.first_progress(shape, settings.warmup, draws, most_draws, most_gradients)
    active, plan = progress.active, blocks(settings.warmup, draws, block)
    while active:
        for part in plan:
            began = time.perf_counter()
            n_iterations = np.zeros(len(key), "int32")
            n_iterations[active] = part.stop - part.start
            state, found = advance(state, arrays, n_iterations)
            if not part.warmup:
                stream.add(found.z, n_iterations)
            found = found._replace(z={name: found.z[name] for name in stream.flow.held})
            for fit in active:
                seen[fit].append(_to_host(found, fit, part))
            if part.window is not None:
                windows.append(_window(state, seen, part, windows, active))
            clock.lap(**{"warmup" if part.warmup else "sampling": 1.0})
            tally.add(
                active,
                _by_chain(found, active),
                np.full((len(active), n_chains), part.stop - part.start),
                time.perf_counter() - began,
                lambda i, chain, window: windows[window].inverse_mass_matrix[active[i], chain],  # noqa: B023
            )
            if stops_stalled and part.window is not None:
                _stop_stalled(progress, tally)
            if part.stop < plan[-1].stop:
                _stop_capped(progress, tally)
            on_block(tally.report(active, progress.totals))
            active = progress.active
            if not active:
                break
        done = plan[-1].stop
        if done + draws > progress.most:
            break
        progress.live[active] = [not enough(fit, _join(seen[fit])[0]) for fit in active]
        _stop_capped(progress, tally)
        active = progress.active
        plan = continue_blocks(done, draws, block)
        progress.totals[active] = plan[-1].stop
    nothing = {
        name: np.zeros((n_chains, 0, *np.shape(values)[2:]), np.asarray(values).dtype)
        for name, values in starts.items()
        if name in stream.flow.held
    }
    joined = [_join(part, nothing) for part in seen]
    return Draws(
        [z for z, _ in joined],
        [iterations for _, iterations in joined],
        windows,
        clock.wall,
        clock.cpu,
        stopped=progress.stopped,
        reduced=stream.finish(state.z),
    )


def _stop_stalled(progress: FitProgress, tally: Tally) -> None:
    """Stop the fits of which a chain stalls, where a window has ended."""
    for fit in progress.active:
        if one := early_stop.stopped_by_stall(fit, tally.leapfrogs_by_window(fit), tally.stops):
            progress.stop(one)


def _stop_capped(progress: FitProgress, tally: Tally) -> None:
    """Stop the fits of which a chain has taken the most gradients that it may."""
    for fit in progress.active:
        leapfrogs = tally.gradients[fit]
        if (is_full := leapfrogs >= progress.limits[fit]).any():
            progress.stop(early_stop.stopped_by_cap(fit, is_full, tally.done[fit], leapfrogs))


def _to_host(found: Iterations, fit: int, part: Block) -> Iterations:
    """The filled part of one fit's buffers `(iteration, chain)`; the sites only where they are draws."""
    n_iterations = part.stop - part.start
    kept = found._replace(z=None) if part.warmup else found
    return jax.tree.map(lambda buffer: np.asarray(buffer[fit, :n_iterations]), kept)


def _window(
    state: Any,
    seen: list[list[Iterations]],
    part: Block,
    before: list[Window],
    active: list[int],
) -> Window:
    start = before[-1].stop if before else 0
    n_fits, n_chains = state.adapt_state.step_size.shape
    rates = np.full((n_fits, n_chains), np.nan)
    for fit in active:
        own = np.concatenate([found.acceptance_rate for found in seen[fit]])
        rates[fit] = own[start:].mean(axis=0)
    ran = np.isin(range(n_fits), active)[:, None]
    metric = _diagonal(state.adapt_state.inverse_mass_matrix)
    return Window(
        part.stop,
        np.where(ran, np.asarray(state.adapt_state.step_size), np.nan),
        rates,
        np.where(ran[..., None], metric, np.nan),
    )


def _diagonal(metric: Any) -> Float[np.ndarray, "fit chain d"]:
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


def _join(
    seen: list[Iterations], nothing: dict[str, Float[np.ndarray, "chain 0 ..."]] | None = None
) -> tuple[ByDraw, Iterations]:
    """All blocks of one fit: draws `(chain, draw, ...)`, statistics `(chain, iteration)`; `nothing` without draws."""
    join = lambda *parts: np.swapaxes(np.concatenate(parts), 0, 1)  # noqa: E731
    draws = [found.z for found in seen if found.z is not None]
    z = jax.tree.map(join, *draws) if draws else nothing or {}
    return z, jax.tree.map(join, *(f._replace(z=None) for f in seen))
