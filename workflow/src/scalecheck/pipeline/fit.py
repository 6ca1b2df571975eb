"""What a job of fits does: sample a batch, or one increment, and write what it found."""

import dataclasses
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np

from scalecheck.checks import warm_start_audit
from scalecheck.data import planned_fits, store
from scalecheck.files import arrays, checksums, formats, posterior_file
from scalecheck.files.record import FitRecord, RecordedAudit, audit_of
from scalecheck.fitting import fit_record, sample_batch
from scalecheck.fitting.fit_job import Job, checkpointer_of, find_tasks, read_batch
from scalecheck.fitting.progress_log import ProgressLog
from scalecheck.fitting.starts import warm_start
from scalecheck.model import batches
from scalecheck.sampler.snapshot import to_arrays
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import SamplerSettings


def write_fits(job: Job, options: Namespace) -> None:
    """Do what the options of scalecheck-fit ask for: a batch of one shape, or one increment."""
    if options.increment:
        write_increment(job, options.fits[0], options.after)
    else:
        write_batch(job, options.fits, options.manifest)


def run_batch(job: Job, fits: list[str]) -> list[FitRecord]:
    """Sample fits of one shape and write their posteriors; give their records, which the caller writes last."""
    made = read_batch(job, find_tasks(job, fits))
    return [record for batch in made for record in _run_shape(job, batch, len(fits))]


def _run_shape(job: Job, batch: batches.Batch, n_fits: int) -> list[FitRecord]:
    sampler = job.study.sampler
    fitted = _sample(job, batch, sampler)
    return [_write_posterior(job, fitted, i, sampler, n_fits) for i in range(len(batch.tasks))]


def _sample(
    job: Job,
    batch: batches.Batch,
    sampler: SamplerSettings,
    left: warm_start.WarmStart | None = None,
) -> sample_batch.Fitted:
    """Sample a batch, kept and watched; from where the increment before it ended, if that is given."""
    checkpointer = checkpointer_of(job, batch, job.folder.checkpoint(batch.tasks[0].fit), left=left)
    names = [task.fit for task in batch.tasks]
    paths = [job.folder.progress(name) for name in names]
    journal = ProgressLog(paths, names, sampler.warmup, goes_on=checkpointer.folder.exists())
    before = None if left is None else [left]
    return sample_batch.fit_batch(
        batch, sampler, job.study.seed, job.log, journal.tell, checkpointer, before
    )


def _write_posterior(
    job: Job, fitted: sample_batch.Fitted, number: int, sampler: SamplerSettings, n_fits: int = 1
) -> FitRecord:
    """Write the posterior of one fit of a batch, if it has one; give its record."""
    # Each fit's share; all of a job import together.
    importing = (job.importing[0] / n_fits, job.importing[1] / n_fits)
    name = fitted.batch.tasks[number].fit
    path = job.folder.posterior(name)
    record = fit_record.record(fitted, number, sampler, job.raw, job.device, importing)
    if record.status == "stopped":
        path.unlink(missing_ok=True)
        return record
    posterior_file.write_posterior(path, fit_record.datasets(fitted, number, sampler.keep))
    return checksums.with_posterior(job.folder, record)


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
        checksums.write_record(job.folder, record)
    if manifest is not None:
        formats.write_json(manifest, {"fits": fits})
    _clear(job, fits)


def write_increment(job: Job, name: str, before: str | None) -> None:
    """Run one increment, unless the one before said stop or the budget is spent; look at it, and write the record.

    Parameters
    ----------
    before
        The increment before this one; None for the first.
    """
    *earlier, task = _increments(job, name)
    earlier = earlier if before else []
    recorded = [checksums.read_record(job.folder, one.fit) for one in earlier]
    if before and (reason := _reason_to_skip(job, task, recorded)):
        job.log(f"{name}: skipped: {reason}")
        checksums.write_record(job.folder, fit_record.skipped_record(task, job.raw, reason))
        return
    _forget(job, [name])
    record = _run_increment(job, name, before, len(recorded))
    _say_stopped(job, record)
    if before:
        if job.study.increments.stop == "misfit" and record.status == "done":
            stop = _look(job, [*earlier, task], [*recorded, record])
            record = dataclasses.replace(record, stop=stop)
        _say_forecast(job, name, [*recorded, record])
    checksums.write_record(job.folder, record)
    _clear(job, [name])


def _say_stopped(job: Job, record: FitRecord) -> None:
    if record.status == "stopped":
        job.log(f"{record.fit}: stopped: {record.reason}")


