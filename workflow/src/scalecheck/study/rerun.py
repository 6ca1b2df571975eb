"""With which settings an increment that stands would be made again: another budget is to refit none."""

import json
from pathlib import Path

from scalecheck.files.record import peek


def settings_of(record: Path, given: str) -> str:
    """Give an increment's settings, with the budget under which it was made where another changes nothing.

    Snakemake runs a job again when its parameters change. A new budget changes nothing of a fit that is
    done, and a new price nothing of one that was skipped.

    Parameters
    ----------
    record
        Path of its record, which may be missing; or damaged, and then whatever reads it next says so.
    given
        From `Study.sections`, `budget` among them.
    """
    made, now = peek(record), json.loads(given)
    if made is None:
        return given
    settings = dict(made.settings)
    if settings | {"budget": now["budget"]} != now:
        return given  # it is made again in any case
    if made.status != "skipped" or settings["budget"]["seconds"] == now["budget"]["seconds"]:
        return json.dumps(settings, sort_keys=True)
    return given
