"""The chain of increments: each is kept, made or skipped after those before it, looked at, and written as it ends.

Nothing here imports JAX before there is an increment to make or to look at.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scalecheck import ENGINE_VERSION
from scalecheck.data import store
from scalecheck.data.planned_fits import read_planned
from scalecheck.files import checksums
from scalecheck.files.record import FitRecord
from scalecheck.fitting.fit_identity import (
    Identity,
    digest_columns,
    digest_of,
    identify_increments,
)
from scalecheck.fitting.kept_fits import standing_of
from scalecheck.model import source
from scalecheck.pipeline.assignment import (
    Assignment,
    forget_record,
    refuse_other_model,
    say_stopped,
    write_manifest,
    write_record,
)
from scalecheck.runtime.versions import digest_of_library, versions
from scalecheck.study.plan import PlannedFit

Records = Sequence[FitRecord]


class Chain(NamedTuple):
    """The increments of a study, in growing order.

    Attributes
    ----------
    assigned
        What the program was asked for.
    tasks
        As planned.
    known
        Identity of each.
    axes
        Digest of the axes in the rows of each, by which a look groups them.
    source
        Digest of the model's source, from which all are identified.
    """

    assigned: Assignment
    tasks: Sequence[PlannedFit]
    known: Mapping[str, Identity]
    axes: Mapping[str, str]
    source: str


def write_increments(assigned: Assignment, manifest: Path | None = None) -> None:
    """Make the increments that do not stand, one after the other; the manifest comes last of all.

    The chain ends where an increment was found to break or the budget is spent: the others are skipped.

    Parameters
    ----------
    manifest
        Where it is said which increments there are now.
    """
    chain = open_chain(assigned)
    recorded: list[FitRecord] = []
    for _ in chain.tasks:
        recorded = write_next(chain, recorded)
    write_manifest(assigned, [task.fit for task in chain.tasks], manifest)


def open_chain(assigned: Assignment) -> Chain:
    """Read which increments are planned, and what each depends on."""
    planned = read_planned(assigned.folder, assigned.study.increments.order)
    tasks = [task for task in planned if task.kind == "increment"]
    before = source.digest(assigned.study.model.file)
    known = identify_increments(assigned.folder, assigned.study, assigned.platform, tasks)
    axes = digest_columns(assigned.folder, tasks, assigned.study.data.axes)
    return Chain(assigned, tasks, known, axes, before)


def write_next(chain: Chain, recorded: Records) -> list[FitRecord]:
    """Keep, make or skip the increment after some others; give the records of all so far."""
    assigned, task = chain.assigned, chain.tasks[len(recorded)]
    found = standing_of(assigned.folder, task, chain.known[task.fit])
    if reason := _reason_to_skip(chain, recorded, stands=found.record is not None):
        assigned.log(f"{task.fit}: skipped: {reason}")
        if found.record:
            write_record(assigned, found.record)
            checksums.set_aside(assigned.folder, task.fit)
        record = _skipped(assigned, task, reason)
    elif found.record:
        record = _looked_at(chain, [*recorded, found.record])
    else:
        forget_record(assigned, task.fit, found)
        recorded = _with_what_is_left(chain, recorded)
        record = _make(chain, recorded)
        say_stopped(assigned, record)
        record = _looked_at(chain, [*recorded, record])
        _say_forecast(assigned, [*recorded, record])
    refuse_other_model(assigned, chain.source, task.fit)
    write_record(assigned, record)
    return [*recorded, record]


def _make(chain: Chain, recorded: Records) -> FitRecord:
    """Make the increment after some others."""
    job = chain.assigned.open_job()
    from scalecheck.fitting import run_fits

    task, before = chain.tasks[len(recorded)], recorded[-1] if recorded else None
    return run_fits.run_increment(job, task, chain.known, len(recorded), before)


def _with_what_is_left(chain: Chain, recorded: Records) -> list[FitRecord]:
    """Make the last of some increments again where what it left to the next is damaged: it leaves the same again."""
    if not recorded:
        return []
    assigned, (*earlier, last) = chain.assigned, recorded
    left = assigned.folder.left(last.fit)
    if checksums.is_whole(assigned.folder, last, left):
        return [*recorded]
    assigned.log(f"{last.fit}: fitted again: {left.name} is missing or damaged")
    assigned.folder.record(last.fit).unlink()
    earlier = _with_what_is_left(chain, earlier)
    again = dataclasses.replace(_make(chain, earlier), stop=last.stop, looked=last.looked)
    refuse_other_model(assigned, chain.source, last.fit)
    write_record(assigned, again)
    return [*earlier, again]


def _reason_to_skip(chain: Chain, recorded: Records, *, stands: bool) -> str:
    """Why there is no increment after some others; empty where there is. What stands costs nothing more."""
    if not recorded:
        return ""
    last, study = recorded[-1], chain.assigned.study
    if reason := last.reason if last.status == "skipped" else last.stop:
        return reason
    if stands or study.budget.seconds is None:
        return ""
    from scalecheck.results import budget

    audited = study.increments.is_audited(len(recorded))
    rows = chain.tasks[len(recorded)].rows
    return budget.refusal(recorded, rows, study.budget, audited=audited)


def _skipped(assigned: Assignment, task: PlannedFit, reason: str) -> FitRecord:
    return FitRecord(
        **task.columns,
        status="skipped",
        reason=reason,
        settings=assigned.raw,
        engine_version=ENGINE_VERSION,
        versions=versions(),
    )


def _say_forecast(assigned: Assignment, recorded: Records) -> None:
    if len(recorded) < 2:
        return  # there is nothing to forecast from
    from scalecheck.results import budget

    limits = assigned.study.budget
    n_rows = store.read_meta(assigned.folder.data).n_rows
    found = budget.fit_of(recorded, n_rows, limits)
    assigned.log(f"{recorded[-1].fit}: {budget.in_words(found, limits)}")


def _looked_at(chain: Chain, recorded: Records) -> FitRecord:
    """Give the record of the last of some increments whether to stop after it, as the settings are now."""
    record, study = recorded[-1], chain.assigned.study
    if len(recorded) < 2 or study.increments.stop != "misfit" or record.status != "done":
        return dataclasses.replace(record, stop=None, looked=None)
    so_far = [chain.known[one.fit].digest for one in recorded]
    seen = [chain.axes[record.fit], dataclasses.asdict(study.data)]
    looked = digest_of([digest_of_library(), so_far, seen, len(chain.tasks), study.verdict.alpha])
    if record.looked == looked:
        return record
    return dataclasses.replace(record, stop=_look(chain, recorded), looked=looked)


def _look(chain: Chain, recorded: Records) -> str:
    """Why to stop after the last of some increments; empty to go on."""
    # Only here: a job that does not look saves what importing it takes.
    from scalecheck.examine.looks import reason_to_stop
    from scalecheck.pipeline.look import look

    assigned, record = chain.assigned, recorded[-1]
    pairs = list(zip(chain.tasks, recorded, strict=False))
    found = look(assigned.folder, assigned.study, pairs, assigned.open_job)
    if not (reason := reason_to_stop(found, assigned.study.verdict.alpha)):
        return ""
    assigned.log(f"{record.fit}: stop after this increment: {reason}")
    return f"{record.fit} ({record.rows} rows) was found to break: {reason}"
