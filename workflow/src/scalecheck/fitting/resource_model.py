"""What a fit asks of a machine, by its rows: from shapes alone, so that a queue is told before anything was fitted."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from scalecheck.data import store
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import marginalised_fits, memory, sample_batch
from scalecheck.fitting.starts.find_starts import shapes_of_starts
from scalecheck.model import batches, binding
from scalecheck.model.batches import Batch
from scalecheck.model.reparam import coordinates_of
from scalecheck.model.rows import SHARED_SIZES
from scalecheck.study.plan import PlannedFit, Slice
from scalecheck.study.settings import SamplerSettings


class LinearInRows(NamedTuple):
    """What grows with rows: `fixed + per_row * rows`."""

    fixed: float
    per_row: float


class FitResources(NamedTuple):
    """What one fit asks for.

    Attributes
    ----------
    held
        Bytes of its data and its draws, which are there as long as any fit of its job runs.
    running
        Bytes of its chains and their gradients, while it runs.
    operations
        Of a gradient of one chain; what is no sum or product counts as many.
    """

    held: float
    running: float
    operations: float


def demand_of_study(
    folder: StudyFolder,
    bound: binding.Model,
    compare: Sequence[str] | None,
    sampler: SamplerSettings,
) -> dict[str, Any]:
    """Lay out a fit of few rows and one of many, and draw a line through what each asks for.

    Parameters
    ----------
    folder
        Whose store is written.
    bound
        The model.
    compare
        `model.compare`.

    Returns
    -------
    dict
        For `model.json`: the rows of the study, the fits of a job that run at once, bytes and operations by rows.
    """
    meta = store.read_meta(folder.data)
    wanted = batches.stored_columns(bound, meta.unit)
    measured: dict[int, FitResources] = {}
    # Two are enough for a slope, and of these sizes none is padded.
    sizes = [size for size in SHARED_SIZES if size <= meta.n_rows] or [meta.n_rows]
    for n_rows in sorted({sizes[0], sizes[-1]}):
        part = Slice("random", 0, n_rows)
        task = PlannedFit(f"{n_rows} rows", "subset", "", "", n_rows, n_rows, (part,))
        values = [store.read_rows(folder.data, [part], wanted)]
        (batch,) = batches.make_batches(
            bound, [task], values, meta.labels, meta.unit, compare, sampler.precision
        )
        with jax.enable_x64(sampler.precision == "float64"):
            measured[n_rows] = _of_batch(batch, sampler)
    lines = {
        name: line_through({n: getattr(one, name) for n, one in measured.items()})._asdict()
        for name in FitResources._fields
    }
    return {"rows": meta.n_rows, "at_once": sample_batch.at_once(sampler), **lines}


def line_through(points: Mapping[int, float]) -> LinearInRows:
    """Draw a line through one point or two, rows -> value; a level one through a single point.

    It falls nowhere and begins at no less than nothing.
    """
    if len(points) == 1:
        (value,) = points.values()
        return LinearInRows(value, 0.0)
    (few, low), (many, high) = sorted(points.items())
    per_row = max(0.0, (high - low) / (many - few))
    return LinearInRows(max(0.0, high - per_row * many), per_row)


def _of_batch(batch: Batch, sampler: SamplerSettings) -> FitResources:
    if not sample_batch.has_parameters(batch):
        return FitResources(float(sum(values.nbytes for values in batch.arrays.values())), 0.0, 0.0)
    sizes = sample_batch.forecast_memory(batch, sampler).together
    held, running = sizes.data + sizes.draws, sizes.chains + sizes.gradients
    return FitResources(float(held), float(running), _operations(batch, sampler))


# A logarithm or an exponential takes about as long as so many products.
_TRANSCENDENTAL = 20.0


def _operations(batch: Batch, sampler: SamplerSettings) -> float:
    moved = coordinates_of(batch.function, sampler.reparam)
    starts = shapes_of_starts(batch, sampler.chains)
    gradient, shapes = memory.one_gradient(moved.potential, batch.arrays, starts)
    lowered = jax.jit(gradient).lower(*shapes)
    cost: Mapping[str, float] = lowered.cost_analysis() or {}
    operations = cost.get("flops", 0.0) + _TRANSCENDENTAL * cost.get("transcendentals", 0.0)
    if sampler.marginalise:
        operations *= marginalised_fits.densities_per_gradient(batch)
    return operations
