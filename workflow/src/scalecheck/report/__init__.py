"""The report of a study: one self-contained HTML page.

`scalecheck.report.page.render` makes the page from `ReportInputs`. It is not imported here:
whoever only reads files should not pay for matplotlib.
"""

from scalecheck.report.inputs import ReportInputs

__all__ = ["ReportInputs"]
