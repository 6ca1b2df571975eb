"""What a job of fits does: sample a batch, or one increment of the chain, and write what it found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scalecheck import batches, fit, plan, posterior, records, store
from scalecheck.journal import Journal
from scalecheck.plan import PlannedFit
from scalecheck.program import Log
from scalecheck.records import StudyFolder


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


def tasks(job: Job, fits: list[str]) -> list[PlannedFit]:
    """Find fits in the plan."""
    table = records.read_plan(job.folder.plan)
    levels = {axis: part["rows"] for axis, part in store.read_meta(job.folder.data).axes.items()}
    order = job.sections.get("increments")
    return [plan.locate(table, name, levels, order.order if order else "") for name in fits]


def run_batch(job: Job, fits: list[str]) -> list[dict[str, Any]]:
    """Sample fits of one shape and write their posteriors; give their records, which the caller writes last."""
    sampler = job.sections["sampler"]
    read = batches.read_batches(
        job.folder,
        tasks(job, fits),
        job.sections["data"].outcome,
        job.sections["model"],
        sampler.precision,
    )
    return [record for batch in read for record in _run_shape(job, batch, len(fits))]


def _run_shape(job: Job, batch: batches.Batch, n_fits: int) -> list[dict[str, Any]]:
    sampler = job.sections["sampler"]
    journal = Journal(
        [job.folder.progress(task.fit) for task in batch.tasks],
        [task.fit for task in batch.tasks],
        sampler.warmup,
    )
    fitted = fit.fit_batch(batch, sampler, job.sections["seed"], job.log, journal.tell)
    # Each fit's share; all of a job import together.
    importing = (job.importing[0] / n_fits, job.importing[1] / n_fits)
    found: list[dict[str, Any]] = []
    for number, task in enumerate(batch.tasks):
        groups = posterior.datasets(fitted, number, sampler.keep)
        records.write_posterior(job.folder.posterior(task.fit), groups)
        found.append(posterior.record(fitted, number, sampler, job.raw, job.device, importing))
    return found


def write_batch(job: Job, fits: list[str], manifest: Path | None) -> None:
    """Run a batch and write its records; the manifest, if asked for, comes last of all."""
    recorded = run_batch(job, fits)
    for record in recorded:
        records.write_json(job.folder.record(record["fit"]), record)
    if manifest is not None:
        records.write_json(manifest, {"fits": fits})


def write_increment(job: Job, name: str, before: str | None) -> None:
    """Run one increment, unless the one before said stop; look at both, and write the record.

    Parameters
    ----------
    before
        The increment before this one; None for the first.
    """
    (task,) = tasks(job, [name])
    previous = records.read_json(job.folder.record(before)) if before else None
    if previous and (reason := previous.get("stop") or previous["reason"]):
        job.log(f"{name}: skipped: {reason}")
        records.write_json(job.folder.record(name), posterior.skipped_record(task, job.raw, reason))
        return
    (record,) = run_batch(job, [name])
    if before and job.sections["increments"].stop == "misfit":
        record["stop"] = _look(job, record)
    records.write_json(job.folder.record(name), record)


def _look(job: Job, record: dict[str, Any]) -> str:
    """Why to stop after this increment; empty to go on."""
    # Only here: a job that does not look saves two seconds of importing what looks.
    from scalecheck import examine
    from scalecheck.evidence import open_evidence
    from scalecheck.results import read_fit

    data, name = job.sections["data"], record["fit"]
    evidence = open_evidence(job.folder, job.sections["model"], data.outcome, job.sections["seed"])
    rows = records.read_plan(job.folder.plan)
    planned = [row["fit"] for row in rows if row["kind"] == "increment"]
    so_far = tasks(job, planned[: planned.index(name) + 1])
    known = [records.read_json(job.folder.record(task.fit)) for task in so_far[:-1]] + [record]
    fits = [read_fit(job.folder, *pair) for pair in zip(so_far, known, strict=True)]
    found = examine.look(evidence, fits, data, len(planned), job.sections["verdict"]["alpha"])
    if not found:
        return ""
    job.log(f"{name}: stop after this increment: {found}")
    return f"{name} ({record['rows']} rows) was found to break: {found}"
