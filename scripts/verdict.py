#!/usr/bin/env python
"""Decide the verdict of a study from what its checks found."""

from argparse import Namespace

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import program
from scalecheck.study import settings


def run(options: Namespace, log: program.Log) -> None:
    """Decide, and say so."""
    study = settings.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck.pipeline import verdict

    content = verdict.conclude(folder, study, log)
    line = f"verdict: {content['verdict']} ({folder.verdict})"
    log(line)
    print(line)


if __name__ == "__main__":
    program.main("scalecheck-verdict", __doc__, run)
