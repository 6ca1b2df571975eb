"""Check the fits of a study on disk, and write what was found."""

from scalecheck.checks.finding_table import findings_table
from scalecheck.evaluation.study_data import open_study_data
from scalecheck.examine import run_deviant_units, run_families
from scalecheck.examine.check_results import CheckResults
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline import confirm, look
from scalecheck.results import diverged_fits, history, study_fits
from scalecheck.runtime.program import Log
from scalecheck.study.settings import Study


def write_checks(folder: StudyFolder, settings: Study, log: Log) -> CheckResults:
    """Run every family on a study whose fits are done, and write a table for each, and all findings.

    Parameters
    ----------
    folder
        Of the study's results.
    settings
        The sections `seed`, `data`, `model` and `increments`.
    log
        Takes a line for each finding.
    """
    data, increments = settings.data, settings.increments
    study_data = open_study_data(folder, settings.model, data.outcome, settings.seed)
    study = study_fits.read_study_fits(folder, increments.order)
    for fit, one in study.unusable.items():
        log(f"{fit} cannot be used: {one.reason}")
    found = run_families.examine(
        study_data,
        study,
        data,
        increments,
        log,
        confirm.read(folder),
        look.read_looks(folder, settings, study),
    )
    sites = list(study_data.likelihood.vector.shapes)
    tables = {
        "fits": study_fits.fits_table(study),
        "divergences": diverged_fits.divergences_table(study),
        "estimates": study_fits.estimates_table(study, sites),
        "history": history.history_table(study),
        "units": run_deviant_units.describe_units(study_data, study),
        **found.tables,
    }
    for name, table in tables.items():
        formats.write_table(folder.table(name), table)
    formats.write_table(folder.table("findings"), findings_table(found.findings))
    return CheckResults(found.findings, tables)
