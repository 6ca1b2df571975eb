"""Search a fit of a study, and write what was found."""

import dataclasses
import shutil

from scalecheck.data.planned_fits import read_planned
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import checkpoint
from scalecheck.fitting.fit_identity import identify
from scalecheck.model import batches
from scalecheck.remedies import problem, search
from scalecheck.remedies.choose_fit import Choice
from scalecheck.remedies.search_checkpoint import SearchCheckpoint
from scalecheck.runtime.program import Log
from scalecheck.runtime.versions import versions
from scalecheck.study.settings import Study


def search_fit(
    folder: StudyFolder, study: Study, choice: Choice, gradients: int, device: str, log: Log
) -> search.SearchResult:
    """Search the chosen fit of a study, its rows and its settings; a search that was killed goes on.

    Parameters
    ----------
    gradients
        Of each chain of a candidate.
    device
        That JAX computes on.
    """
    (task,) = read_planned(folder, study.increments.order, [choice.fit])
    (batch,) = batches.read_batches(
        folder, [task], study.data.outcome, study.model, study.sampler.precision
    )
    log(f"{choice.fit} ({task.rows} rows): {choice.reason}")
    one = problem.problem_of_batch(batch, study.sampler, study.seed, gradients)
    return search.search_remedies(
        one, log, SearchCheckpoint(folder.searching, _identity(folder, one, study, device))
    )


def _identity(folder: StudyFolder, one: problem.Problem, study: Study, device: str) -> str:
    """Hash all that determines the draws of a candidate, but the candidate."""
    (task,) = one.batch.tasks
    fit = identify(folder, study, device, [task])[task.fit].digest
    own = (task.fit, one.seed, one.gradients, dataclasses.asdict(one.settings))
    return checkpoint.identify_run(fit, own, versions())


def write_search(
    folder: StudyFolder, choice: Choice, found: search.SearchResult, gradients: int
) -> None:
    """Write remedies.csv, and then remedies.json, which says what was searched and what to paste; keep nothing else."""
    formats.write_table(folder.remedies_table, found.table)
    content = {
        "fit": choice.fit,
        "reason": choice.reason,
        "gradients": gradients,
        "chains": problem.CHAINS,
        "best": found.best.name if found.best is not None else None,
        "lines": found.lines,
        "advice": list(search.advice(found)),
    }
    formats.write_json(folder.remedies, content)
    shutil.rmtree(folder.searching, ignore_errors=True)
