"""What scalecheck-fit does: look which fits stand, make the others, and write each as it ends.

Nothing here imports JAX before there is a fit to make, or an increment to look at.
"""

import dataclasses
import shutil
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scalecheck import ENGINE_VERSION
from scalecheck.data import store
from scalecheck.data.planned_fits import read_planned
from scalecheck.files import checksums, formats
from scalecheck.files.layout import StudyFolder
from scalecheck.files.record import FitRecord
from scalecheck.fitting import fit_identity
from scalecheck.fitting.fit_identity import Identity
from scalecheck.fitting.kept_fits import Standing, find_standing, standing_of
from scalecheck.runtime.program import Log
from scalecheck.runtime.versions import versions
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import Study

if TYPE_CHECKING:
    from scalecheck.fitting.fit_job import Job


class Assignment(NamedTuple):
    """What a program of fits has before it needs a device.

    Attributes
    ----------
    folder
        `results/<study>`.
    study
        The sections that the fits depend on.
    raw
        The same as given, for the record.
    platform
        From `device.platform_of`.
    log
        Takes one line of progress.
    open_job
        Takes the device, once, however often it is called.
    """

    folder: StudyFolder
    study: Study
    raw: Mapping[str, Any]
    platform: str
    log: Log
    open_job: Callable[[], "Job"]


def write(assigned: Assignment, options: Namespace) -> None:
    """Do what the options of scalecheck-fit ask for."""
    if options.increments:
        write_increments(assigned, options.manifest)
    elif options.increment:
        write_increment(assigned, options.fits[0])
    else:
        write_fits(assigned, options.fits, options.manifest)


def write_fits(assigned: Assignment, fits: Sequence[str], manifest: Path | None = None) -> None:
    """Make those of some subsets, levels and axes that do not stand; the manifest comes last of all.

    Parameters
    ----------
    fits
        Their names.
    manifest
        Where it is said which fits there are now.
    """
    tasks = read_planned(assigned.folder, fits=fits)
    known = fit_identity.identify(assigned.folder, assigned.study, assigned.platform, tasks)
    standing = find_standing(assigned.folder, tasks, known)
    for found in standing.values():
        if found.record:
            _write(assigned, found.record)
    for together in _of_one_shape([task for task in tasks if not standing[task.fit].record]):
        _write_together(assigned, together, known, standing)
    _write_manifest(assigned, fits, manifest)


def _write_manifest(assigned: Assignment, fits: Sequence[str], manifest: Path | None) -> None:
    """Say which fits there are, and what: Snakemake takes what is the same as before for no news."""
    if manifest is not None:
        digests = {name: checksums.read_record(assigned.folder, name).sha256 for name in fits}
        formats.write_json(manifest, {"fits": list(fits), "sha256": digests})


def _of_one_shape(tasks: Sequence[PlannedFit]) -> list[list[PlannedFit]]:
    """Subsets and levels are made together; each axis, which has more rows, is made alone."""
    small = [task for task in tasks if task.kind != "axis"]
    return [*([small] if small else []), *([task] for task in tasks if task.kind == "axis")]


def _write_together(
    assigned: Assignment,
    tasks: Sequence[PlannedFit],
    known: Mapping[str, Identity],
    standing: Mapping[str, Standing],
) -> None:
    """Make some fits together, and write their records."""
    for task in tasks:
        _forget(assigned, task, standing[task.fit])
    job = assigned.open_job()
    from scalecheck.fitting import run_fits

    for record in run_fits.run_batch(job, tasks, known):
        _say_stopped(assigned, record)
        _write(assigned, record)


def _write(assigned: Assignment, record: FitRecord) -> None:
    """Write a record where it is another than what is there, and then remove what was kept of its fit."""
    if checksums.peek_record(assigned.folder, record.fit) != record:
        checksums.write_record(assigned.folder, record)
    kept = assigned.folder.checkpoint(record.fit), assigned.folder.audit_checkpoint(record.fit)
    for folder in kept:
        shutil.rmtree(folder, ignore_errors=True)


def _forget(assigned: Assignment, task: PlannedFit, found: Standing) -> None:
    """Remove the record of a fit that is made again: what has a record is done, whatever the dates of files say."""
    if found.reason:
        assigned.log(f"{task.fit}: fitted again: {found.reason}")
    assigned.folder.record(task.fit).unlink(missing_ok=True)


def _say_stopped(assigned: Assignment, record: FitRecord) -> None:
    if record.status == "stopped":
        assigned.log(f"{record.fit}: stopped: {record.reason}")


# ---- the chain of increments


def write_increments(assigned: Assignment, manifest: Path | None = None) -> None:
    """Make the increments that do not stand, one after the other, each written as it ends; the manifest comes last.

    The chain ends where an increment was found to break or the budget is spent: the others are skipped.
    """
    tasks = _increments(assigned)
    known = _identify_increments(assigned, tasks)
    recorded: list[FitRecord] = []
    for _ in tasks:
        recorded = _write_next(assigned, tasks, known, recorded)
    _write_manifest(assigned, [task.fit for task in tasks], manifest)


def write_increment(assigned: Assignment, name: str) -> None:
    """Make one increment where it does not stand, after those before it, which are there."""
    tasks = _increments(assigned)
    known = _identify_increments(assigned, tasks)
    number = [task.fit for task in tasks].index(name)
    recorded = [checksums.read_record(assigned.folder, task.fit) for task in tasks[:number]]
    _write_next(assigned, tasks, known, recorded)


def _increments(assigned: Assignment) -> list[PlannedFit]:
    planned = read_planned(assigned.folder, assigned.study.increments.order)
    return [task for task in planned if task.kind == "increment"]


