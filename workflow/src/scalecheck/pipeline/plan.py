"""Plan which rows belong to which fit, and write plan.csv."""

from collections.abc import Mapping
from typing import Any

from scalecheck.data import store
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.runtime.program import Log
from scalecheck.study import plan


def write_plan(folder: StudyFolder, sections: Mapping[str, Any], log: Log) -> None:
    """Plan the fits of a study whose data are stored.

    Parameters
    ----------
    sections
        `subsets` and `increments`, parsed.
    """
    orders = store.read_orders(folder.data)
    fits = plan.make_plan(*orders, sections["subsets"], sections["increments"])
    formats.write_plan(folder.plan, [fit[: len(formats.PLAN_COLUMNS)] for fit in fits])
    log(f"{len(fits)} fits")
