"""Check the fits of a study on disk, and write what was found."""

from collections.abc import Mapping
from typing import Any

from scalecheck import confirm, records
from scalecheck.conclude import findings_table
from scalecheck.evidence import open_evidence
from scalecheck.examine import Examined, describe_units, examine
from scalecheck.history import history_table
from scalecheck.program import Log
from scalecheck.results import estimates_table, fits_table, read_study
from scalecheck.study_folder import StudyFolder


def check_up(folder: StudyFolder, sections: Mapping[str, Any], log: Log) -> Examined:
    """Run every family on a study whose fits are done, and write a table for each, and all findings.

    Parameters
    ----------
    folder
        Of the study's results.
    sections
        `seed`, `data`, `model` and `increments`, parsed.
    log
        Takes a line for each finding.
    """
    data, increments = sections["data"], sections["increments"]
    evidence = open_evidence(folder, sections["model"], data.outcome, sections["seed"])
    study = read_study(folder, increments.order)
    for fit, reason in study.unusable.items():
        log(f"{fit} cannot be used: {reason}")
    found = examine(evidence, study, data, increments, log, confirm.read(folder))
    sites = list(evidence.likelihood.vector.shapes)
    tables = {
        "fits": fits_table(study),
        "estimates": estimates_table(study, sites),
        "history": history_table(study),
        "units": describe_units(evidence, study),
        **found.tables,
    }
    for name, table in tables.items():
        records.write_table(folder.table(name), table)
    records.write_table(folder.table("findings"), findings_table(found.findings))
    return Examined(found.findings, tables)
