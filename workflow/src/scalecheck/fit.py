"""Sample one batch of fits: starts, draws, time."""

import contextlib
import datetime
import functools
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck import density, diagnose, preflight, sampler
from scalecheck.batches import Batch
from scalecheck.checkpoint import Keeper
from scalecheck.gradients import time_gradient
from scalecheck.starts import find_starts
from scalecheck.study import SamplerSettings

NDArray = np.ndarray

# A fit whose posterior is not usable yet goes on, to so many times `sampler.draws`: over the fits of a
# study, R-hat would pass 1.01 by chance in one or another.
MOST_TIMES = 4

# Fits whose lanes step together. More fill no processor any better; a GPU has room for thousands of lanes.
CPU_SLOTS, GPU_SLOTS = 32, 1024


def fit_key(seed: int, fit: str) -> jax.Array:
    """Key `(2,)` of a fit: from the seed and its name alone, so that no other fit changes its draws."""
    return jax.random.fold_in(jax.random.PRNGKey(seed), zlib.crc32(fit.encode()) % 2**31)


class Fitted(NamedTuple):
    """A batch after sampling.

    Attributes
    ----------
    batch
        What was fitted.
    draws
        Of all its fits.
    seconds_per_gradient
        `(fit,)` one gradient of one chain on the fit's own data.
    """

    batch: Batch
    draws: sampler.Draws
    seconds_per_gradient: NDArray


def fit_batch(
    batch: Batch,
    settings: SamplerSettings,
    seed: int,
    log: Callable[[str], None],
    keeper: Keeper | None = None,
) -> Fitted:
    """Find starts, sample, and time the gradient.

    Parameters
    ----------
    keeper
        Saves the fits while they run; None for those that are not worth it.
    """
    keys = jnp.stack([fit_key(seed, task.fit) for task in batch.tasks])
    draws = sample_batch(batch, settings, keys, log, keeper)
    return Fitted(
        batch, draws, np.array([time_gradient(batch, i, draws) for i in range(len(batch.tasks))])
    )


def sample_batch(
    batch: Batch,
    settings: SamplerSettings,
    keys: jax.Array,
    log: Callable[[str], None],
    keeper: Keeper | None = None,
) -> sampler.Draws:
    """Find starts and sample.

    Parameters
    ----------
    keys
        `(fit, 2)` one per fit.
    keeper
        Of lanes: saves them while they run.
    """
    if not any(site.kind == "latent" for site in batch.sites):
        log(f"{_name(batch)}: the model has no parameters, nothing is sampled")
        return sampler.without_parameters(
            density.potential(batch.function),
            batch.arrays,
            settings.chains,
            settings.warmup,
            settings.draws,
        )
    pairs = jax.vmap(jax.random.split)(keys)
    began = time.perf_counter(), time.process_time()
    starts = find_starts(batch, settings, pairs[:, 0])
    starting = time.perf_counter() - began[0], time.process_time() - began[1]
    log(f"{_name(batch)}: compiling for {_shape_in_words(batch)}")
    sample = _ENGINES[settings.engine]
    with contextlib.ExitStack() as stack:
        if keeper is not None and settings.engine == "lanes":
            stack.enter_context(keeper.answering_signals())
            sample = functools.partial(sample, keep=keeper.keep, saved=keeper.saved())
        draws = sample(
            density.potential(batch.function),
            batch.arrays,
            starts,
            nuts_settings(settings, starts),
            key=pairs[:, 1],
            draws=settings.draws,
            most_draws=MOST_TIMES * settings.draws,
            enough=lambda number, z: diagnose.usable(np.asarray(batch.vector.pack(z, 2))),
            on_block=lambda progress: log(progress_line(batch, progress)),
        )
    # Finding starts is a compilation with next to nothing to compute.
    return draws._replace(
        seconds=_add_compile(draws.seconds, starting[0]),
        cpu_seconds=_add_compile(draws.cpu_seconds, starting[1]),
    )


def _numpyro(*arguments: Any, **options: Any) -> sampler.Draws:
    """Sample with NumPyro's own transition."""
    # On a processor a batch gains nothing from advancing together and waits for its longest trees.
    fits_at_once = 1 if jax.default_backend() == "cpu" else None
    return sampler.sample(*arguments, **options, fits_at_once=fits_at_once)


def _lanes(*arguments: Any, **options: Any) -> sampler.Draws:
    """Sample with the lanes of as many fits as the device steps well together."""
    slots = CPU_SLOTS if jax.default_backend() == "cpu" else GPU_SLOTS
    return sampler.sample_lanes(*arguments, **options, slots=slots)


_ENGINES = {"numpyro": _numpyro, "lanes": _lanes}


def _add_compile(elapsed: sampler.Elapsed, seconds: float) -> sampler.Elapsed:
    return elapsed._replace(compile=elapsed.compile + seconds)


def nuts_settings(settings: SamplerSettings, sites_at_start: Mapping[str, Any]) -> sampler.Settings:
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
            preflight.check_metric(blocks, sites_at_start)
            dense = tuple(tuple(block) for block in blocks)
    # Gradients in the metric give more effective draws per gradient: tests/benchmarks/engines.py.
    return sampler.Settings(
        settings.warmup,
        settings.target_accept,
        settings.max_tree_depth,
        dense,
        fisher=settings.engine == "lanes",
    )


def _name(batch: Batch) -> str:
    return batch.tasks[0].fit if len(batch.tasks) == 1 else f"{len(batch.tasks)} fits"


def _shape_in_words(batch: Batch) -> str:
    first = next(iter(batch.arrays.values()))
    return f"{len(batch.tasks)} x {first.shape[1]} rows"


def progress_line(batch: Batch, progress: sampler.Progress) -> str:
    """One line about a block, good for a cluster's log."""
    running = len(progress.fits)
    name = batch.tasks[progress.fits[0]].fit if running == 1 else f"{running} fits"
    phase = "warmup" if progress.block.warmup else "sampling"
    return (
        f"{name}: {phase} {progress.block.stop}/{progress.total}, step size {progress.step_size:.3g}, "
        f"{progress.leapfrogs:.1f} leapfrogs per iteration, {progress.divergences} divergences, "
        f"{datetime.timedelta(seconds=round(progress.seconds_left))} left"
    )
