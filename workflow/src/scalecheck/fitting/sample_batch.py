"""Sample one batch of fits: starts, draws, time."""

import contextlib
import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, UInt32

from scalecheck import diagnostics, sampler
from scalecheck.fitting import compilations, marginalised_fits, memory, model_scale
from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.fitting.compilations import Compilations
from scalecheck.fitting.gradient_timing import time_gradient
from scalecheck.fitting.kept_sites import streams_of
from scalecheck.fitting.marginalised_fits import Marginalised, sample_marginalised
from scalecheck.fitting.starts.find_starts import (
    find_starts,
    find_starts_of,
    shapes_of_starts,
)
from scalecheck.fitting.starts.warm_start import WarmStart, warm_start
from scalecheck.model import density, sites
from scalecheck.model.batches import Batch
from scalecheck.model.reparam import coordinates_of
from scalecheck.runtime import free_memory
from scalecheck.runtime.durations import duration
from scalecheck.sampler.draws import Clock
from scalecheck.study.settings import SamplerSettings

# Fits whose lanes step together: on a GPU, which has room for thousands of lanes, and on a processor where at least so
# many fits of a shape are to be sampled. Fewer take one place after the other there: eight fits of 1,024 rows together
# take a sixth less than alone, which compiling their program takes longer than, and every fit has then the same draws
# whichever others there are.
CPU_SLOTS, GPU_SLOTS = 32, 1024

# Iterations of NumPyro's transition between two looks of the host.
NUMPYRO_BLOCK = 50


def fit_key(seed: int, fit: str) -> UInt32[Array, "2"]:
    """Key `(2,)` of a fit: from the seed and its name alone, so that no other fit changes its draws."""
    return _fold(np.int64(seed), np.int32(zlib.crc32(fit.encode()) % 2**31))


@jax.jit
def _fold(seed: jax.Array, number: jax.Array) -> jax.Array:
    return jax.random.fold_in(jax.random.PRNGKey(seed), number)


_split = jax.jit(jax.random.split)
_fold_in = jax.jit(jax.random.fold_in)


OnBlock = Callable[[list[sampler.Progress]], None]


class Fitted(NamedTuple):
    """A batch after sampling.

    Attributes
    ----------
    batch
        What was fitted.
    draws
        Of all its fits.
    seconds_per_gradient
        `(fit,)` one gradient of one chain on the fit's data as they are padded.
    compiled
        What was compiled from the first start to the last timing.
    """

    batch: Batch
    draws: sampler.Draws
    seconds_per_gradient: np.ndarray
    compiled: Compilations = Compilations()


def fit_batch(
    batch: Batch,
    settings: SamplerSettings,
    seed: int,
    log: Callable[[str], None],
    on_block: OnBlock = lambda told: None,
    checkpointer: Checkpointer | None = None,
    left: Sequence[WarmStart] | None = None,
) -> Fitted:
    """Find starts, sample, and time the gradient.

    Parameters
    ----------
    checkpointer
        Saves the fits while they run; None for those that are not worth it.
    left
        By the increment before each fit, which starts warm from it or, where `sampler.start` is `previous`,
        cold at its draws. None for other starts.
    """
    before = compilations.so_far()
    keys = np.stack([fit_key(seed, task.fit) for task in batch.tasks])
    if settings.marginalise and has_parameters(batch):
        found = _marginalised(batch, settings, keys, log, on_block, checkpointer)
        compiled = compilations.so_far().since(before)
        return Fitted(batch, found.draws, found.seconds_per_gradient, compiled)
    draws = sample_batch(batch, settings, keys, log, on_block, checkpointer, left)
    moved = coordinates_of(batch.function, settings.reparam)
    seconds = [time_gradient(batch, moved, i, draws) for i in range(len(batch.tasks))]
    return Fitted(batch, draws, np.array(seconds), compilations.so_far().since(before))


