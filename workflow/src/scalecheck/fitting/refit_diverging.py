"""Fits that diverged, fitted again with smaller steps: which ones, where they diverged, and what that tells of them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from scalecheck import diagnostics
from scalecheck.checks import divergences
from scalecheck.files.posterior_file import Group
from scalecheck.files.record import DivergingRegion, FitRecord, Move, RecordedRefit
from scalecheck.fitting import fit_record, sample_batch
from scalecheck.fitting.fit_identity import Identity
from scalecheck.fitting.fit_job import Job, checkpointer_of
from scalecheck.fitting.sample_batch import Fitted
from scalecheck.model.batches import Batch


def region_of(
    groups: Mapping[str, Group], sites: Sequence[str], record: FitRecord
) -> DivergingRegion | None:
    """Find where a fit diverges, on the model's scale.

    Parameters
    ----------
    groups
        Of its posterior.
    sites
        Names of the compared ones.
    record
        Of the fit.
    """
    if not sum(record.divergences):
        return None
    posterior = groups["posterior"]
    scalars = []
    for site in sites:
        dims, values = posterior.variables[site]
        sizes = zip(dims[2:], values.shape[2:], strict=True)
        labels = [posterior.coords.get(dim, range(size)) for dim, size in sizes]
        scalars += diagnostics.scalars(site, values, labels)
    _, diverging = groups["sample_stats"].variables["diverging"]
    return divergences.locate_divergences(diverging, scalars)


def refit_diverging(
    job: Job, fitted: Fitted, records: Sequence[FitRecord], known: Mapping[str, Identity]
) -> list[FitRecord]:
    """Fit those of a batch again that diverge often, in one batch, with smaller steps; give all records.

    They start cold, whatever the first fit started from, under keys of their own: a second fit owes the first nothing.
    Steps are an argument of the programs of lanes, so that nothing is compiled for it but where fewer fits step
    together than before.

    Parameters
    ----------
    fitted
        The batch, with its draws.
    records
        Of its fits.
    known
        Their identities.
    """
    numbers = [i for i, record in enumerate(records) if _is_worth_it(fitted, i, record)]
    if not numbers:
        return [*records]
    target = divergences.refit_target(job.study.sampler.target_accept)
    sampler = dataclasses.replace(job.study.sampler, target_accept=target)
    names = [records[i].fit for i in numbers]
    for i in numbers:
        said = divergences.count_divergences(records[i])
        job.log(f"{records[i].fit}: {said}: fitted again with target_accept {target:g}")
    batch = _only(fitted.batch, numbers, target)
    folder = job.folder.refit_checkpoint(fitted.batch.tasks[0].fit)
    checkpointer = checkpointer_of(job, batch, folder, *(known[name].digest for name in names))
    keys = np.stack([sample_batch.fit_key(job.study.seed, task.fit) for task in batch.tasks])
    draws = sample_batch.sample_batch(batch, sampler, keys, job.log, checkpointer=checkpointer)
    again = Fitted(batch, draws, np.full(len(names), np.nan))
    found = [*records]
    for number, i in enumerate(numbers):
        second = fit_record.record(again, number, sampler, job.raw, job.device, (0.0, 0.0))
        moves: tuple[Move | None, Move | None] = None, None
        if second.status == "done" and not _is_lost(again, number):
            pair = fit_record.packed(fitted, i), fit_record.packed(again, number)
            moves = divergences.largest_moves(*pair, second.parameters)
        found[i] = _with_refit(records[i], second, moves, target)
        job.log(f"{names[number]}: {divergences.describe_divergences(found[i])}")
    return found


def _is_worth_it(fitted: Fitted, number: int, record: FitRecord) -> bool:
    """Whether a fit diverges often, and is not beyond what smaller steps could mend."""
    if record.status != "done" or record.divergent_share < divergences.LEAST_SHARE:
        return False
    return bool(record.parameters) and not _is_lost(fitted, number)


def _is_lost(fitted: Fitted, number: int) -> bool:
    rhat, _ = diagnostics.rhat_and_ess(fit_record.packed(fitted, number))
    return bool((rhat > diagnostics.FAR_RHAT).any())


def _only(batch: Batch, numbers: Sequence[int], target: float) -> Batch:
    """Take some fits of a batch, in its shape, under names of their own."""
    tasks = [batch.tasks[i] for i in numbers]
    named = [
        dataclasses.replace(task, fit=f"{task.fit} at target_accept {target:g}") for task in tasks
    ]
    # Neighbours as a slice, which copies no rows.
    first, last = numbers[0], numbers[-1]
    rows = slice(first, last + 1) if last - first + 1 == len(numbers) else list(numbers)
    return batch._replace(
        tasks=tuple(named),
        arrays={name: values[rows] for name, values in batch.arrays.items()},
        own=[batch.own[i] for i in numbers],
        values=[batch.values[i] for i in numbers],
    )


def _with_refit(
    record: FitRecord, second: FitRecord, moves: tuple[Move | None, Move | None], target: float
) -> FitRecord:
    """Give the record of a fit what its second fit tells."""
    mean, sd = moves
    refit = RecordedRefit(
        target_accept=target,
        divergences=second.divergences,
        draws=second.draws,
        usable=second.usable,
        mean=mean,
        sd=sd,
        gradients=second.gradients,
        seconds=second.seconds,
        cpu_seconds=second.cpu_seconds,
    )
    record = dataclasses.replace(record, refit=refit)
    is_biased = divergences.bias_of(record) == "yes"
    return dataclasses.replace(record, usable=record.usable and not is_biased)
