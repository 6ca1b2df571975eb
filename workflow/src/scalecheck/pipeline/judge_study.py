"""All that comes after the last fit: confirm, check, search for remedies, decide, and write the page.

What costs something is done once for the same fits, model and settings. JAX is imported where something is to be
computed: another `verdict.alpha`, budget or label is not.
"""

from argparse import Namespace

import pandas as pd

from scalecheck.checks import simulated_ranks
from scalecheck.checks.finding_table import findings_of
from scalecheck.files import formats, kept
from scalecheck.files.layout import TABLES, StudyFolder
from scalecheck.model import source
from scalecheck.pipeline import confirm, open_job, remedies, report, verdict
from scalecheck.pipeline.assignment import Assignment
from scalecheck.pipeline.identity import digest_of_file, hash_of, identify_fits
from scalecheck.runtime import device
from scalecheck.runtime.program import Log
from scalecheck.study.settings import Study


def judge_study(options: Namespace, log: Log) -> None:
    """Judge a study whose fits are done: the tables of its checks, verdict.json and the page.

    Parameters
    ----------
    options
        With `settings`, `folder`, `gpu` and `gres`.
    """
    assigned = open_job.assign(options, log)
    folder, study = assigned.folder, assigned.study
    refitted = confirm.write_confirmation(folder, study, log, assigned.open_job)
    _check(assigned, is_open=refitted)
    if study.remedies == "auto":
        remedies.search_study(folder, study, log, assigned.open_job)
    if study.verdict.simulate:
        _rank(folder, study)
    content = verdict.conclude(folder, study, log)
    line = f"verdict: {content['verdict']} ({folder.verdict})"
    log(line)
    print(line)
    report.write_report(folder, study, log)


def _check(assigned: Assignment, *, is_open: bool) -> None:
    """Check the fits, unless the same ones were checked."""
    folder, study, log = assigned.folder, assigned.study, assigned.log
    before = source.digest(study.model.file)
    own = identify_checks(folder, study)
    tables = [folder.table(name) for name in TABLES]
    if kept.give_back(folder.known("checks"), own, tables):
        log("the fits are the same, and are not checked again")
        return
    for path in tables:
        kept.forget(path)
    if study.remedies == "auto":
        assigned.open_job()  # which may take a GPU, before JAX is there
    elif not is_open:
        device.choose_device(0, "float32", folder.cache, log)
    from scalecheck.pipeline import check

    with device.on_processor():
        check.write_checks(folder, study, log)
    source.refuse_change(study.model.file, before)
    kept.keep(folder.known("checks"), own, tables)


def identify_checks(folder: StudyFolder, study: Study) -> str:
    """Give a hash of all that the tables of the checks are computed from."""
    again = confirm.read_record(folder)
    return hash_of(
        identify_fits(folder, study),
        study.sections("seed", "data", "model", "increments"),
        digest_of_file(folder.confirmation) if again else "",
    )


def _rank(folder: StudyFolder, study: Study) -> None:
    """Rank the study among those that were simulated from its posterior."""
    observed = findings_of(formats.read_table(folder.table("findings")))
    table = formats.read_table(folder.table("simulated_findings"))
    simulated = simulated_ranks.findings_by_data_set(table)
    ranks = (
        simulated_ranks.rank_findings(observed, simulated, study.verdict.alpha)
        if simulated
        else pd.DataFrame(columns=simulated_ranks.COLUMNS)
    )
    formats.write_table(folder.table("simulated"), ranks)
