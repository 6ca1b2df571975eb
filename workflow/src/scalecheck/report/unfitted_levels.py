"""Levels that have no fit of their own: the forest plot shows what the scores say of them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from scalecheck.report.number_format import count, text
from scalecheck.report.parameter_labels import shorten

MOST_LEVELS = 12  # of an axis
_NUMBER = r"-?[\d.]+(?:e[-+]?\d+)?"
_BIN = re.compile(rf"{_NUMBER} to {_NUMBER}")
_COLUMNS = ("fit", "kind", "axis", "level", "rows", "usable")


class Drawn(NamedTuple):
    """Fits and estimates of the forest plot, those of levels without a fit among them.

    Attributes
    ----------
    fits
        Those that were done; `fitted` is False of what was added.
    estimates
        Of `fits`, on the scale of the model.
    added
        Names of what was added.
    said
        What the caption says of it; empty where nothing was added.
    """

    fits: pd.DataFrame
    estimates: pd.DataFrame
    added: tuple[str, ...] = ()
    said: str = ""


def add_unfitted(
    fits: pd.DataFrame, estimates: pd.DataFrame, table: pd.DataFrame, parameters: Sequence[str]
) -> Drawn:
    """Add the levels that have a one-step estimate and no fit, at most twelve of each axis.

    Of many those are added that differ most from the pooled estimate, in the order of their axis.

    Parameters
    ----------
    fits
        Those that were done.
    estimates
        `checks/estimates.csv`.
    table
        `checks/heterogeneity.csv`; may be empty.
    parameters
        Those that are drawn.
    """
    fits = fits.assign(fitted=True)
    if fits.empty or "one_step_mean" not in table:
        return Drawn(fits, estimates)
    estimated = table[["one_step_mean", "one_step_low", "one_step_high"]].notna().all(axis=1)
    known = table[estimated & table["parameter"].isin(parameters)]
    found = [
        _unfitted(own, fits[(fits["kind"] == "level") & (fits["axis"] == axis)]["level"])
        for axis, own in known.groupby("axis", sort=False)
    ]
    found = [own for own in found if len(own)]
    if not found:
        return Drawn(fits, estimates)
    chosen = pd.concat([own[own["level"].isin(_most_different(own))] for own in found])
    numbers = chosen.groupby(["axis", "level"], sort=False).ngroup()
    chosen = chosen.assign(
        fit=[f"one step {number}" for number in numbers],  # no fit has a space in its name
        kind="level",
        usable=True,
        mean=chosen["one_step_mean"],
        low=chosen["one_step_low"],
        high=chosen["one_step_high"],
    )
    levels = chosen.drop_duplicates("fit").assign(fitted=False)
    columns = [*_COLUMNS, "fitted"]
    values = ["fit", "parameter", "mean", "low", "high"]
    return Drawn(
        pd.concat([fits[columns], levels[columns]], ignore_index=True),
        pd.concat([estimates[values], chosen[values]], ignore_index=True),
        tuple(levels["fit"]),
        _said(found),
    )


def _unfitted(own: pd.DataFrame, fitted: pd.Series) -> pd.DataFrame:
    """Give the rows of one axis whose level was not fitted.

    None where fits have bins that the table lacks: it cuts a number by the rows that were fitted, into bins of its own,
    and both show the same rows.
    """
    others = set(fitted) - set(own["level"])
    if any(_BIN.fullmatch(str(level)) for level in others):
        return own.head(0)
    return own[~own["level"].isin(fitted)]


def _most_different(own: pd.DataFrame) -> list[str]:
    in_sds = np.abs(own["one_step"]) / own["one_step_sd"]
    by_level = in_sds.groupby(own["level"], sort=False).max()
    return list(by_level.sort_values(ascending=False, kind="stable").index[:MOST_LEVELS])


def _said(found: Sequence[pd.DataFrame]) -> str:
    n_levels = {text(own["axis"].iloc[0]): own["level"].nunique() for own in found}
    more = [
        f" {MOST_LEVELS} of the {count(number)} of {shorten(axis, 40)} are shown: those that differ most."
        for axis, number in n_levels.items()
        if number > MOST_LEVELS
    ]
    return " Open marks are one-step estimates of levels that were not fitted." + "".join(more)
