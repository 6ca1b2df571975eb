"""What the fits of one job share: settings, rows in batches, checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import checkpoint
from scalecheck.fitting.fit_identity import identify
from scalecheck.model import batches
from scalecheck.runtime.program import Log
from scalecheck.runtime.versions import versions
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


def read_batch(job: Job, planned: Sequence[PlannedFit]) -> list[batches.Batch]:
    """Read the rows of fits, as batches of one shape."""
    study = job.study
    return batches.read_batches(
        job.folder, planned, study.data.outcome, study.model, study.sampler.precision
    )


def checkpointer_of(
    job: Job, batch: batches.Batch, folder: Path, *parts: str
) -> checkpoint.Checkpointer:
    """Keep a batch in a folder, as what it is.

    Parameters
    ----------
    parts
        Digests of all that its draws depend on, as `fit_identity` gives them; but for the names of its fits, and the
        versions and the device, of which what goes on must be the same.
    """
    names = [task.fit for task in batch.tasks]
    identity = checkpoint.identify_run(names, parts, versions(), job.device["device"])
    return checkpoint.Checkpointer(folder, identity, checkpoint.seconds_between(), job.log)


def cold_digest(job: Job, task: PlannedFit) -> str:
    """Digest of all that a fit of some rows depends on that starts from no other."""
    return identify(job.folder, job.study, job.device["platform"], [task])[task.fit].digest