def _run_increment(job: Job, name: str, before: str | None, number: int) -> FitRecord:
    """Sample one increment, write its posterior and what it leaves to the next; give its record.

    Where increments start warm, every `cold_audit`-th is sampled cold as well, and compared. One that was
    stopped leaves what it was left.
    """
    settings, sampler = job.study.increments, job.study.sampler
    (batch,) = read_batch(job, find_tasks(job, [name]))
    has_parameters = any(site.kind == "latent" for site in batch.sites)
    if not (settings.warm or sampler.start == "previous") or not has_parameters:
        return _run_shape(job, batch, 1)[0]
    left = _left(job, before) if before else None
    if settings.warm and left is not None:
        sampler = dataclasses.replace(sampler, warmup=warm_start.warmup_of(sampler.warmup))
    fitted = _sample(job, batch, sampler, left)
    record = _write_posterior(job, fitted, 0, sampler)
    has_draws = record.status == "done"
    if left is not None and has_draws and warm_start.is_audited(settings, number):
        record = dataclasses.replace(record, audit=_audit(job, fitted, batch))
    left = warm_start.warm_start_of(batch.tasks[0].rows, fitted.draws) if has_draws else left
    if left is None:
        job.folder.left(name).unlink(missing_ok=True)
    else:
        arrays.write_arrays(job.folder.left(name), to_arrays(left))
    return record


def _left(job: Job, before: str) -> warm_start.WarmStart | None:
    """Read what an increment left; None, and a start as the first one's, where that is damaged or nothing."""
    path = job.folder.left(before)
    if not path.exists():
        job.log(f"{before} left nothing: the next increment starts as the first")
        return None
    try:
        return warm_start.read_warm_start(arrays.read_arrays(path))
    except arrays.DAMAGE as error:
        job.log(f"{path}: cannot be read ({error}): the next increment starts as the first")
        return None


def _audit(job: Job, warm: sample_batch.Fitted, batch: batches.Batch) -> RecordedAudit:
    """Sample an increment cold, under a key of its own, and compare."""
    (task,) = batch.tasks
    job.log(f"{task.fit}: sampled cold as well, to be compared")
    sampler = job.study.sampler
    again = batch._replace(tasks=(dataclasses.replace(task, fit=f"{task.fit} cold"),))
    checkpointer = checkpointer_of(job, again, job.folder.audit_checkpoint(task.fit))
    cold = sample_batch.fit_batch(
        again, sampler, job.study.seed, job.log, checkpointer=checkpointer
    )
    vector = batch.vector
    cost = fit_record.record(cold, 0, sampler, job.raw, job.device, (0.0, 0.0))
    if cost.status == "stopped":
        job.log(f"{task.fit}: not compared, the cold fit was stopped: {cost.reason}")
        return audit_of(cost)
    found = warm_start_audit.audit_warm_start(
        *(np.asarray(vector.pack(one.draws.z[0], 2)) for one in (warm, cold))
    )
    return audit_of(cost, **found._asdict())


def _increments(job: Job, name: str) -> list[PlannedFit]:
    """Increments up to this one."""
    planned = planned_fits.read_planned(job.folder, job.study.increments.order)
    increments = [task for task in planned if task.kind == "increment"]
    return increments[: [task.fit for task in increments].index(name) + 1]


def _reason_to_skip(job: Job, task: PlannedFit, recorded: list[FitRecord]) -> str:
    """Why an increment is not fitted after those before it; empty where it is."""
    last = recorded[-1]
    if reason := last.reason if last.status == "skipped" else last.stop:
        return reason
    if job.study.budget.seconds is None:
        return ""
    from scalecheck.results import budget

    audited = warm_start.is_audited(job.study.increments, len(recorded))
    return budget.refusal(recorded, task.rows, job.study.budget, audited=audited)


def _say_forecast(job: Job, name: str, recorded: list[FitRecord]) -> None:
    # Here for the same reason as in `_look`: the first increment has nothing to forecast from.
    from scalecheck.results import budget

    settings = job.study.budget
    n_rows = store.read_meta(job.folder.data).n_rows
    job.log(f"{name}: {budget.in_words(budget.fit_of(recorded, n_rows, settings), settings)}")


def _look(job: Job, so_far: list[PlannedFit], recorded: list[FitRecord]) -> str:
    """Why to stop after the last of these increments; empty to go on."""
    # Only here: a job that does not look saves two seconds of importing what looks.
    from scalecheck.examine.looks import reason_to_stop
    from scalecheck.pipeline.look import look

    record, pairs = recorded[-1], list(zip(so_far, recorded, strict=True))
    found = reason_to_stop(look(job.folder, job.study, pairs), job.study.verdict.alpha)
    if not found:
        return ""
    job.log(f"{record.fit}: stop after this increment: {found}")
    return f"{record.fit} ({record.rows} rows) was found to break: {found}"
