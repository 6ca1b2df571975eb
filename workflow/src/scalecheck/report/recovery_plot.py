"""Simulated data: what they were drawn from, against what the fits found."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scalecheck.report.curves import name_panel, picture
from scalecheck.report.number_format import count, number
from scalecheck.report.parameter_labels import shorten
from scalecheck.report.svg import COLOURS, DASHED, Picture, marker
from scalecheck.report.ticks import set_linear

# Of the intervals of `checks/estimates.csv`.
_INTERVAL = 0.89
# Of a panel: more of them in one would be one blot.
_MOST_PANELS = 6
_MOST_NAMES = 3  # in a title


def recovered(
    done: pd.DataFrame, estimates: pd.DataFrame, truth: Mapping[str, float]
) -> pd.DataFrame:
    """Give the estimates of the largest usable increment whose truth is known.

    Returns
    -------
    DataFrame
        Rows of `estimates` with the columns `truth`, `site`, and `z`: posterior mean minus truth in
        posterior sds. Empty where no increment is usable, or no truth is known.
    """
    usable = done[done["usable"] & (done["kind"] == "increment")].sort_values("rows")
    last = usable["fit"].iloc[-1] if len(usable) else None
    return beside_truth(estimates[estimates["fit"] == last], truth)


def beside_truth(estimates: pd.DataFrame, truth: Mapping[str, float]) -> pd.DataFrame:
    """Add the columns of `recovered` to estimates of one posterior, and keep those whose truth is known."""
    known = estimates[estimates["parameter"].isin(list(truth))]
    value = known["parameter"].map(truth).astype(float)
    sites = known["parameter"].str.partition("[")[0] if len(known) else known["parameter"]
    return known.assign(truth=value, site=sites, z=(known["mean"] - value) / known["sd"])


def recovery(
    found: pd.DataFrame, of: str = "the increment", identifier: str = "figure-recovery"
) -> Picture | None:
    """Draw posterior means and 89 % intervals against true values, a panel for each site.

    Parameters
    ----------
    found
        As `recovered` gives them.
    of
        What they are the estimates of.
    identifier
        Of the picture.
    """
    if found.empty:
        return None
    of_sites = [part for _, part in found.groupby("site", sort=False)]
    # Scalars share a panel: a point alone says little.
    scalars = [part for part in of_sites if len(part) == 1]
    groups = [part for part in of_sites if len(part) > 1]
    groups = groups[: _MOST_PANELS - bool(scalars)]
    panels = [partial(_panel, part=part, title=str(part["site"].iloc[0])) for part in groups]
    if scalars:
        together = pd.concat(scalars)
        names = ", ".join(together["site"])
        title = names if len(together) <= _MOST_NAMES else f"{len(together)} scalars"
        panels.append(partial(_panel, part=together, title=title))
    return picture(identifier, "Recovery", caption(found, of), panels)


def caption(found: pd.DataFrame, of: str) -> str:
    """Say how many intervals hold their truth, and how the errors are distributed.

    A posterior that is right gives errors in posterior sds with mean square 1. No p value is given: the parameters
    of one posterior err together.
    """
    holds = (found["low"] <= found["truth"]) & (found["truth"] <= found["high"])
    n, z = len(found), found["z"].to_numpy(float)
    worst = found.iloc[int(np.argmax(np.abs(z)))]
    rows = count(found["rows"].iloc[0])
    return (
        f"{count(holds.sum())} of {count(n)} 89 % intervals of {of} of {rows} rows hold the value that"
        f" the data were drawn from ({number(_INTERVAL * n, 3)} are expected). The errors of the posterior means"
        f" are {number(float(np.sqrt((z**2).mean())), 2)} posterior sds in the root mean square, where 1 is right"
        f" on average over data sets (parameters of one posterior err together); the largest is"
        f" {number(float(worst['z']), 2)} ({shorten(worst['parameter'], 40)})."
    )


def _panel(ax: Axes, *, part: pd.DataFrame, title: str) -> None:
    truth, mean = part["truth"].to_numpy(float), part["mean"].to_numpy(float)
    low, high = part["low"].to_numpy(float), part["high"].to_numpy(float)
    everything = np.concatenate([truth, low, high])
    everything = everything[np.isfinite(everything)]
    pad = 0.06 * (np.ptp(everything) or 1.0)
    limits = everything.min() - pad, everything.max() + pad
    ax.set_xlim(*limits)
    ax.set_ylim(*limits)
    for axis in (ax.xaxis, ax.yaxis):
        set_linear(axis, 5)
    ax.plot(limits, limits, zorder=1, **DASHED)
    ax.vlines(truth, low, high, color=COLOURS["increment"], linewidth=2.0, zorder=2)
    ax.plot(truth, mean, linestyle="", **marker("increment", 6))
    ax.set_xlabel("true value", labelpad=4)
    name_panel(ax, title)
