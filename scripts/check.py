#!/usr/bin/env python
"""Compare the fits of a study: findings, and a table for every family of checks."""

from argparse import Namespace

from scalecheck import program, study
from scalecheck.study_folder import StudyFolder


def run(options: Namespace, log: program.Log) -> None:
    """Check the fits."""
    sections = study.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck import device

    device.choose(0, "float32", folder.cache, log)
    from scalecheck import checkup

    checkup.check_up(folder, sections, log)


if __name__ == "__main__":
    program.main("scalecheck-check", __doc__, run)