def sample_batch(
    batch: Batch,
    settings: SamplerSettings,
    keys: UInt32[Array | np.ndarray, "fit 2"],
    log: Callable[[str], None],
    on_block: OnBlock = lambda told: None,
    checkpointer: Checkpointer | None = None,
    left: Sequence[WarmStart] | None = None,
) -> sampler.Draws:
    """Find starts and sample.

    Parameters
    ----------
    keys
        `(fit, 2)` one per fit.
    log
        Takes a line after every block.
    on_block
        Takes how each fit runs that ran in the block, by its number in the batch.
    checkpointer
        Of lanes: saves them while they run.
    left
        As of `fit_batch`.
    """
    if not has_parameters(batch):
        log(f"{_name(batch)}: the model has no parameters, nothing is sampled")
        return sampler.without_parameters(
            density.potential(batch.function),
            batch.arrays,
            settings.chains,
            settings.warmup,
            settings.draws,
        )
    if settings.marginalise:
        return _marginalised(batch, settings, keys, log, on_block, checkpointer).draws
    pairs = np.stack([_split(key) for key in keys])
    tell = functools.partial(_tell, batch, log, on_block)
    clock = Clock()
    is_warm = left is not None and settings.start != "previous"
    nuts = nuts_settings(settings, shapes_of_starts(batch, settings.chains), is_warm=is_warm)
    moved = coordinates_of(batch.function, settings.reparam)
    needed = forecast_memory(batch, settings)
    log(memory.check_memory(needed, free_memory.free(), _name(batch)))
    starts = find_starts(batch, settings, pairs[:, 0])
    options: dict[str, Any] = {}
    if settings.engine == "lanes" and settings.on_stall == "restart" and not is_warm:
        options["restart"] = _restarts(batch, settings, pairs[:, 0])
    if left is not None:
        starts, begin = warm_start(batch, moved, left, starts, pairs[:, 0])
        options |= {"begin": begin} if is_warm else {}
    # Finding starts is a compilation with next to nothing to compute.
    clock.lap(compile=1.0)
    log(f"{_name(batch)}: compiling for {_shape_in_words(batch)}")
    with contextlib.ExitStack() as stack:
        if checkpointer is not None and settings.engine == "lanes":
            stack.enter_context(checkpointer.answering_signals())
            options |= {"keep": checkpointer.keep, "saved": checkpointer.saved()}
        draws = _ENGINES[settings.engine](
            moved.potential,
            batch.arrays,
            starts,
            nuts,
            key=pairs[:, 1],
            draws=settings.draws,
            most_draws=diagnostics.MOST_TIMES * settings.draws,
            enough=functools.partial(model_scale.needs_no_more_draws, batch, moved),
            stops_stalled=settings.on_stall == "stop" and not is_warm,
            most_gradients=settings.max_gradients,
            streams=streams_of(batch, moved, settings.keep),
            on_block=tell,
            **options,
        )
    clock.add(draws.seconds, draws.cpu_seconds)
    draws = draws._replace(seconds=clock.wall, cpu_seconds=clock.cpu)
    return model_scale.on_model_scale(batch, moved, draws)


def has_parameters(batch: Batch) -> bool:
    """Whether there is anything to sample."""
    return any(site.kind == "latent" for site in batch.sites)


def _tell(
    batch: Batch, log: Callable[[str], None], on_block: OnBlock, told: list[sampler.Progress]
) -> None:
    log(progress_line(batch, told))
    on_block(told)


def _marginalised(
    batch: Batch,
    settings: SamplerSettings,
    keys: UInt32[Array | np.ndarray, "fit 2"],
    log: Callable[[str], None],
    on_block: OnBlock,
    checkpointer: Checkpointer | None,
) -> Marginalised:
    """Sample what units share, and draw the units."""
    needed = forecast_memory(batch, settings)
    log(memory.check_memory(needed, free_memory.free(), _name(batch)))
    moved = coordinates_of(batch.function, settings.reparam)
    return sample_marginalised(
        batch,
        settings,
        np.stack([_split(key) for key in keys]),
        log,
        streams=streams_of(batch, moved, settings.keep),
        checkpointer=checkpointer,
        slots=_slots_apart(),
        stops_stalled=settings.on_stall == "stop",
        on_block=functools.partial(_tell, batch, log, on_block),
    )


def forecast_memory(batch: Batch, settings: SamplerSettings) -> memory.BatchMemory:
    """Forecast what a batch will take in memory, from its shapes."""
    moved = coordinates_of(batch.function, settings.reparam)
    starts = shapes_of_starts(batch, settings.chains)
    has_lanes, n_fits = settings.engine == "lanes", len(batch.tasks)
    slots = _slots(n_fits)
    needed = memory.batch_memory(
        moved.potential,
        batch.arrays,
        starts,
        nuts_settings(settings, starts),
        streams_of(batch, moved, settings.keep),
        at_once=slots if has_lanes else _fits_at_once() or n_fits,
        in_block=slots if has_lanes else n_fits,
        room=None if has_lanes else NUMPYRO_BLOCK,
        draws=settings.draws,
    )
    if settings.marginalise:
        return marginalised_fits.forecast_memory(batch, settings, needed, _slots_apart())
    return needed


