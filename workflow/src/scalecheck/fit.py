"""One batch of fits of the same shape: data, starts, sampling, records."""

import datetime
import functools
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck import density, diagnose, model, preflight, sampler, sites, store
from scalecheck.columns import Rows, make_rows, pad
from scalecheck.plan import PlannedFit
from scalecheck.records import StudyFolder
from scalecheck.starts import find_starts
from scalecheck.study import ModelSettings, SamplerSettings

NDArray = np.ndarray

# Below so many rows a fit is padded to this: compiling for another shape takes longer than sampling does.
SMALL = 2048

# Rows on which is tried whether padding leaves a trace in the density.
_FEW = 16

# A fit whose posterior is not usable yet goes on, to so many times `sampler.draws`: over the fits of a
# study, R-hat would pass 1.01 by chance in one or another.
MOST_TIMES = 4


class Batch(NamedTuple):
    """Fits of one shape, ready to sample.

    Attributes
    ----------
    tasks
        As planned.
    function
        The model as a function of its arrays.
    arrays
        Model argument -> `(fit, rows, ...)`.
    own
        Each fit's arrays without the padding that only makes small fits share a program.
    values
        Each fit's columns as stored, unpadded.
    sites
        Of the model, with the shapes that the batch has.
    vector
        The compared sites as one vector.
    labels
        Labels of each categorical column.
    unit
        The column of units, if the model's codes of it are local to a fit.
    """

    tasks: tuple[PlannedFit, ...]
    function: Callable[..., Any]
    arrays: dict[str, NDArray]
    own: list[dict[str, NDArray]]
    values: list[dict[str, NDArray]]
    sites: tuple[sites.Site, ...]
    vector: density.Vector
    labels: Mapping[str, Sequence[str] | None]
    unit: str | None


def read_batches(
    folder: StudyFolder,
    tasks: Sequence[PlannedFit],
    outcome: str,
    settings: ModelSettings,
    precision: str,
) -> list[Batch]:
    """Read each fit's own slice and bring all to one shape; several, where the model cannot be padded."""
    meta = store.read_meta(folder.data)
    bound = model.bind(model.load(settings), settings, outcome, meta.labels)
    wanted = stored_columns(bound, meta.unit)
    values = [store.read_rows(folder.data, task.slices, wanted) for task in tasks]
    return make_batches(bound, tasks, values, meta.labels, meta.unit, settings.compare, precision)


def stored_columns(bound: model.Model, unit: str | None) -> tuple[str, ...]:
    """Columns of the store that a batch needs."""
    units = (unit,) if unit else ()
    return tuple(dict.fromkeys([*bound.columns, *units, store.OBSERVATION, store.FILE_ROW]))


def make_batches(
    bound: model.Model,
    tasks: Sequence[PlannedFit],
    values: Sequence[dict[str, NDArray]],
    labels: Mapping[str, Sequence[str] | None],
    unit: str | None,
    compare: Sequence[str] | None,
    precision: str,
) -> list[Batch]:
    """Bring fits to one shape; to several, where the model cannot be padded.

    Parameters
    ----------
    values
        By fit, the columns of its rows, `(rows,)` each.
    labels
        Labels of each categorical column, None for numbers.
    unit
        The column of units, if any.
    compare
        `model.compare`.
    precision
        float32 or float64.
    """
    rows = [make_rows(bound, part, labels, precision=precision, unit=unit) for part in values]
    counts = {name: max(part.counts[name] for part in rows) for name in rows[0].counts}
    found = sites.describe(bound, rows[0]._replace(counts=counts))
    compared = sites.compared_sites(bound, found, compare)
    can_pad = _can_pad(bound, [part._replace(counts=counts) for part in rows], found)
    sizes = [0 if can_pad else task.rows for task in tasks]
    batches: list[Batch] = []
    for size in dict.fromkeys(sizes):
        members = [i for i, other in enumerate(sizes) if other == size]
        whole, own = _bring_to_one_shape([rows[i] for i in members], counts, can_pad)
        function = sites.function_of_arrays(bound, counts | _row_count(bound, size))
        batches.append(
            Batch(
                tuple(tasks[i] for i in members),
                function,
                {name: np.stack([part[name] for part in whole]) for name in whole[0]},
                own,
                [values[i] for i in members],
                found,
                density.vector_of(function, compared, whole[0]),
                labels,
                unit if unit in bound.columns else None,
            )
        )
    return batches


def _row_count(bound: model.Model, n_rows: int) -> dict[str, int]:
    return {"n_rows": n_rows} if bound.n_rows else {}


def _bring_to_one_shape(
    rows: Sequence[Rows], counts: Mapping[str, int], can_pad: bool
) -> tuple[list[dict[str, NDArray]], list[dict[str, NDArray]]]:
    """Arrays of each fit as they are sampled; and its own, without padding."""
    sizes = {part.n_rows for part in rows}
    largest = max(sizes)
    target = SMALL if len(rows) == 1 and can_pad and largest < SMALL else largest
    if sizes == {target}:
        return [part.arrays for part in rows], [part.arrays for part in rows]
    whole = [_with_mask(pad(part, target, counts)) for part in rows]
    return whole, [part.arrays for part in rows]


def _with_mask(rows: Rows) -> dict[str, NDArray]:
    return rows.arrays if rows.mask is None else {**rows.arrays, "row_mask": rows.mask}


