#!/usr/bin/env python
"""Check a model against all rows of its data, before any fit."""

from argparse import Namespace

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import program
from scalecheck.study import settings


def run(options: Namespace, log: program.Log) -> None:
    """Check the study."""
    study = settings.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck.runtime import device

    device.choose_device(0, "float32", folder.cache, log)
    from scalecheck.pipeline import check_study

    check_study.write_model(folder, study, log)


if __name__ == "__main__":
    program.main("scalecheck-check-study", __doc__, run)
