"""Run the fits of a job: sample them, write their posteriors, and give their records, which the caller writes last."""

import dataclasses
import gc
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from scalecheck.checks import warm_start_audit
from scalecheck.files import arrays, checksums, posterior_file
from scalecheck.files.record import FitRecord, RecordedAudit, audit_of
from scalecheck.fitting import fit_record, sample_batch
from scalecheck.fitting.fit_identity import Identity
from scalecheck.fitting.fit_job import Job, checkpointer_of, read_batch
from scalecheck.fitting.progress_log import ProgressLog
from scalecheck.fitting.refit_diverging import refit_diverging, region_of
from scalecheck.fitting.starts import warm_start
from scalecheck.model import batches
from scalecheck.sampler.snapshot import to_arrays
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import SamplerSettings

Known = Mapping[str, Identity]


def run_batch(job: Job, tasks: Sequence[PlannedFit], known: Known) -> Iterator[list[FitRecord]]:
    """Sample fits shape by shape, and write their posteriors: gives the records of a shape when all of it is written.

    Parameters
    ----------
    known
        Their identities.
    """
    gc.collect()  # before more rows are read, what the fits before held
    for batch in read_batch(job, tasks):
        yield _run_shape(job, batch, known, len(tasks))


def _run_shape(job: Job, batch: batches.Batch, known: Known, n_fits: int) -> list[FitRecord]:
    sampler = job.study.sampler
    fitted = _sample(job, batch, known, sampler)
    n = len(batch.tasks)
    records = [_write_posterior(job, fitted, i, known, sampler, n_fits) for i in range(n)]
    return refit_diverging(job, fitted, records, known)


def _sample(
    job: Job,
    batch: batches.Batch,
    known: Known,
    sampler: SamplerSettings,
    left: warm_start.WarmStart | None = None,
) -> sample_batch.Fitted:
    """Sample a batch, kept and watched; from where the increment before it ended, if that is given."""
    names = [task.fit for task in batch.tasks]
    folder = job.folder.checkpoint(names[0])
    checkpointer = checkpointer_of(job, batch, folder, *(known[name].digest for name in names))
    paths = [job.folder.progress(name) for name in names]
    journal = ProgressLog(paths, names, sampler.warmup, goes_on=checkpointer.folder.exists())
    before = None if left is None else [left]
    return sample_batch.fit_batch(
        batch, sampler, job.study.seed, job.log, journal.tell, checkpointer, before
    )


def _write_posterior(
    job: Job,
    fitted: sample_batch.Fitted,
    number: int,
    known: Known,
    sampler: SamplerSettings,
    n_fits: int = 1,
) -> FitRecord:
    """Write the posterior of one fit of a batch, if it has one; give its record."""
    # Each fit's share; all of a job import together.
    importing = (job.importing[0] / n_fits, job.importing[1] / n_fits)
    name = fitted.batch.tasks[number].fit
    path = job.folder.posterior(name)
    record = fit_record.record(fitted, number, sampler, job.raw, job.device, importing)
    if record.status == "stopped":
        path.unlink(missing_ok=True)
    else:
        groups = fit_record.datasets(fitted, number, sampler.keep)
        posterior_file.write_posterior(path, groups)
        region = region_of(groups, list(fitted.batch.vector.shapes), record)
        record = dataclasses.replace(record, diverging=region)
    job.folder.left(name).unlink(missing_ok=True)
    record = dataclasses.replace(record, identity=known[name]._asdict())
    return checksums.with_files(job.folder, record)


def run_increment(
    job: Job, task: PlannedFit, known: Known, number: int, before: FitRecord | None
) -> FitRecord:
    """Sample one increment, and write its posterior and what it leaves to the next, if that starts from it.

    Where increments start warm, every `cold_audit`-th is sampled cold as well, and compared; so is one that diverges
    often, with smaller steps. One that was stopped leaves what it was left.

    Parameters
    ----------
    known
        Identities of all increments.
    number
        Of increments before it.
    before
        Record of the last of them, which has left what it was to leave; None for the first.
    """
    gc.collect()
    settings, sampler = job.study.increments, job.study.sampler
    (batch,) = read_batch(job, [task])
    from_before = settings.warm or sampler.start == "previous"
    if not from_before or not sample_batch.has_parameters(batch):
        return _run_shape(job, batch, known, 1)[0]
    left = _left(job, before) if before else None
    if settings.warm and left is not None:
        sampler = dataclasses.replace(sampler, warmup=warm_start.warmup_of(sampler.warmup))
    fitted = _sample(job, batch, known, sampler, left)
    record = _write_posterior(job, fitted, 0, known, sampler)
    has_draws = record.status == "done"
    if left is not None and has_draws and settings.is_audited(number):
        record = dataclasses.replace(record, audit=_audit(job, fitted, batch, known))
    (record,) = refit_diverging(job, fitted, [record], known)
    left = warm_start.warm_start_of(task.rows, fitted.draws) if has_draws else left
    if left is not None:
        arrays.write_arrays(job.folder.left(task.fit), to_arrays(left))
    return checksums.with_files(job.folder, record)


def _left(job: Job, before: FitRecord) -> warm_start.WarmStart | None:
    """Read what an increment left; None, and a start as the first one's, where that is nothing."""
    path = job.folder.left(before.fit)
    if not path.exists():
        job.log(f"{before.fit} left nothing: the next increment starts as the first")
        return None
    return warm_start.read_warm_start(arrays.read_arrays(path))


def _audit(
    job: Job, warm: sample_batch.Fitted, batch: batches.Batch, known: Known
) -> RecordedAudit:
    """Sample an increment cold, under a key of its own, and compare."""
    (task,) = batch.tasks
    job.log(f"{task.fit}: sampled cold as well, to be compared")
    sampler = job.study.sampler
    again = batch._replace(tasks=(dataclasses.replace(task, fit=f"{task.fit} cold"),))
    folder = job.folder.audit_checkpoint(task.fit)
    checkpointer = checkpointer_of(job, again, folder, known[task.fit].digest)
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
