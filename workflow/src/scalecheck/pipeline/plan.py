"""Plan which rows belong to which fit, and write plan.csv."""

from scalecheck.data import store
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.runtime.program import Log
from scalecheck.study import plan
from scalecheck.study.settings import Study


def write_plan(folder: StudyFolder, study: Study, log: Log) -> None:
    """Plan the fits of a study whose data are stored.

    Parameters
    ----------
    study
        Its sections `subsets` and `increments`.
    """
    orders = store.read_orders(folder.data)
    fits = plan.make_plan(*orders, study.subsets, study.increments)
    formats.write_plan(folder.plan, fits)
    log(f"{len(fits)} fits")
