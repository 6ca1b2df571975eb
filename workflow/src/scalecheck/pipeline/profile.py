"""The gradient profile of a study: time, bytes and bandwidth of one gradient, by device, precision and size."""

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.extend.backend import backends

from scalecheck.data import store
from scalecheck.errors import StudyError
from scalecheck.files import formats, posterior_file, record
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting.gradient_timing import gradient, time_gradients
from scalecheck.model import batches, density
from scalecheck.model.reparam import Reparameterisation, coordinates_of
from scalecheck.pipeline.bandwidth import measure_bandwidth
from scalecheck.pipeline.prepare import prepare
from scalecheck.runtime.program import Log
from scalecheck.study import plan
from scalecheck.study.settings import Study, without_later_keys

PRECISIONS = ("float32", "float64")

# Leapfrogs of whole trees of depth 3 to 5, between which most well-behaved posteriors lie.
_LEAPFROGS = (7.0, 15.0, 31.0)

# Timed runs of a gradient.
_RUNS = 10


class MeasuredGradient(NamedTuple):
    """What one gradient of every chain of a fit costs, all chains together.

    Attributes
    ----------
    device
        As JAX calls its kind.
    precision
        float32 or float64.
    rows
        Of the fit, without padding.
    chains
        Chains that share the data.
    seconds
        Of one gradient of each of them.
    bytes
        The least that must be moved: every array of the model read once, the parameters of every chain read,
        its gradient written.
    xla_bytes
        What XLA counts for its compiled gradient: intermediate arrays, too, whether or not they stay in a cache;
        NaN where it does not count.
    bandwidth
        Bytes per second of the device, from `measure_bandwidth`.
    """

    device: str
    precision: str
    rows: int
    chains: int
    seconds: float
    bytes: float
    xla_bytes: float
    bandwidth: float


class FitLeapfrogs(NamedTuple):
    """Leapfrogs per iteration, warmup included, of a fit that was done."""

    fit: str
    leapfrogs: float


def profile_study(
    folder: StudyFolder, study: Study, most_rows: int | None, csv: Path | None, log: Log
) -> str:
    """Measure a study, write the table where `csv` says, and give it as text.

    Parameters
    ----------
    most_rows
        Of the largest size; None for all.
    """
    costs = profile(study, most_rows, log)
    seen = leapfrogs_seen(folder, study)
    measured = table(costs, study, seen)
    if csv is not None:
        formats.write_table(csv, measured)
    return as_text(measured, study, seen, len(os.sched_getaffinity(0)))


def profile(study: Study, most_rows: int | None, log: Log) -> list[MeasuredGradient]:
    """Measure every planned increment on to all rows, on one device of each kind, in both precisions.

    The data are prepared in a temporary folder: what lies in the folder of results may belong to other settings.

    Parameters
    ----------
    most_rows
        Rows at most; None for all.
    log
        Takes a line for each fit before it is measured.

    Raises
    ------
    StudyError
        Where the data are not there, do not fit the study, or nothing is to be measured.
    """
    _require_table(study)
    with tempfile.TemporaryDirectory() as path:
        folder = StudyFolder(path)
        prepare(folder, study.data, study.model, study.subsets.levels, study.seed)
        tasks = _tasks(folder, study, most_rows)
        return [
            cost
            for device in _devices()
            for cost in _profile_device(device, folder, study, tasks, log)
        ]


def _require_table(study: Study) -> None:
    data = study.data
    if data.made_by is not None and not Path(data.file).is_file():
        raise StudyError(
            f"{data.file}: is not there yet: python {data.made_by} {data.file} writes it, and so does the workflow"
        )


def _tasks(folder: StudyFolder, study: Study, most_rows: int | None) -> list[plan.PlannedFit]:
    """Give the increments as if they went on to all rows, or to `most_rows`."""
    arrival, random, _ = store.read_orders(folder.data)
    start, end = study.increments.start, min(most_rows or arrival.n_rows, arrival.n_rows)
    if end < start <= arrival.n_rows:
        raise StudyError(f"--rows must be at least increments.start {start}, got {most_rows}")
    increments = dataclasses.replace(study.increments, end=end)
    none = dataclasses.replace(study.subsets, count=0)
    return plan.make_plan(arrival, random, {}, none, increments)


