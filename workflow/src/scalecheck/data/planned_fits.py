"""The fits of a study: what plan.csv says of each, and where the store has its rows."""

from collections.abc import Sequence

from scalecheck.data import store
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.study.plan import PlannedFit, locate


def read_planned(
    folder: StudyFolder, order: str = "", fits: Sequence[str] | None = None
) -> list[PlannedFit]:
    """Read the plan of a study whose data are stored.

    Parameters
    ----------
    order
        `increments.order`; empty where the rows of increments are not read.
    fits
        Names, in any order; None for all, in the order of the plan.

    Raises
    ------
    StudyError
        When there is no plan, or it has no such fit.
    """
    rows = formats.read_plan(folder.plan)
    levels = {axis: part["rows"] for axis, part in store.read_meta(folder.data).axes.items()}
    return locate(rows, [row.fit for row in rows] if fits is None else fits, levels, order)
