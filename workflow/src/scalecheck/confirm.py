"""Fit a subset again with a fresh seed, where its leapfrogs could be more than luck.

Nothing here imports JAX before a refit: most studies have nothing to confirm.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scalecheck import plan, records, seals
from scalecheck.checks import effort
from scalecheck.plan import PlannedFit
from scalecheck.results import FitResult, read_fit
from scalecheck.runs import effort_of
from scalecheck.study_folder import StudyFolder

if TYPE_CHECKING:
    from scalecheck.chain import Job


class Candidate(NamedTuple):
    """What there is to confirm.

    Attributes
    ----------
    task
        The subset to fit again, or None.
    reason
        Why there is none.
    """

    task: PlannedFit | None
    reason: str


def read_subsets(folder: StudyFolder) -> list[FitResult]:
    """Read the random subsets, whose fits are done before those of increments."""
    rows = records.read_plan(folder.plan)
    subsets = [row["fit"] for row in rows if row["kind"] == "subset"]
    tasks = plan.locate(rows, subsets, {}, "")
    found = [(task, seals.read_record(folder, task.fit)) for task in tasks]
    return [read_fit(folder, task, one) for task, one in found if one["status"] == "done"]


def candidate(subsets: Sequence[FitResult], alpha: float) -> Candidate:
    """Choose the subset whose leapfrogs stand out, if one does, whether its posterior can be used or not.

    At alpha itself, and not at the smaller bound that makes a finding strong: a fit of a subset is
    cheap, and no suspicion is to rest on one seed either. Adjusting p-values can only raise them, so
    that whatever the verdict could call suspect is fitted again.

    Parameters
    ----------
    subsets
        All that were fitted.
    alpha
        `verdict.alpha`.
    """
    finding, _ = effort.check(effort_of(subsets), {})
    if finding.p is None or finding.p >= alpha:
        return Candidate(None, f"nothing to confirm: {finding.message}")
    worst = next(fit for fit in subsets if fit.task.fit == finding.fit)
    return Candidate(worst.task, "")


def refit(job: "Job", task: PlannedFit) -> dict[str, Any]:
    """Fit the rows of a subset again, everything but the seed the same; give a record of it.

    The key of a fit comes from its name: under another name it is another key. `leapfrogs` is added
    to what a record has: per iteration after warmup, by chain.
    """
    from scalecheck import chain, fit, posterior

    sampler = job.sections["sampler"]
    job.log(f"{task.fit} takes many leapfrogs: fitting it again with another seed")
    (batch,) = chain.read(job, [task._replace(fit=f"{task.fit} again")])
    keeper = chain.keeper_of(job, batch, job.folder.confirmation_checkpoint)
    fitted = fit.fit_batch(batch, sampler, job.sections["seed"], job.log, keeper=keeper)
    n_steps = fitted.draws.iterations[0].n_steps[:, sampler.warmup :]
    record = posterior.record(fitted, 0, sampler, job.raw, job.device, job.importing)
    leapfrogs = n_steps.mean(axis=1).tolist() if record["status"] == "done" else None
    return {**record, "fit": task.fit, "leapfrogs": leapfrogs}


def nothing(reason: str) -> dict[str, Any]:
    """Give what is written where there is nothing to confirm."""
    return {"fit": None, "reason": reason}


def read_record(folder: StudyFolder) -> dict[str, Any] | None:
    """Read the record of the second fit of a subset; None where there was nothing to confirm."""
    if not folder.confirmation.exists():
        return None  # a study of one process, without the workflow
    found = records.read_json(folder.confirmation)
    return None if found["fit"] is None else found


def read(folder: StudyFolder) -> effort.Confirmation | None:
    """Read what the second fit of a subset took; None where there was nothing to confirm."""
    found = read_record(folder)
    if found and found["status"] == "stopped":
        return None  # without draws it confirms nothing
    return effort.Confirmation(found["fit"], np.array(found["leapfrogs"])) if found else None
