"""What a job of fits does: sample a batch, or one increment of the chain, and write what it found."""

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scalecheck import (
    ENGINE_VERSION,
    batches,
    checkpoint,
    fit,
    model,
    plan,
    posterior,
    posterior_file,
    records,
    seals,
    store,
)
from scalecheck.arrays import DAMAGE, read_arrays, write_arrays
from scalecheck.checks import audit
from scalecheck.journal import Journal
from scalecheck.plan import PlannedFit
from scalecheck.program import Log
from scalecheck.stops import is_without_draws
from scalecheck.study import SamplerSettings
from scalecheck.study_folder import StudyFolder
from scalecheck.warm import Left, is_audited, leave, left_from, warmup_of


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
    return plan.locate(table, fits, levels, order.order if order else "")


def run_batch(job: Job, fits: list[str]) -> list[dict[str, Any]]:
    """Sample fits of one shape and write their posteriors; give their records, which the caller writes last."""
    return [record for batch in _read(job, fits) for record in _run_shape(job, batch, len(fits))]


def _read(job: Job, fits: list[str]) -> list[batches.Batch]:
    return read(job, tasks(job, fits))


def read(job: Job, planned: Sequence[PlannedFit]) -> list[batches.Batch]:
    """Read the rows of fits, as batches of one shape."""
    data, model = job.sections["data"], job.sections["model"]
    precision = job.sections["sampler"].precision
    return batches.read_batches(job.folder, planned, data.outcome, model, precision)


def _run_shape(job: Job, batch: batches.Batch, n_fits: int) -> list[dict[str, Any]]:
    sampler = job.sections["sampler"]
    fitted = _sample(job, batch, sampler)
    return [_write_posterior(job, fitted, i, sampler, n_fits) for i in range(len(batch.tasks))]


def _sample(
    job: Job, batch: batches.Batch, sampler: SamplerSettings, left: Left | None = None
) -> fit.Fitted:
    """Sample a batch, kept and watched; from where the increment before it ended, if that is given."""
    keeper = keeper_of(job, batch, job.folder.checkpoint(batch.tasks[0].fit), left)
    journal = Journal(
        [job.folder.progress(task.fit) for task in batch.tasks],
        [task.fit for task in batch.tasks],
        sampler.warmup,
        goes_on=keeper.folder.exists(),
    )
    return fit.fit_batch(
        batch, sampler, job.sections["seed"], job.log, journal.tell, keeper, None if left is None else [left]
    )  # fmt: skip


def _write_posterior(
    job: Job, fitted: fit.Fitted, number: int, sampler: SamplerSettings, n_fits: int = 1
) -> dict[str, Any]:
    """Write the posterior of one fit of a batch, if it has one; give its record."""
    # Each fit's share; all of a job import together.
    importing = (job.importing[0] / n_fits, job.importing[1] / n_fits)
    name = fitted.batch.tasks[number].fit
    path = job.folder.posterior(name)
    record = posterior.record(fitted, number, sampler, job.raw, job.device, importing)
    if is_without_draws(fitted.draws, number, sampler.warmup):
        path.unlink(missing_ok=True)
        return record
    posterior_file.write_posterior(path, posterior.datasets(fitted, number, sampler.keep))
    return record | seals.of_posterior(job.folder, name)


def keeper_of(
    job: Job, batch: batches.Batch, folder: Path, left: Left | None = None
) -> checkpoint.Keeper:
    """Keep a batch in a folder, under a hash of everything that its draws depend on."""
    own = {name: job.raw[name] for name in ("seed", "model", "sampler")}
    source = model.source(job.sections["model"].file)
    names = ",".join(task.fit for task in batch.tasks)
    parts = (own, posterior.versions(), ENGINE_VERSION, job.device["device"])
    before = {f"left:{name}": v for name, v in left.arrays().items()} if left else {}
    arrays = batch.arrays | before
    identity = checkpoint.identify(arrays, names, source, *map(json.dumps, parts))
    return checkpoint.Keeper(folder, identity, checkpoint.seconds_between(), job.log)


def _forget(job: Job, fits: list[str]) -> None:
    """Remove records of fits that are made again: what has a record is done, whatever the dates of files say."""
    for name in fits:
        job.folder.record(name).unlink(missing_ok=True)


def _clear(job: Job, fits: list[str]) -> None:
    """Remove what was kept of fits that are written."""
    for name in fits:
        for folder in (job.folder.checkpoint(name), job.folder.audit_checkpoint(name)):
            shutil.rmtree(folder, ignore_errors=True)


