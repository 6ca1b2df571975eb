"""Which fits stand: there with the identity that they would have now, and whole."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scalecheck.files import checksums
from scalecheck.files.layout import StudyFolder
from scalecheck.files.record import FitRecord
from scalecheck.fitting.fit_identity import Identity, difference
from scalecheck.study.plan import PlannedFit


class Standing(NamedTuple):
    """What there is of a fit.

    Attributes
    ----------
    record
        Of a fit that stands, whether it was done or stopped; None of one that is to be fitted.
    reason
        Why what there is does not stand; empty where there is nothing.
    """

    record: FitRecord | None
    reason: str = ""


def find_standing(
    folder: StudyFolder, tasks: Sequence[PlannedFit], known: Mapping[str, Identity]
) -> dict[str, Standing]:
    """Look which fits stand, by their names.

    Parameters
    ----------
    known
        Their identities as of now.
    """
    return {task.fit: standing_of(folder, task, known[task.fit]) for task in tasks}


def standing_of(folder: StudyFolder, task: PlannedFit, known: Identity) -> Standing:
    """Look whether a fit stands. Its record is given the row that the plan has now."""
    found = checksums.peek_record(folder, task.fit)
    # A job that was killed as it skipped an increment may have put its record aside, and left none.
    if found is None or (isinstance(found, FitRecord) and found.status == "skipped"):
        found = checksums.peek_set_aside(folder, task.fit)
    if found is None:
        return Standing(None)
    if isinstance(found, str):
        return Standing(None, f"its record is damaged: {found}")
    if changed := difference(known, found.identity or {}):
        return Standing(None, f"another than before: {changed}")
    path = folder.posterior(task.fit)
    if found.status == "done" and not checksums.is_whole(folder, found, path):
        return Standing(None, f"{path.name} is missing or damaged")
    return Standing(dataclasses.replace(found, **task.columns))
