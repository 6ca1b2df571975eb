"""Plan which rows belong to which fit, and write plan.csv."""

import dataclasses

from scalecheck.data import store
from scalecheck.errors import StudyError
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.model.coupling import read_coupling
from scalecheck.runtime.program import Log
from scalecheck.study import plan
from scalecheck.study.settings import Study


def write_plan(folder: StudyFolder, study: Study, log: Log) -> None:
    """Plan the fits of a study whose data are stored and whose model was looked at.

    Parameters
    ----------
    study
        Its sections `subsets` and `increments`.

    Raises
    ------
    StudyError
        When the data are too small for the plan, or rows continue each other and the study would pick or shuffle
        them: names the key.
    """
    fits = plan_fits(folder, study)
    formats.write_plan(folder.plan, fits)
    log(f"{len(fits)} fits")


def plan_fits(folder: StudyFolder, study: Study) -> list[plan.PlannedFit]:
    """Plan the fits of a study as `write_plan` writes them.

    Raises
    ------
    StudyError
        As `write_plan` does.
    """
    arrival, random, axes = store.read_orders(folder.data)
    coupling, subsets, increments = read_coupling(folder), study.subsets, study.increments
    if not coupling.ordered:
        return plan.make_plan(arrival, random, axes, subsets, increments)
    continues = "the model has each row continue the rows before it"
    if axes:
        raise StudyError(
            f"data.axes must be empty, because {continues}, and a level would pick rows out of their order, got"
            f" {', '.join(axes)}"
        )
    if increments.order == "random":
        raise StudyError(f"increments.order must be arrival, because {continues}, got random")
    if not coupling.blocks:
        subsets = dataclasses.replace(subsets, count=0)
    return plan.make_plan(arrival, random, axes, subsets, increments, blocks=True)
