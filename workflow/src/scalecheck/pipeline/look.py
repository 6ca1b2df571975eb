"""Look at increments as they end; what was seen once is read where it is asked again.

Nothing here imports JAX before there is something to compute.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scalecheck.examine.looks import Look, identify_look, read_look, write_look
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.files.record import FitRecord
from scalecheck.model import source
from scalecheck.results.study_fits import StudyFits, read_fit
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import Study

Recorded = tuple[PlannedFit, FitRecord]


def look(
    folder: StudyFolder,
    study: Study,
    so_far: Sequence[Recorded],
    open_device: Callable[[], Any] = lambda: None,
) -> Look:
    """Look at the last of some increments, or read the look at it; leave it beside the fit.

    Parameters
    ----------
    folder
        Of the study's results.
    study
        `seed`, `data` and `model`.
    so_far
        Increments and their records.
    open_device
        Called before JAX is imported.
    """
    planned, name = _n_planned(folder), so_far[-1][0].fit
    before = source.digest(study.model.file)
    identity = identify_look(folder, study, so_far, planned)
    if (known := read_look(folder, name, identity)) is not None:
        return known
    open_device()
    from scalecheck.evaluation.study_data import open_study_data
    from scalecheck.examine.run_families import look_at

    study_data = open_study_data(folder, study.model, study.data.outcome, study.seed)
    fits = [read_fit(folder, *one) for one in so_far if one[1].status == "done"]
    found = look_at(study_data, fits, study.data, planned)
    source.refuse_change(study.model.file, before)
    write_look(folder, name, identity, found)
    return found


def read_looks(folder: StudyFolder, study: Study, fits: StudyFits) -> Mapping[str, Look]:
    """Read the looks that stand, by the increment that each is at.

    Parameters
    ----------
    folder, study
        As of `look`.
    fits
        Of the study.
    """
    increments = [task for task in fits.tasks if task.kind == "increment"]
    recorded = [(task, fits.recorded[task.fit]) for task in increments]
    found: dict[str, Look] = {}
    for number, (task, _) in enumerate(recorded, 1):
        if not folder.look(task.fit).exists():
            continue
        identity = identify_look(folder, study, recorded[:number], len(increments))
        if (known := read_look(folder, task.fit, identity)) is not None:
            found[task.fit] = known
    return found


def _n_planned(folder: StudyFolder) -> int:
    return sum(row.kind == "increment" for row in formats.read_plan(folder.plan))
