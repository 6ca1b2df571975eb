"""Small multiples of warmup: the step size of each chain, window by window, increment by increment."""

from collections.abc import Collection
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scalecheck.report.labels import shorten
from scalecheck.report.numbers import count, tick
from scalecheck.report.plots import picture
from scalecheck.report.svg import COLOURS, INK, PAPER, Picture
from scalecheck.report.ticks import log_range, log_ticks, set_log

MOST_PANELS = 6


def warmup(
    fits: pd.DataFrame, adaptation: pd.DataFrame, flagged: Collection[str], caption: str
) -> Picture | None:
    """Draw the last increments, a panel each, on common axes.

    Parameters
    ----------
    fits
        Those that were done.
    adaptation
        `checks/adaptation.csv`; may be empty.
    flagged
        Fits that a finding on cost names: their titles are marked.
    caption
        One sentence.
    """
    rows = adaptation[adaptation["step_size"] > 0] if len(adaptation) else adaptation
    increments = fits[fits["kind"] == "increment"]
    increments = increments[increments["fit"].isin(rows["fit"] if len(rows) else [])]
    shown = increments.tail(MOST_PANELS).to_dict("records")
    if not shown:
        return None
    rows = rows[rows["fit"].isin(fit["fit"] for fit in shown)]
    limits = log_range(rows["step_size"].to_numpy(float), least=4.0)
    panels = []
    for fit in shown:
        mark = "◯ " if fit["fit"] in flagged else ""
        title = shorten(f"{mark}{count(fit['rows'])} rows", 30)
        chains = [chain for _, chain in rows[rows["fit"] == fit["fit"]].groupby("chain")]
        panels.append(partial(_panel, title=title, chains=chains, limits=limits))
    return picture("figure-warmup", "Step size through warmup", caption, panels)


def _panel(
    ax: Axes, *, title: str, chains: list[pd.DataFrame], limits: tuple[float, float]
) -> None:
    ax.set_yscale("log")
    ax.set_ylim(*limits)
    set_log(ax.yaxis, log_ticks(*limits, most=4), tick)
    for chain in chains:
        chain = chain.sort_values("stop")
        stop, size = chain["stop"].to_numpy(float), chain["step_size"].to_numpy(float)
        ax.plot(stop, size, color=COLOURS["increment"], linewidth=1.4, alpha=0.8, marker="o",
                markersize=4, markeredgecolor=PAPER, markeredgewidth=0.5)  # fmt: skip
    last = max(float(chain["stop"].max()) for chain in chains)
    ax.set_xlim(0, last * 1.04)
    ax.set_xticks(np.linspace(0, last, 3), labels=[count(x) for x in np.linspace(0, last, 3)])
    ax.set_xlabel("iterations", labelpad=4)
    ax.set_title(title, loc="left", x=0, color=INK, fontweight="bold", size=13)