def _devices() -> list[Any]:
    """One device of each kind that JAX finds."""
    first: dict[str, Any] = {}
    for client in backends().values():
        for device in client.local_devices():
            first.setdefault(device.device_kind, device)
    return list(first.values())


def _profile_device(
    device: Any, folder: StudyFolder, study: Study, tasks: Sequence[plan.PlannedFit], log: Log
) -> Iterator[MeasuredGradient]:
    bandwidth = measure_bandwidth(device)
    for precision in PRECISIONS:
        with jax.enable_x64(precision == "float64"), jax.default_device(device):
            for task in tasks:
                log(f"{device.device_kind}, {precision}: {task.rows} rows")
                # The model is loaded anew, so that its constants have the precision, too.
                (batch,) = batches.read_batches(
                    folder, [task], study.data.outcome, study.model, precision
                )
                for n_chains in (1, study.sampler.chains):
                    moved = coordinates_of(batch.function, study.sampler.reparam)
                    measured = _measure(batch, moved, n_chains, study.model.file)
                    yield MeasuredGradient(
                        device.device_kind, precision, task.rows, n_chains, *measured, bandwidth
                    )


def _measure(
    batch: batches.Batch, moved: Reparameterisation, n_chains: int, file: str
) -> tuple[float, float, float]:
    """Seconds, least bytes and XLA's bytes of a gradient of every chain."""
    arrays = {name: jnp.asarray(values) for name, values in batch.own[0].items()}
    z = _points(batch, arrays, n_chains)
    if not z:
        raise StudyError(f"{file}: the model has no latent site, so that a fit takes no gradient")
    n_bytes = sum(part.nbytes for part in arrays.values()) + 2 * sum(x.nbytes for x in z.values())
    counted = jax.jit(gradient(moved)).lower(z, arrays).compile().cost_analysis() or {}
    seconds = time_gradients(moved.potential, z, arrays, n_runs=_RUNS)
    return seconds, float(n_bytes), float(counted.get("bytes accessed", math.nan))


def _points(
    batch: batches.Batch, arrays: dict[str, jax.Array], n_chains: int
) -> dict[str, jax.Array]:
    """Points `(chain, ...)` in (-2, 2) on the unconstrained scale: what a gradient costs hardly depends on them."""
    latent = [site for site in batch.sites if site.kind == "latent"]
    shapes = density.vector_of(batch.function, latent, arrays, batch.labels).shapes
    keys = jax.random.split(jax.random.PRNGKey(0), max(1, len(shapes)))
    return {
        name: jax.random.uniform(key, (n_chains, *shape), minval=-2, maxval=2)
        for key, (name, shape) in zip(keys, shapes.items(), strict=False)
    }


def leapfrogs_seen(folder: StudyFolder, study: Study) -> FitLeapfrogs | None:
    """Look up the leapfrogs of the largest increment fitted with these data, model and sampler.

    Parameters
    ----------
    folder
        Of the study's results, which need not be there.
    """
    if not folder.plan.is_file():
        return None
    # Of a fit with its units integrated out leapfrogs are of another density.
    if study.sampler.marginalise:
        return None
    wanted = _compared(json.loads(study.sections("data", "model", "sampler")))
    for row in reversed(formats.read_plan(folder.plan)):
        path = folder.record(row.fit)
        if row.kind != "increment" or not path.is_file():
            continue
        found = record.read(path)
        if found.status == "done" and _compared(found.settings) == wanted:
            tree = posterior_file.read_posterior(folder.posterior(row.fit))
            groups = ("warmup_sample_stats", "sample_stats")
            n_steps = [tree[group]["n_steps"].to_numpy() for group in groups]
            return FitLeapfrogs(row.fit, float(np.concatenate(n_steps, axis=1).mean()))
    return None


