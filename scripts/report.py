#!/usr/bin/env python
"""Write the page of a study: everything that its checks found, in one HTML file."""

from argparse import Namespace

from scalecheck import program, study
from scalecheck.study_folder import StudyFolder


def run(options: Namespace, log: program.Log) -> None:
    """Render the page."""
    sections = study.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck.report.inputs import read_inputs
    from scalecheck.report.page import write

    write(folder, read_inputs(folder, sections))
    line = f"report: {folder.report}"
    log(line)
    print(line)


if __name__ == "__main__":
    program.main("scalecheck-report", __doc__, run)
