"""One batch of fits of the same shape: data, starts, sampling, records."""

import datetime
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck import density, model, preflight, sampler, sites, store
from scalecheck.plan import PlannedFit
from scalecheck.records import StudyFolder
from scalecheck.study import ModelSettings, SamplerSettings

NDArray = np.ndarray[Any, Any]

# What a fit computes; raised when the same settings give other draws, so that old fits are redone.
ENGINE_VERSION = 1

# Below so many rows a fit is padded to this: compiling for another shape takes longer than sampling does.
SMALL = 2048

_TRIES = 10  # batches of candidate starts


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


def read_batch(
    folder: StudyFolder,
    tasks: Sequence[PlannedFit],
    outcome: str,
    settings: ModelSettings,
    precision: str,
) -> Batch:
    """Read each fit's own slice and bring all to one shape."""
    meta = store.read_meta(folder.data)
    bound = model.bind(model.load(settings), settings, outcome, meta.labels)
    extra = (store.OBSERVATION, store.FILE_ROW)
    unit = (meta.unit,) if meta.unit else ()
    wanted = tuple(dict.fromkeys([*bound.columns, *unit, *extra]))
    values = [store.read_rows(folder.data, task.slices, wanted) for task in tasks]
    rows = [
        model.make_rows(bound, part, meta.labels, precision=precision, unit=meta.unit)
        for part in values
    ]
    counts = {name: max(part.counts[name] for part in rows) for name in rows[0].counts}
    found = sites.describe(bound, rows[0]._replace(counts=counts))
    sites.observed_site(bound, found)
    n_rows, function = _shape(bound, rows, found, counts)
    if n_rows is None:
        own = [dict(part.arrays) for part in rows]
    else:
        own = [
            _with_mask(model.pad(part, max(task.rows for task in tasks), counts)) for part in rows
        ]
        rows = [model.pad(part, n_rows, counts) for part in rows]
    whole = [_with_mask(part) for part in rows]
    arrays = {name: np.stack([part[name] for part in whole]) for name in whole[0]}
    compared = sites.compared_sites(bound, found, settings.compare)
    vector = density.vector_of(function, compared, whole[0])
    return Batch(
        tuple(tasks),
        function,
        arrays,
        own,
        values,
        found,
        vector,
        meta.labels,
        meta.unit if meta.unit in bound.columns else None,
    )


def _with_mask(rows: model.Rows) -> dict[str, NDArray]:
    return rows.arrays if rows.mask is None else {**rows.arrays, "row_mask": rows.mask}


def _shape(
    bound: model.Model,
    rows: Sequence[model.Rows],
    found: Sequence[sites.Site],
    counts: Mapping[str, int],
) -> tuple[int | None, Callable[..., Any]]:
    """Rows to pad to, None for no padding; and the model for that shape."""
    sizes = {len(next(iter(part.arrays.values()))) for part in rows}
    observed = sites.observed_site(bound, found).name
    latent_rows = any(site.kind == "latent" and "row" in site.dims for site in found)
    can_pad = (
        not bound.n_rows
        and not latent_rows
        and density.has_row_likelihood(
            sites.function_of_arrays(bound, counts), observed, rows[0].arrays
        )
    )
    if len(rows) == 1 and can_pad and max(sizes) < SMALL:
        return SMALL, sites.function_of_arrays(bound, counts)
    if len(sizes) == 1:
        return None, sites.function_of_arrays(bound, counts)
    if bound.n_rows:
        counts = {**counts, "n_rows": max(sizes)}
    return max(sizes), sites.function_of_arrays(bound, counts)


