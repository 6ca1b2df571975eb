"""What an examination gives."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from scalecheck.checks.finding import Finding, not_run


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


def family_not_run(family: str, reason: str) -> CheckResults:
    """Give the result of a family none of whose checks could be made."""
    return CheckResults([not_run(family, reason, weight=1.0)], {family: pd.DataFrame()})


def join_results(family: str, results: Sequence[tuple[Finding, pd.DataFrame]]) -> CheckResults:
    """Join the findings and tables of the checks of a family."""
    tables = [table for _, table in results if len(table)]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return CheckResults([finding for finding, _ in results], {family: table})