def write_batch(job: Job, fits: list[str], manifest: Path | None) -> None:
    """Run a batch and write its records; the manifest, if asked for, comes last of all."""
    _forget(job, fits)
    recorded = run_batch(job, fits)
    for record in recorded:
        _say_stopped(job, record)
        seals.write_record(job.folder, record)
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
    recorded = [seals.read_record(job.folder, one.fit) for one in so_far[:-1]]
    if before and (reason := _reason_to_skip(job, task, recorded)):
        job.log(f"{name}: skipped: {reason}")
        seals.write_record(job.folder, posterior.skipped_record(task, job.raw, reason))
        return
    _forget(job, [name])
    recorded.append(_run_increment(job, name, before, len(recorded)))
    _say_stopped(job, recorded[-1])
    if before:
        if job.sections["increments"].stop == "misfit" and recorded[-1]["status"] == "done":
            recorded[-1]["stop"] = _look(job, so_far, recorded)
        _say_forecast(job, name, recorded)
    seals.write_record(job.folder, recorded[-1])
    _clear(job, [name])


def _say_stopped(job: Job, record: Mapping[str, Any]) -> None:
    if record["status"] == "stopped":
        job.log(f"{record['fit']}: stopped: {record['reason']}")


def _run_increment(job: Job, name: str, before: str | None, number: int) -> dict[str, Any]:
    """Sample one increment, write its posterior and what it leaves to the next; give its record.

    Where increments start warm, every `cold_audit`-th is sampled cold as well, and compared. One that was
    stopped leaves what it was left.
    """
    settings, sampler = job.sections["increments"], job.sections["sampler"]
    (batch,) = _read(job, [name])
    has_parameters = any(site.kind == "latent" for site in batch.sites)
    if not (settings.warm or sampler.start == "previous") or not has_parameters:
        return _run_shape(job, batch, 1)[0]
    left = _left(job, before) if before else None
    if settings.warm and left is not None:
        sampler = dataclasses.replace(sampler, warmup=warmup_of(sampler.warmup))
    fitted = _sample(job, batch, sampler, left)
    record = _write_posterior(job, fitted, 0, sampler)
    has_draws = record["status"] == "done"
    if left is not None and has_draws and is_audited(settings, number):
        record["audit"] = _audit(job, fitted, batch)
    left = leave(batch.tasks[0].rows, fitted.draws) if has_draws else left
    if left is None:
        job.folder.left(name).unlink(missing_ok=True)
    else:
        write_arrays(job.folder.left(name), left.arrays())
    return record


def _left(job: Job, before: str) -> Left | None:
    """Read what an increment left; None, and a start as the first one's, where that is damaged or nothing."""
    path = job.folder.left(before)
    if not path.exists():
        job.log(f"{before} left nothing: the next increment starts as the first")
        return None
    try:
        return left_from(read_arrays(path))
    except DAMAGE as error:
        job.log(f"{path}: cannot be read ({error}): the next increment starts as the first")
        return None


def _audit(job: Job, warm: fit.Fitted, batch: batches.Batch) -> dict[str, Any]:
    """Sample an increment cold, under a key of its own, and compare."""
    (task,) = batch.tasks
    job.log(f"{task.fit}: sampled cold as well, to be compared")
    sampler = job.sections["sampler"]
    again = batch._replace(tasks=(task._replace(fit=f"{task.fit} cold"),))
    keeper = keeper_of(job, again, job.folder.audit_checkpoint(task.fit))
    cold = fit.fit_batch(again, sampler, job.sections["seed"], job.log, keeper=keeper)
    vector = batch.vector
    cost = posterior.record(cold, 0, sampler, job.raw, job.device, (0.0, 0.0))
    kept = {name: cost[name] for name in ("gradients", "seconds", "cpu_seconds", "draws")}
    if cost["status"] == "stopped":
        job.log(f"{task.fit}: not compared, the cold fit was stopped: {cost['reason']}")
        return {"p": None, **kept}
    found = audit.compare(*(np.asarray(vector.pack(one.draws.z[0], 2)) for one in (warm, cold)))
    return {**found._asdict(), **kept}


def _increments(job: Job, name: str) -> list[PlannedFit]:
    """Increments up to this one."""
    rows = records.read_plan(job.folder.plan)
    planned = [row["fit"] for row in rows if row["kind"] == "increment"]
    return tasks(job, planned[: planned.index(name) + 1])


def _reason_to_skip(job: Job, task: PlannedFit, recorded: list[dict[str, Any]]) -> str:
    """Why an increment is not fitted after those before it; empty where it is."""
    last = recorded[-1]
    if reason := last["reason"] if last["status"] == "skipped" else last.get("stop"):
        return reason
    if job.sections["budget"].seconds is None:
        return ""
    from scalecheck import budget

    audited = is_audited(job.sections["increments"], len(recorded))
    return budget.refusal(recorded, task.rows, job.sections["budget"], audited=audited)


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
    pairs = zip(so_far, recorded, strict=True)
    fits = [read_fit(job.folder, *pair) for pair in pairs if pair[1]["status"] == "done"]
    rows = records.read_plan(job.folder.plan)
    planned = sum(row["kind"] == "increment" for row in rows)
    found = examine.look(evidence, fits, data, planned, job.sections["verdict"]["alpha"])
    if not found:
        return ""
    job.log(f"{record['fit']}: stop after this increment: {found}")
    return f"{record['fit']} ({record['rows']} rows) was found to break: {found}"
