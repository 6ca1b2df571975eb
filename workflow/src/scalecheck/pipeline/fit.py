"""What scalecheck-fit does: look which fits stand, make the others, and write each as it ends.

Nothing here imports JAX before there is a fit to make.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from scalecheck.data.planned_fits import read_planned
from scalecheck.fitting.fit_identity import Identity, identify
from scalecheck.fitting.kept_fits import Standing, find_standing
from scalecheck.model import source
from scalecheck.pipeline.assignment import (
    Assignment,
    forget_record,
    recover_records,
    refuse_other_model,
    say_stopped,
    write_manifest,
    write_record,
    write_records,
)
from scalecheck.pipeline.increments import write_increments
from scalecheck.study.plan import PlannedFit


def write(assigned: Assignment, options: Namespace) -> None:
    """Do what the options of scalecheck-fit ask for."""
    if options.increments:
        write_increments(assigned, options.manifest)
    else:
        write_fits(assigned, options.fits, options.manifest)


def write_fits(assigned: Assignment, fits: Sequence[str], manifest: Path | None = None) -> None:
    """Make those of some subsets and levels that do not stand; the manifest comes last of all.

    Parameters
    ----------
    fits
        Their names.
    manifest
        Where it is said which fits there are now.
    """
    tasks = read_planned(assigned.folder, assigned.study.increments.order, fits)
    before = source.digest(assigned.study.model.file)
    known = identify(assigned.folder, assigned.study, assigned.platform, tasks)
    recover_records(assigned, fits)
    standing = find_standing(assigned.folder, tasks, known)
    for found in standing.values():
        if found.record:
            write_record(assigned, found.record)
    if left := [task for task in tasks if not standing[task.fit].record]:
        _make(assigned, left, known, standing, before)
    source.refuse_change(assigned.study.model.file, before)
    write_manifest(assigned, fits, manifest)


def _make(
    assigned: Assignment,
    tasks: Sequence[PlannedFit],
    known: Mapping[str, Identity],
    standing: Mapping[str, Standing],
    before: str,
) -> None:
    """Make some fits, and write the records of those of a shape when all of them have ended."""
    for task in tasks:
        forget_record(assigned, task.fit, standing[task.fit])
    job = assigned.open_job()
    from scalecheck.fitting import run_fits

    for records in run_fits.run_batch(job, tasks, known):
        refuse_other_model(assigned, before, records[0].fit)
        for record in records:
            say_stopped(assigned, record)
        write_records(assigned, records)
