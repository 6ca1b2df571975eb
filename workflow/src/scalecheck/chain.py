"""What a job of fits does: sample a batch, or one increment of the chain, and write what it found."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scalecheck import ENGINE_VERSION, batches, checkpoint, fit, plan, posterior, records, store
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
    keeper = _keeper(job, batch)
    journal = Journal(
        [job.folder.progress(task.fit) for task in batch.tasks],
        [task.fit for task in batch.tasks],
        sampler.warmup,
        goes_on=keeper.folder.exists(),
    )
    fitted = fit.fit_batch(batch, sampler, job.sections["seed"], job.log, journal.tell, keeper)
    # Each fit's share; all of a job import together.
    importing = (job.importing[0] / n_fits, job.importing[1] / n_fits)
    found: list[dict[str, Any]] = []
    for number, task in enumerate(batch.tasks):
        groups = posterior.datasets(fitted, number, sampler.keep)
        records.write_posterior(job.folder.posterior(task.fit), groups)
        found.append(posterior.record(fitted, number, sampler, job.raw, job.device, importing))
    return found


def _keeper(job: Job, batch: batches.Batch) -> checkpoint.Keeper:
    """Keep a batch that depends on nothing but what the hash is of."""
    own = {name: job.raw[name] for name in ("seed", "model", "sampler")}
    source = Path(job.sections["model"].file).read_text(encoding="utf-8")
    names = ",".join(task.fit for task in batch.tasks)
    parts = (own, posterior.versions(), ENGINE_VERSION, job.device["device"])
    identity = checkpoint.identify(batch.arrays, names, source, *map(json.dumps, parts))
    folder = job.folder.checkpoint(batch.tasks[0].fit)
    return checkpoint.Keeper(folder, identity, checkpoint.seconds_between(), job.log)


def _clear(job: Job, fits: list[str]) -> None:
    """Remove what was kept of fits that are written."""
    for name in fits:
        shutil.rmtree(job.folder.checkpoint(name), ignore_errors=True)


def write_batch(job: Job, fits: list[str], manifest: Path | None) -> None:
    """Run a batch and write its records; the manifest, if asked for, comes last of all."""
    recorded = run_batch(job, fits)
    for record in recorded:
        records.write_json(job.folder.record(record["fit"]), record)
    if manifest is not None:
        records.write_json(manifest, {"fits": fits})
    _clear(job, fits)


def write_increment(job: Job, name: str, before: str | None) -> None:
    """Run one increment, unless the one before said stop or the budget is spent; look at it, and write the record.

    Parameters
    ----------
    before
        The increment before this one; None for the first.
    """
    (task,) = tasks(job, [name])
    so_far = _increments(job, name) if before else [task]
    recorded = [records.read_json(job.folder.record(one.fit)) for one in so_far[:-1]]
    if before and (reason := _reason_to_skip(job, task, recorded)):
        job.log(f"{name}: skipped: {reason}")
        records.write_json(job.folder.record(name), posterior.skipped_record(task, job.raw, reason))
        return
    recorded += run_batch(job, [name])
    if before:
        if job.sections["increments"].stop == "misfit":
            recorded[-1]["stop"] = _look(job, so_far, recorded)
        _say_forecast(job, name, recorded)
    records.write_json(job.folder.record(name), recorded[-1])
    _clear(job, [name])


def _increments(job: Job, name: str) -> list[PlannedFit]:
    """Increments up to this one."""
    rows = records.read_plan(job.folder.plan)
    planned = [row["fit"] for row in rows if row["kind"] == "increment"]
    return tasks(job, planned[: planned.index(name) + 1])


def _reason_to_skip(job: Job, task: PlannedFit, recorded: list[dict[str, Any]]) -> str:
    """Why an increment is not fitted after those before it; empty where it is."""
    if reason := recorded[-1].get("stop") or recorded[-1]["reason"]:
        return reason
    if job.sections["budget"].seconds is None:
        return ""
    from scalecheck import budget

    return budget.refusal(recorded, task.rows, job.sections["budget"])


def _say_forecast(job: Job, name: str, recorded: list[dict[str, Any]]) -> None:
    # Here for the same reason as in `_look`: the first increment has nothing to forecast from.
    from scalecheck import budget

    settings = job.sections["budget"]
    n_rows = store.read_meta(job.folder.data).n_rows
    job.log(f"{name}: {budget.in_words(budget.fit_of(recorded, n_rows, settings), settings)}")


def _look(job: Job, so_far: list[PlannedFit], recorded: list[dict[str, Any]]) -> str:
    """Why to stop after the last of these increments; empty to go on."""
    # Only here: a job that does not look saves two seconds of importing what looks.
    from scalecheck import examine
    from scalecheck.evidence import open_evidence
    from scalecheck.results import read_fit

    data, record = job.sections["data"], recorded[-1]
    evidence = open_evidence(job.folder, job.sections["model"], data.outcome, job.sections["seed"])
    fits = [read_fit(job.folder, *pair) for pair in zip(so_far, recorded, strict=True)]
    rows = records.read_plan(job.folder.plan)
    planned = sum(row["kind"] == "increment" for row in rows)
    found = examine.look(evidence, fits, data, planned, job.sections["verdict"]["alpha"])
    if not found:
        return ""
    job.log(f"{record['fit']}: stop after this increment: {found}")
    return f"{record['fit']} ({record['rows']} rows) was found to break: {found}"