def find_starts(batch: Batch, settings: SamplerSettings, keys: jax.Array) -> dict[str, jax.Array]:
    """Find a start with finite density and gradient for every chain of every fit: `(fit, chain, ...)`.

    Raises
    ------
    StudyError
        When a fit has none: names the site and the row that are to blame.
    """
    latent = [site.name for site in batch.sites if site.kind == "latent"]
    n_candidates = 2 * settings.chains

    @jax.jit
    def candidates(key: jax.Array, arrays: dict[str, jax.Array]) -> tuple[Any, jax.Array]:
        draw_keys = jax.random.split(key, n_candidates)
        drawn = density.prior_draws(batch.function, latent, arrays, draw_keys)
        z = jax.vmap(lambda values: density.unconstrain(batch.function, values, arrays))(drawn)
        if settings.start == "uniform":
            z = {
                name: jax.random.uniform(
                    jax.random.fold_in(key, i), values.shape, values.dtype, -2, 2
                )
                for i, (name, values) in enumerate(sorted(z.items()))
            }
        energy = density.potential(batch.function)(**arrays)
        value, gradient = jax.vmap(jax.value_and_grad(energy))(z)
        flat = [
            jnp.isfinite(part).reshape(n_candidates, -1).all(1)
            for part in jax.tree.leaves(gradient)
        ]
        return z, jnp.isfinite(value) & jnp.stack(flat).all(0)

    found = [
        _starts_of_fit(batch, i, candidates, key, settings.chains) for i, key in enumerate(keys)
    ]
    return {name: jnp.stack([start[name] for start in found]) for name in latent}


def _starts_of_fit(
    batch: Batch, number: int, candidates: Callable[..., Any], key: jax.Array, n_chains: int
) -> dict[str, jax.Array]:
    arrays = {name: values[number] for name, values in batch.arrays.items()}
    good: list[Any] = []
    for attempt in range(_TRIES):
        z, valid = candidates(jax.random.fold_in(key, attempt), arrays)
        good.append(_take(z, np.flatnonzero(valid)))
        if sum(len(next(iter(part.values()))) for part in good) >= n_chains:
            return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:n_chains], *good)
    raise preflight.bad_start(batch, number, {name: values[0] for name, values in z.items()})


def _take(z: dict[str, jax.Array], which: NDArray) -> dict[str, jax.Array]:
    return {name: values[which] for name, values in z.items()}


def fit_key(seed: int, fit: str) -> jax.Array:
    """Key of a fit: from the seed and its name alone, so that no other fit changes its draws."""
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
    pairs = jax.vmap(jax.random.split)(keys)
    starts = find_starts(batch, settings, pairs[:, 0])
    name = batch.tasks[0].fit if len(batch.tasks) == 1 else f"{len(batch.tasks)} fits"
    log(f"{name}: compiling for {_shape_in_words(batch)}")
    draws = sampler.sample(
        density.potential(batch.function),
        batch.arrays,
        starts,
        nuts_settings(settings, starts),
        key=pairs[:, 1],
        draws=settings.draws,
        # On a processor a batch gains nothing from advancing together and waits for its longest trees.
        fits_at_once=1 if jax.default_backend() == "cpu" else None,
        on_block=lambda progress: log(progress_line(name, progress)),
    )
    return Fitted(
        batch, draws, np.array([time_gradient(batch, i, draws) for i in range(len(batch.tasks))])
    )


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


def _shape_in_words(batch: Batch) -> str:
    first = next(iter(batch.arrays.values()))
    return f"{len(batch.tasks)} x {first.shape[1]} rows"


def progress_line(name: str, progress: sampler.Progress) -> str:
    """One line about a block, good for a cluster's log."""
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
    arrays = {name: jnp.asarray(values) for name, values in batch.own[number].items()}
    z = {name: jnp.asarray(values[number, :, -1]) for name, values in draws.z.items()}
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

        def repeat(z: Any, arrays: dict[str, jax.Array], n_times: int) -> Any:
            gradient = jax.vmap(jax.grad(density.potential(function)(**arrays)))
            # Each gradient needs the one before, or the loop would be hoisted; the step is too small to move.
            step = lambda _, z: jax.tree.map(lambda x, g: x - 1e-30 * g, z, gradient(z))  # noqa: E731
            return jax.lax.fori_loop(0, n_times, step, z)

        _repeaters[function] = jax.jit(repeat)
    return _repeaters[function]


_repeaters: dict[Callable[..., Any], Callable[..., Any]] = {}
