#!/usr/bin/env python
"""Read, check and store the data of a study, check its model against them, and plan its fits."""

from argparse import Namespace

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import program
from scalecheck.study import settings


def run(options: Namespace, log: program.Log) -> None:
    """Prepare the study."""
    study = settings.read_settings(options.settings, options.digest)
    from scalecheck.pipeline import prepare_study

    prepare_study.prepare_study(StudyFolder(options.folder), study, log)


if __name__ == "__main__":
    program.main("scalecheck-prepare", __doc__, run)
