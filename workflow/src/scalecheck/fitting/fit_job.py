"""What the fits of one job share: settings, rows in batches, checkpoints."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scalecheck import ENGINE_VERSION
from scalecheck.data import store
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import checkpoint, fit_record
from scalecheck.fitting.starts.warm_start import WarmStart
from scalecheck.model import batches, binding
from scalecheck.runtime.program import Log
from scalecheck.sampler.snapshot import to_arrays
from scalecheck.study import plan
from scalecheck.study.plan import PlannedFit


class Job(NamedTuple):
    """What every fit of a job shares.

    Attributes
    ----------
    folder
        `results/<study>`.
    sections
        The settings that the fits depend on, parsed.
    raw
        The same as given, for the record.
    device
        From `device.confirm`.
    importing
        Wall and processor seconds until everything was imported.
    log
        Takes one line of progress.
    """

    folder: StudyFolder
    sections: Mapping[str, Any]
    raw: Mapping[str, Any]
    device: Mapping[str, Any]
    importing: tuple[float, float]
    log: Log


def find_tasks(job: Job, fits: list[str]) -> list[PlannedFit]:
    """Find fits in the plan."""
    table = formats.read_plan(job.folder.plan)
    levels = {axis: part["rows"] for axis, part in store.read_meta(job.folder.data).axes.items()}
    order = job.sections.get("increments")
    return plan.locate(table, fits, levels, order.order if order else "")


def read_batch(job: Job, planned: Sequence[PlannedFit]) -> list[batches.Batch]:
    """Read the rows of fits, as batches of one shape."""
    data, model = job.sections["data"], job.sections["model"]
    precision = job.sections["sampler"].precision
    return batches.read_batches(job.folder, planned, data.outcome, model, precision)


def checkpointer_of(
    job: Job, batch: batches.Batch, folder: Path, left: WarmStart | None = None
) -> checkpoint.Checkpointer:
    """Keep a batch in a folder, under a hash of everything that its draws depend on."""
    own = {name: job.raw[name] for name in ("seed", "model", "sampler")}
    source = binding.source(job.sections["model"].file)
    names = ",".join(task.fit for task in batch.tasks)
    parts = (own, fit_record.versions(), ENGINE_VERSION, job.device["device"])
    before = to_arrays({"left": left}) if left else {}
    arrays = batch.arrays | before
    identity = checkpoint.identify(arrays, names, source, *map(json.dumps, parts))
    return checkpoint.Checkpointer(folder, identity, checkpoint.seconds_between(), job.log)
