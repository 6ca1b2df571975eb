"""Fit a subset again with a fresh seed, where its leapfrogs could be more than luck.

Nothing here imports JAX before a refit: most studies have nothing to confirm.
"""

import dataclasses
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from scalecheck.checks import effort
from scalecheck.data.planned_fits import read_planned
from scalecheck.examine import confirmation
from scalecheck.files import checksums, formats, record
from scalecheck.files.layout import StudyFolder
from scalecheck.model import source
from scalecheck.results.study_fits import FitResult, read_fit
from scalecheck.runtime.program import Log
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import Study

if TYPE_CHECKING:
    from scalecheck.fitting.fit_job import Job


def write_confirmation(
    folder: StudyFolder, study: Study, log: Log, open_job: Callable[[], "Job"]
) -> bool:
    """Fit the subset again that stands out, if one does and it was not fitted again yet; write confirmation.json.

    Parameters
    ----------
    open_job
        Takes the device, which is not wanted where there is nothing to confirm.

    Returns
    -------
    bool
        Whether a subset was fitted again now.
    """
    task, reason = confirmation.subset_to_confirm(read_subsets(folder), study.verdict.alpha)
    # A second fit depends on what the first one depends on, and on its name.
    own = checksums.read_record(folder, task.fit).identity if task else None
    known = formats.peek_json(folder.confirmation) or {}
    if task and (known.get("fit"), known.get("identity")) == (task.fit, own):
        log(f"{task.fit} was fitted again before, and is kept")
        return False
    if task is None:
        log(reason)
        found = {"fit": None, "reason": reason}
    else:
        before = source.digest(study.model.file)
        found = {**refit(open_job(), task), "identity": own}
        source.refuse_change(study.model.file, before)
    formats.write_json(folder.confirmation, found)
    shutil.rmtree(folder.confirmation_checkpoint.parent, ignore_errors=True)
    return task is not None


def read_subsets(folder: StudyFolder) -> list[FitResult]:
    """Read the random subsets, whose fits are done before those of increments."""
    tasks = [task for task in read_planned(folder) if task.kind == "subset"]
    found = [(task, checksums.read_record(folder, task.fit)) for task in tasks]
    return [read_fit(folder, task, one) for task, one in found if one.status == "done"]


def refit(job: "Job", task: PlannedFit) -> dict[str, Any]:
    """Fit the rows of a subset again, everything but the seed the same; give a record of it.

    The key of a fit comes from its name: under another name it is another key. `leapfrogs` is added
    to what a record has: per iteration after warmup, by chain.
    """
    from scalecheck.fitting import fit_job, fit_record, sample_batch

    sampler = job.study.sampler
    job.log(f"{task.fit} takes many leapfrogs: fitting it again with another seed")
    again = dataclasses.replace(task, fit=f"{task.fit} again")
    (batch,) = fit_job.read_batch(job, [again])
    checkpointer = fit_job.checkpointer_of(
        job, batch, job.folder.confirmation_checkpoint, fit_job.cold_digest(job, again)
    )
    fitted = sample_batch.fit_batch(
        batch, sampler, job.study.seed, job.log, checkpointer=checkpointer
    )
    n_steps = fitted.draws.iterations[0].n_steps[:, sampler.warmup :]
    found = fit_record.record(fitted, 0, sampler, job.raw, job.device, job.importing)
    leapfrogs = n_steps.mean(axis=1).tolist() if found.status == "done" else None
    return {**record.as_json(found), "fit": task.fit, "leapfrogs": leapfrogs}


def read_record(folder: StudyFolder) -> record.FitRecord | None:
    """Read the record of the second fit of a subset; None where there was nothing to confirm."""
    if not folder.confirmation.exists():
        return None  # a study of one process, without the workflow
    found = formats.read_json(folder.confirmation)
    return None if found["fit"] is None else record.of_json(found)


def read(folder: StudyFolder) -> effort.Confirmation | None:
    """Read what the second fit of a subset took; None where there was nothing to confirm."""
    found = read_record(folder)
    if found is None or found.status == "stopped":
        return None  # without draws it confirms nothing
    leapfrogs = np.array(found.gradients.sampling) / found.draws
    return effort.Confirmation(found.fit, leapfrogs, usable=found.usable)
