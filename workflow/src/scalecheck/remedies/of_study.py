"""Search a fit of a study, and write what was found."""

from scalecheck import batches, plan, records, store
from scalecheck.program import Log
from scalecheck.records import StudyFolder
from scalecheck.remedies import problem, search
from scalecheck.remedies.choice import Choice
from scalecheck.remedies.search import Found
from scalecheck.study import Study


def search_fit(
    folder: StudyFolder, study: Study, choice: Choice, gradients: int, log: Log
) -> Found:
    """Search the chosen fit of a study, its rows and its settings.

    Parameters
    ----------
    gradients
        Of each chain of a candidate.
    """
    rows = records.read_plan(folder.plan)
    levels = {axis: part["rows"] for axis, part in store.read_meta(folder.data).axes.items()}
    (task,) = plan.locate(rows, [choice.fit], levels, study.increments.order)
    (batch,) = batches.read_batches(
        folder, [task], study.data.outcome, study.model, study.sampler.precision
    )
    log(f"{choice.fit} ({task.rows} rows): {choice.reason}")
    one = problem.of_batch(batch, study.sampler, study.seed, gradients)
    return search.search(one, log)


def write(folder: StudyFolder, choice: Choice, found: Found, gradients: int) -> None:
    """Write remedies.csv, and then remedies.json, which says what was searched and what to paste."""
    records.write_table(folder.remedies_table, found.table)
    content = {
        "fit": choice.fit,
        "reason": choice.reason,
        "gradients": gradients,
        "chains": problem.CHAINS,
        "best": found.best.name if found.best is not None else None,
        "lines": found.lines,
        "advice": list(search.advice(found)),
    }
    records.write_json(folder.remedies, content)
