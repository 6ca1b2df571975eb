#!/usr/bin/env python
"""Fit the subset that took anomalously many leapfrogs again with a fresh seed, if one did."""

import shutil
from argparse import ArgumentParser, Namespace

from scalecheck import opening, program, records, study
from scalecheck.study_folder import StudyFolder


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    program.add_devices(parser)


def run(options: Namespace, log: program.Log) -> None:
    """Look for something to confirm before a device is taken."""
    from scalecheck import confirm

    sections = study.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    found = confirm.candidate(confirm.read_subsets(folder), sections["verdict"]["alpha"])
    if found.task is None:
        log(found.reason)
        confirmation = confirm.nothing(found.reason)
    else:
        confirmation = confirm.refit(opening.open_job(options, log), found.task)
    records.write_json(folder.confirmation, confirmation)
    shutil.rmtree(folder.confirmation_checkpoint.parent, ignore_errors=True)


if __name__ == "__main__":
    program.main("scalecheck-confirm", __doc__, run, add_options)