def _identify_increments(assigned: Assignment, tasks: Sequence[PlannedFit]) -> dict[str, Identity]:
    return fit_identity.identify_increments(
        assigned.folder, assigned.study, assigned.platform, tasks
    )


def _write_next(
    assigned: Assignment,
    tasks: Sequence[PlannedFit],
    known: Mapping[str, Identity],
    recorded: Sequence[FitRecord],
) -> list[FitRecord]:
    """Keep, make or skip the increment after some others; give the records of all so far."""
    task = tasks[len(recorded)]
    found = standing_of(assigned.folder, task, known[task.fit])
    if reason := _reason_to_skip(assigned, task, recorded, stands=found.record is not None):
        assigned.log(f"{task.fit}: skipped: {reason}")
        record = _skipped(assigned, task, reason)
    elif found.record:
        record = _looked_at(assigned, tasks, known, [*recorded, found.record])
    else:
        _forget(assigned, task, found)
        recorded = _with_what_is_left(assigned, tasks, known, recorded)
        record = _make(assigned, tasks, known, recorded)
        _say_stopped(assigned, record)
        record = _looked_at(assigned, tasks, known, [*recorded, record])
        if recorded:
            _say_forecast(assigned, [*recorded, record])
    _write(assigned, record)
    return [*recorded, record]


def _make(
    assigned: Assignment,
    tasks: Sequence[PlannedFit],
    known: Mapping[str, Identity],
    recorded: Sequence[FitRecord],
) -> FitRecord:
    """Make the increment after some others."""
    job = assigned.open_job()
    from scalecheck.fitting import run_fits

    before = recorded[-1] if recorded else None
    return run_fits.run_increment(job, tasks[len(recorded)], known, len(recorded), before)


def _with_what_is_left(
    assigned: Assignment,
    tasks: Sequence[PlannedFit],
    known: Mapping[str, Identity],
    recorded: Sequence[FitRecord],
) -> list[FitRecord]:
    """Make the last of some increments again where what it left to the next is damaged: it leaves the same again."""
    if not recorded:
        return []
    *earlier, last = recorded
    left = assigned.folder.left(last.fit)
    if checksums.is_whole(assigned.folder, last, left):
        return [*recorded]
    assigned.log(f"{last.fit}: fitted again: {left.name} is missing or damaged")
    assigned.folder.record(last.fit).unlink()
    earlier = _with_what_is_left(assigned, tasks, known, earlier)
    again = _make(assigned, tasks, known, earlier)
    again = dataclasses.replace(again, stop=last.stop, looked=last.looked)
    _write(assigned, again)
    return [*earlier, again]


def _reason_to_skip(
    assigned: Assignment, task: PlannedFit, recorded: Sequence[FitRecord], *, stands: bool
) -> str:
    """Why there is no increment after those before it; empty where there is. What stands has cost what it costs."""
    if not recorded:
        return ""
    last = recorded[-1]
    if reason := last.reason if last.status == "skipped" else last.stop:
        return reason
    if stands or assigned.study.budget.seconds is None:
        return ""
    from scalecheck.results import budget

    audited = assigned.study.increments.is_audited(len(recorded))
    return budget.refusal(recorded, task.rows, assigned.study.budget, audited=audited)


def _skipped(assigned: Assignment, task: PlannedFit, reason: str) -> FitRecord:
    return FitRecord(
        **task.columns,
        status="skipped",
        reason=reason,
        settings=assigned.raw,
        engine_version=ENGINE_VERSION,
        versions=versions(),
    )


def _say_forecast(assigned: Assignment, recorded: Sequence[FitRecord]) -> None:
    from scalecheck.results import budget

    limits = assigned.study.budget
    n_rows = store.read_meta(assigned.folder.data).n_rows
    found = budget.fit_of(recorded, n_rows, limits)
    assigned.log(f"{recorded[-1].fit}: {budget.in_words(found, limits)}")


# ---- looking at an increment


def _looked_at(
    assigned: Assignment,
    tasks: Sequence[PlannedFit],
    known: Mapping[str, Identity],
    recorded: Sequence[FitRecord],
) -> FitRecord:
    """Give the record of the last of these increments whether to stop after it, as the settings are now."""
    record, study = recorded[-1], assigned.study
    is_asked = study.increments.stop == "misfit" and record.status == "done"
    if len(recorded) < 2 or not is_asked:
        return dataclasses.replace(record, stop=None, looked=None)
    so_far = [known[task.fit].digest for task in tasks[: len(recorded)]]
    seen = so_far, len(tasks), study.verdict.alpha, dataclasses.asdict(study.data)
    looked = fit_identity.digest_of(seen)
    if record.looked == looked:
        return record
    stop = _look(assigned, tasks, recorded)
    return dataclasses.replace(record, stop=stop, looked=looked)


def _look(assigned: Assignment, tasks: Sequence[PlannedFit], recorded: Sequence[FitRecord]) -> str:
    """Why to stop after the last of these increments; empty to go on."""
    assigned.open_job()
    from scalecheck.evaluation.study_data import open_study_data
    from scalecheck.examine.run_families import interim_stop_reason
    from scalecheck.results.study_fits import read_fit

    folder, study, record = assigned.folder, assigned.study, recorded[-1]
    study_data = open_study_data(folder, study.model, study.data.outcome, study.seed)
    pairs = zip(tasks[: len(recorded)], recorded, strict=True)
    fits = [read_fit(folder, *pair) for pair in pairs if pair[1].status == "done"]
    found = interim_stop_reason(study_data, fits, study.data, len(tasks), study.verdict.alpha)
    if not found:
        return ""
    assigned.log(f"{record.fit}: stop after this increment: {found}")
    return f"{record.fit} ({record.rows} rows) was found to break: {found}"