def at_once(settings: SamplerSettings) -> int | None:
    """Fits of a batch that run at once, at most; None where all do."""
    return _slots(CPU_SLOTS) if settings.engine == "lanes" else _fits_at_once()


def _slots(n_fits: int) -> int:
    """Lanes of how many fits step together, of a batch of so many."""
    if jax.default_backend() != "cpu":
        return GPU_SLOTS
    return CPU_SLOTS if n_fits >= CPU_SLOTS else 1


def _slots_apart() -> int:
    """Fits whose lanes step together where units are integrated out: on a processor they would only wait."""
    return 1 if jax.default_backend() == "cpu" else GPU_SLOTS


def _restarts(
    batch: Batch, settings: SamplerSettings, keys: UInt32[Array | np.ndarray, "fit 2"]
) -> sampler.Restart:
    """Give other starts to chains that stall: as `sampler.start` says, under other keys `(fit, 2)`."""

    def restart(fit: int, chain: int, times: int) -> dict[str, Any]:
        again = np.asarray(_fold_in(keys[fit], np.int32(times)))
        found = find_starts_of(batch, fit, settings, again)
        return {name: z[chain] for name, z in found.items()}

    return restart


def _numpyro(*arguments: Any, **options: Any) -> sampler.Draws:
    """Sample with NumPyro's own transition."""
    return sampler.sample_numpyro(
        *arguments, **options, fits_at_once=_fits_at_once(), block=NUMPYRO_BLOCK
    )


def _fits_at_once() -> int | None:
    """Fits that NumPyro's transition advances together; None for all."""
    # On a processor a batch gains nothing from advancing together and waits for its longest trees.
    return 1 if jax.default_backend() == "cpu" else None


def _lanes(*arguments: Any, **options: Any) -> sampler.Draws:
    """Sample with the lanes of as many fits as the device steps well together."""
    return sampler.sample_lanes(*arguments, **options, slots=_slots(len(options["key"])))


_ENGINES = {"numpyro": _numpyro, "lanes": _lanes}


def nuts_settings(
    settings: SamplerSettings, sites_at_start: Mapping[str, Any], *, is_warm: bool = False
) -> sampler.Settings:
    """Translate the study's settings of the sampler.

    Raises
    ------
    StudyError
        When the metric names a site that the model lacks.
    """
    match settings.metric:
        case "diagonal":
            dense: tuple[tuple[str, ...], ...] = ()
        case "dense":
            dense = (tuple(sorted(sites_at_start)),)
        case blocks:
            sites.check_metric(blocks, sites_at_start)
            dense = tuple(tuple(block) for block in blocks)
    return sampler.Settings(
        settings.warmup,
        settings.target_accept,
        settings.max_tree_depth,
        dense,
        renews_metric=not is_warm,
    )


def _name(batch: Batch) -> str:
    return batch.tasks[0].fit if len(batch.tasks) == 1 else f"{len(batch.tasks)} fits"


def _shape_in_words(batch: Batch) -> str:
    first = next(iter(batch.arrays.values()))
    return f"{len(batch.tasks)} x {first.shape[1]} rows"


def progress_line(batch: Batch, told: list[sampler.Progress]) -> str:
    """One line about a block, good for a cluster's log: of several fits, the least advanced and the means."""
    name = batch.tasks[told[0].fit].fit if len(told) == 1 else f"{len(told)} fits"
    last = min(told, key=lambda one: int(one.iterations.min()))
    n_steps = np.concatenate([one.leapfrogs for one in told])
    n_steps = n_steps[np.isfinite(n_steps)]  # a long trajectory may outlast the block
    leapfrogs = f"{n_steps.mean():.1f}" if len(n_steps) else "no"
    seconds = max(one.seconds_left.median for one in told)
    left = f"{duration(seconds)} left" if np.isfinite(seconds) else ""
    phase = "warmup" if any(one.phase == "warmup" for one in told) else "sampling"
    step_size = np.concatenate([one.step_size for one in told])
    parts = [
        f"{phase} {last.iterations.min()}/{last.total}",
        f"step size {np.nanmean(step_size):.3g}" if np.isfinite(step_size).any() else "",
        f"{leapfrogs} leapfrogs per iteration",
        f"{sum(int(one.divergences.sum()) for one in told)} divergences",
        left,
        *(_stalls(batch, one) for one in told if one.stalled.any()),
    ]
    return f"{name}: {', '.join(part for part in parts if part)}"


def _stalls(batch: Batch, told: sampler.Progress) -> str:
    chains = ", ".join(str(chain) for chain in np.flatnonzero(told.stalled))
    return f"chain {chains} of {batch.tasks[told.fit].fit} stalls"
