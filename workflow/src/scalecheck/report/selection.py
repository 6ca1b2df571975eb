"""Which fits are drawn and listed, where there are too many to look at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scalecheck.report.number_format import count

MOST_SUBSETS = 100
_EXTREMES = 5  # subsets with fewest, and with most, leapfrogs


def shown(fits: pd.DataFrame, findings: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Choose the fits to draw and list: all, but of the random subsets a hundred at most.

    Those that findings name and those that cannot be used come first, then the ends of the range of leapfrogs;
    the rest lie evenly in the plan, so that they stand for all.

    Parameters
    ----------
    fits
        `checks/fits.csv`, `usable` as booleans.
    findings
        Of the verdict.

    Returns
    -------
    DataFrame
        Rows of `fits`, in their order.
    """
    subsets = fits[fits["kind"] == "subset"]
    if len(subsets) <= MOST_SUBSETS:
        return fits
    named = {finding["where"]["fit"] for finding in findings}
    slowest = subsets["leapfrogs_per_iteration"].sort_values(ascending=False, kind="stable").index
    first = [
        *subsets.index[subsets["fit"].isin(named)],
        *slowest[:_EXTREMES],
        *slowest[-_EXTREMES:],
        *subsets.index[~subsets["usable"]],
    ]
    chosen = list(dict.fromkeys(first))[:MOST_SUBSETS]
    others = subsets.index.difference(chosen, sort=False)
    places = np.linspace(0, len(others) - 1, MOST_SUBSETS - len(chosen)).round().astype(int)
    kept = {*chosen, *others[places]}
    return fits[(fits["kind"] != "subset") | fits.index.isin(list(kept))]


def left_aside(fits: pd.DataFrame, drawn: pd.DataFrame) -> str:
    """Say which subsets are drawn; empty where all are."""
    if len(fits) == len(drawn):
        return ""
    n_drawn, n_all = ((table["kind"] == "subset").sum() for table in (drawn, fits))
    return (
        f" {count(n_drawn)} of the {count(n_all)} subsets are shown: those that findings name, that cannot be"
        " used or that took most or fewest leapfrogs, and others evenly; all are in checks/fits.csv."
    )
