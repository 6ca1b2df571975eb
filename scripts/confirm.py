#!/usr/bin/env python
"""Fit the subset that took anomalously many leapfrogs again with a fresh seed, if one did."""

from argparse import ArgumentParser, Namespace

from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline import open_job
from scalecheck.runtime import program
from scalecheck.study import settings


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    program.add_devices(parser)


def run(options: Namespace, log: program.Log) -> None:
    """Look for something to confirm before a device is taken."""
    from scalecheck.pipeline import confirm

    study = settings.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    confirm.write_confirmation(folder, study, log, lambda: open_job.open_job(options, log))


if __name__ == "__main__":
    program.main("scalecheck-confirm", __doc__, run, add_options)