def _can_pad(bound: model.Model, fits: Sequence[Rows], found: Sequence[sites.Site]) -> bool:
    """Whether rows that are masked leave no trace in the model's density."""
    rows, observed = fits[0], sites.observed_site(bound, found).name
    if bound.n_rows or any(site.kind == "factor" for site in found):
        return False  # a factor may be a sum over rows, and is not masked
    if any(site.kind == "latent" and "row" in site.indexed_by for site in found):
        return False
    function = sites.function_of_arrays(bound, rows.counts)
    if not density.has_row_likelihood(function, observed, rows.arrays):
        return False
    if len({part.n_rows for part in fits}) == 1 and (len(fits) > 1 or rows.n_rows >= SMALL):
        return True  # nothing is to be padded
    few = Rows({name: values[:_FEW] for name, values in rows.arrays.items()}, rows.counts, None)
    latent = [site.name for site in found if site.kind == "latent"]
    padded = _with_mask(pad(few, 2 * _FEW, rows.counts))
    return _same_density(function, latent, few.arrays, padded)


def _same_density(
    function: Callable[..., Any],
    latent: Sequence[str],
    own: Mapping[str, NDArray],
    padded: Mapping[str, NDArray],
) -> bool:
    """Whether a model gives the same density to rows and to the same rows padded: not where it takes their mean."""
    keys = jax.random.split(jax.random.PRNGKey(0), 4)

    @jax.jit
    def energies(own: dict[str, jax.Array], padded: dict[str, jax.Array]) -> tuple[Any, Any]:
        drawn = density.prior_draws(function, latent, own, keys)
        each = functools.partial(jax.vmap, axis_size=len(keys))  # of no latent sites, too
        z = each(lambda values: density.unconstrain(function, values, own))(drawn)
        one, other = (density.potential(function)(**arrays) for arrays in (own, padded))
        return each(one)(z), each(other)(z)

    one, other = energies(dict(own), dict(padded))
    return bool(np.allclose(one, other, rtol=1e-3, equal_nan=True))


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
    batch: Batch, settings: SamplerSettings, seed: int, log: Callable[[str], None]
) -> Fitted:
    """Find starts, sample, and time the gradient."""
    keys = jnp.stack([fit_key(seed, task.fit) for task in batch.tasks])
    # On a processor a batch gains nothing from advancing together and waits for its longest trees.
    draws = sample_batch(batch, settings, keys, 1 if jax.default_backend() == "cpu" else None, log)
    return Fitted(
        batch, draws, np.array([time_gradient(batch, i, draws) for i in range(len(batch.tasks))])
    )


def sample_batch(
    batch: Batch,
    settings: SamplerSettings,
    keys: jax.Array,
    fits_at_once: int | None,
    log: Callable[[str], None],
) -> sampler.Draws:
    """Find starts and sample.

    Parameters
    ----------
    keys
        `(fit, 2)` one per fit.
    fits_at_once
        Fits that advance together; None for all.
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
    draws = sampler.sample(
        density.potential(batch.function),
        batch.arrays,
        starts,
        nuts_settings(settings, starts),
        key=pairs[:, 1],
        draws=settings.draws,
        most_draws=MOST_TIMES * settings.draws,
        enough=lambda number, z: diagnose.usable(np.asarray(batch.vector.pack(z, 2))),
        fits_at_once=fits_at_once,
        on_block=lambda progress: log(progress_line(batch, progress)),
    )
    # Finding starts is a compilation with next to nothing to compute.
    return draws._replace(
        seconds=_add_compile(draws.seconds, starting[0]),
        cpu_seconds=_add_compile(draws.cpu_seconds, starting[1]),
    )


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
    return sampler.Settings(settings.warmup, settings.target_accept, settings.max_tree_depth, dense)


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


def time_gradient(batch: Batch, number: int, draws: sampler.Draws, least: float = 0.02) -> float:
    """Seconds of one gradient of one chain, the chains together as in sampling; the best of three runs.

    Parameters
    ----------
    least
        Seconds that a timed run takes at least: a single call would measure the dispatch.
    """
    if not draws.z[number]:
        return 0.0  # no parameters, no gradient
    arrays = {name: jnp.asarray(values) for name, values in batch.own[number].items()}
    z = {name: jnp.asarray(values[:, -1]) for name, values in draws.z[number].items()}
    n_chains = len(next(iter(z.values())))
    repeat = _repeat_gradient(batch.function)
    n_times, seconds = 8, 0.0
    jax.block_until_ready(repeat(z, arrays, n_times))
    while seconds < least:
        n_times *= 4
        began = time.perf_counter()
        jax.block_until_ready(repeat(z, arrays, n_times))
        seconds = time.perf_counter() - began
    best = seconds
    for _ in range(2):
        began = time.perf_counter()
        jax.block_until_ready(repeat(z, arrays, n_times))
        best = min(best, time.perf_counter() - began)
    return best / n_times / n_chains


def _repeat_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    if function not in _repeaters:

        def repeat(z: Any, arrays: dict[str, jax.Array], n_times: jax.Array) -> Any:
            gradient = jax.vmap(jax.grad(density.potential(function)(**arrays)))
            # Each gradient needs the one before, or the loop would be hoisted; the step is too small to move.
            step = lambda _, z: jax.tree.map(lambda x, g: x - 1e-30 * g, z, gradient(z))  # noqa: E731
            return jax.lax.fori_loop(0, n_times, step, z)

        _repeaters[function] = jax.jit(repeat)
    return _repeaters[function]


_repeaters: dict[Callable[..., Any], Callable[..., Any]] = {}