def _compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the sections that leapfrogs depend on."""
    sampler = without_later_keys(settings.get("sampler", {}))
    return {"data": settings.get("data"), "model": settings.get("model"), "sampler": sampler}


def table(
    costs: Sequence[MeasuredGradient], study: Study, seen: FitLeapfrogs | None
) -> pd.DataFrame:
    """Give all costs as a tidy table: one row per cost and number of leapfrogs per iteration.

    `share` is that of the bandwidth: 1 where a gradient takes as long as moving its bytes, more where these stay in a
    cache. `xla_share` counts what XLA counts.
    """
    of_costs = pd.DataFrame(costs)
    seconds = of_costs.pop("seconds")
    of_costs["share"] = of_costs["bytes"] / seconds / of_costs["bandwidth"]
    of_costs["xla_share"] = of_costs["xla_bytes"] / seconds / of_costs["bandwidth"]
    of_costs["seconds_per_gradient"] = seconds
    leapfrogs = [*_LEAPFROGS, *([seen.leapfrogs] if seen else [])]
    found = of_costs.merge(pd.DataFrame({"leapfrogs": leapfrogs}), how="cross")
    found["seconds_per_draw"] = found["leapfrogs"] * found["seconds_per_gradient"]
    iterations = study.sampler.warmup + study.sampler.draws
    found["seconds_per_fit"] = iterations * found["leapfrogs"] * found["seconds_per_gradient"]
    return found


def as_text(table: pd.DataFrame, study: Study, seen: FitLeapfrogs | None, n_cores: int) -> str:
    """Show the table to a person.

    Parameters
    ----------
    table
        From `table`.
    seen
        Whose leapfrogs the last columns take, if any.
    n_cores
        Of the processor that this process may use.
    """
    sampler = study.sampler
    speeds = table.drop_duplicates("device").set_index("device")["bandwidth"]
    lines = [f"{device}: {speed / 1e9:.3g} GB/s" for device, speed in speeds.items()]
    iterations = f"{sampler.chains} chains x ({sampler.warmup} + {sampler.draws}) iterations"
    source = f"; {seen.leapfrogs:.3g} as in {seen.fit}" if seen else ""
    return "\n".join(
        [
            f"{study.study}: {study.model.file}, {n_cores} CPU cores; bandwidth of a copy: {', '.join(lines)}",
            "",
            "One gradient of all chains together",
            _gradients(table),
            "",
            f"Milliseconds of a draw and seconds of a fit of {iterations}, by leapfrogs per iteration{source}",
            _fits(table[table["chains"] == sampler.chains]),
        ]
    )


def _gradients(table: pd.DataFrame) -> str:
    first = table.drop_duplicates(["device", "precision", "rows", "chains"])
    shown = first[["device", "precision", "rows", "chains"]].assign(
        ms=_short(1e3 * first["seconds_per_gradient"]),
        MB=_short(first["bytes"] / 1e6),
        share=_percent(first["share"]),
        xla_MB=_short(first["xla_bytes"] / 1e6),
        xla_share=_percent(first["xla_share"]),
    )
    return shown.to_string(index=False)


def _fits(table: pd.DataFrame) -> str:
    keys = ["device", "precision", "rows"]
    shown = table[keys].drop_duplicates().reset_index(drop=True)
    for leapfrogs in table["leapfrogs"].drop_duplicates():
        part = table[table["leapfrogs"] == leapfrogs]
        shown[f"draw_{leapfrogs:.3g}"] = _short(1e3 * part["seconds_per_draw"])
        shown[f"fit_{leapfrogs:.3g}"] = _short(part["seconds_per_fit"])
    return shown.to_string(index=False)


def _short(values: pd.Series) -> list[str]:
    return [f"{value:.0f}" if value >= 100 else f"{value:.3g}" for value in values]


def _percent(values: pd.Series) -> list[str]:
    return [f"{100 * value:.3g}%" for value in values]
