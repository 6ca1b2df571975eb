#!/usr/bin/env python
"""Plan which rows belong to which fit."""

from argparse import Namespace

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import program
from scalecheck.study import settings


def run(options: Namespace, log: program.Log) -> None:
    """Write plan.csv."""
    study = settings.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck.pipeline import plan

    plan.write_plan(folder, study, log)


if __name__ == "__main__":
    program.main("scalecheck-plan", __doc__, run)
