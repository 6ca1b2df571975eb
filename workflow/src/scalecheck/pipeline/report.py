"""Write the page of a study: everything that its checks found, in one HTML file."""

from collections.abc import Mapping
from typing import Any

from scalecheck.files.layout import StudyFolder
from scalecheck.report import page
from scalecheck.report.inputs import read_inputs
from scalecheck.runtime.program import Log


def write_report(folder: StudyFolder, sections: Mapping[str, Any], log: Log) -> None:
    """Render the page, and say where it lies."""
    page.write(folder, read_inputs(folder, sections))
    line = f"report: {folder.report}"
    log(line)
    print(line)
