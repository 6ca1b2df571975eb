#!/usr/bin/env python
"""Compare the fits of a study: findings, and a table for every family of checks."""

from argparse import Namespace

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import program
from scalecheck.study import settings


def run(options: Namespace, log: program.Log) -> None:
    """Check the fits."""
    study = settings.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck.runtime import device

    device.choose_device(0, "float32", folder.cache, log)
    from scalecheck.pipeline import check

    check.write_checks(folder, study, log)


if __name__ == "__main__":
    program.main("scalecheck-check", __doc__, run)
