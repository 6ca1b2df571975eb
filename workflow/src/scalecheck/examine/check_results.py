"""What an examination gives."""

from typing import NamedTuple

import pandas as pd

from scalecheck.checks.finding import Finding


class CheckResults(NamedTuple):
    """What the checks found.

    Attributes
    ----------
    findings
        Before their error rates are combined.
    tables
        Tidy tables by name.
    """

    findings: list[Finding]
    tables: dict[str, pd.DataFrame]
