#!/usr/bin/env python
"""Write the page of a study: everything that its checks found, in one HTML file."""

from argparse import Namespace

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import program
from scalecheck.study import settings


def run(options: Namespace, log: program.Log) -> None:
    """Render the page."""
    study = settings.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck.pipeline import report

    report.write_report(folder, study, log)


if __name__ == "__main__":
    program.main("scalecheck-report", __doc__, run)
