"""What a program of fits was asked for, and how it keeps, forgets and writes records.

Nothing here imports JAX.
"""

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scalecheck.errors import StudyError
from scalecheck.files import checksums, formats
from scalecheck.files.layout import StudyFolder
from scalecheck.files.record import FitRecord, as_json, of_json
from scalecheck.fitting.kept_fits import Standing
from scalecheck.model import source
from scalecheck.runtime.program import Log
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
        Takes the device at the first call, and gives the job of the process at each.
    """

    folder: StudyFolder
    study: Study
    raw: Mapping[str, Any]
    platform: str
    log: Log
    open_job: Callable[[], "Job"]


def forget_record(assigned: Assignment, fit: str, found: Standing) -> None:
    """Remove the record of a fit that is made again: what has a record is done, whatever the dates of files say."""
    if found.reason:
        assigned.log(f"{fit}: fitted again: {found.reason}")
    assigned.folder.record(fit).unlink(missing_ok=True)


def write_record(assigned: Assignment, record: FitRecord) -> None:
    """Write a record where it is another than what is there, and then remove what was kept of its fit."""
    _write_record(assigned.folder, record)
    _remove_checkpoints(assigned.folder, record.fit)


def write_records(assigned: Assignment, records: Sequence[FitRecord]) -> None:
    """Write the records of fits that ended together, and only then remove what was kept of them.

    What is kept of them goes on with all of them or none. They are written in one file first: a job that is killed
    between two records loses no fit.
    """
    folder, first = assigned.folder, records[0].fit
    formats.write_json(folder.ended(first), {one.fit: as_json(one) for one in records})
    for record in records:
        _write_record(folder, record)
    for record in records:
        _remove_checkpoints(folder, record.fit)
    folder.ended(first).unlink()


def recover_records(assigned: Assignment, fits: Sequence[str]) -> None:
    """Write the records that a job was killed before it could write; whether their fits stand is asked as of any.

    Parameters
    ----------
    fits
        Those of this job: others may be made beside it.
    """
    for first in fits:
        path = assigned.folder.ended(first)
        for fit, content in (formats.peek_json(path) or {}).items():
            if fit in fits and not assigned.folder.record(fit).exists():
                with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
                    checksums.write_record(assigned.folder, of_json(content))  # if it is one
        path.unlink(missing_ok=True)


def _write_record(folder: StudyFolder, record: FitRecord) -> None:
    fit = record.fit
    if checksums.peek_record(folder, fit) != record:
        checksums.write_record(folder, record)
    if record.status != "skipped":
        folder.set_aside(fit).unlink(missing_ok=True)


def _remove_checkpoints(folder: StudyFolder, fit: str) -> None:
    ways = (folder.checkpoint, folder.audit_checkpoint, folder.refit_checkpoint)
    for kept in (way(fit) for way in ways):
        shutil.rmtree(kept, ignore_errors=True)


def refuse_other_model(assigned: Assignment, before: str, fit: str) -> None:
    """Refuse a fit during which the model was edited, and what was kept of it: its identity is that of before.

    Parameters
    ----------
    before
        Digest of the model's source, taken before identities.

    Raises
    ------
    StudyError
        When it is another now.
    """
    try:
        source.refuse_change(assigned.study.model.file, before)
    except StudyError:
        _remove_checkpoints(assigned.folder, fit)
        raise


def say_stopped(assigned: Assignment, record: FitRecord) -> None:
    """Say of a fit that was ended without draws why it was."""
    if record.status == "stopped":
        assigned.log(f"{record.fit}: stopped: {record.reason}")


def write_manifest(assigned: Assignment, fits: Sequence[str], manifest: Path | None) -> None:
    """Say which fits there are, and what: Snakemake takes what is the same as before for no news."""
    if manifest is not None:
        digests = {fit: checksums.read_record(assigned.folder, fit).sha256 for fit in fits}
        formats.write_json(manifest, {"fits": list(fits), "sha256": digests})
