"""Write the page of a study: everything that its checks found, in one HTML file."""

from scalecheck.files.layout import StudyFolder
from scalecheck.report import page
from scalecheck.report.inputs import read_inputs
from scalecheck.runtime.program import Log
from scalecheck.study.settings import Study


def write_report(folder: StudyFolder, study: Study, log: Log) -> None:
    """Render the page, and say where it lies."""
    page.write(folder, read_inputs(folder, study))
    line = f"report: {folder.report}"
    log(line)
    print(line)
