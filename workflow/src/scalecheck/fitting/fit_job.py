"""What the fits of one job share: settings, rows in batches, checkpoints."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scalecheck import ENGINE_VERSION
from scalecheck.data.planned_fits import read_planned
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import checkpoint, fit_record
from scalecheck.fitting.starts.warm_start import WarmStart
from scalecheck.model import batches, binding
from scalecheck.runtime.program import Log
from scalecheck.sampler.snapshot import to_arrays
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import Study


class Job(NamedTuple):
    """What every fit of a job shares.

    Attributes
    ----------
    folder
        `results/<study>`.
    study
        The sections that the fits depend on.
    raw
        The same as given, for the record.
    device
        From `device.check_device`.
    importing
        Wall and processor seconds until everything was imported.
    log
        Takes one line of progress.
    """

    folder: StudyFolder
    study: Study
    raw: Mapping[str, Any]
    device: Mapping[str, Any]
    importing: tuple[float, float]
    log: Log


def find_tasks(job: Job, fits: list[str]) -> list[PlannedFit]:
    """Find fits in the plan."""
    increments = getattr(job.study, "increments", None)
    return read_planned(job.folder, increments.order if increments else "", fits)


def read_batch(job: Job, planned: Sequence[PlannedFit]) -> list[batches.Batch]:
    """Read the rows of fits, as batches of one shape."""
    study = job.study
    return batches.read_batches(
        job.folder, planned, study.data.outcome, study.model, study.sampler.precision
    )


def checkpointer_of(
    job: Job, batch: batches.Batch, folder: Path, *more: str, left: WarmStart | None = None
) -> checkpoint.Checkpointer:
    """Keep a batch in a folder, under a hash of everything that its draws depend on, `more` beside the job's own."""
    own = {name: job.raw[name] for name in ("seed", "model", "sampler")}
    source = binding.read_source(job.study.model.file)
    names = ",".join(task.fit for task in batch.tasks)
    parts = (own, fit_record.versions(), ENGINE_VERSION, job.device["device"])
    before = to_arrays({"left": left}) if left else {}
    arrays = batch.arrays | before
    identity = checkpoint.identify(arrays, names, source, *map(json.dumps, parts), *more)
    return checkpoint.Checkpointer(folder, identity, checkpoint.seconds_between(), job.log)
