"""Small multiples of how chains ran: leapfrogs and step size by iteration, increment by increment."""

from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scalecheck.report.curves import name_panel, picture
from scalecheck.report.number_format import count, tick
from scalecheck.report.svg import COLOURS, DASHED, INK, Picture
from scalecheck.report.ticks import binary_ticks, log_range, log_ticks, set_log

MOST_PANELS = 6


class Course(NamedTuple):
    """What a picture follows: a column of `checks/history.csv`, its title, and the ticks of its axis."""

    column: str
    title: str
    ticks: Callable[..., list[float]]


COURSES = (
    Course("leapfrogs", "Leapfrogs per iteration, as the chains ran", binary_ticks),
    Course("step_size", "Step size, as the chains ran", log_ticks),
)


def history(
    fits: pd.DataFrame, table: pd.DataFrame, flagged: Collection[str], caption: str
) -> list[Picture]:
    """Draw the last increments, a panel each, on common axes; a picture of leapfrogs and one of step sizes.

    Parameters
    ----------
    fits
        Those that were done.
    table
        `checks/history.csv`; may be empty.
    flagged
        Fits that a finding on cost names: their titles are marked.
    caption
        One sentence.
    """
    if table.empty:
        return []
    moved = table[(table["leapfrogs"] > 0) & (table["step_size"] > 0)]
    increments = fits[(fits["kind"] == "increment") & fits["fit"].isin(moved["fit"])]
    shown = increments.tail(MOST_PANELS).to_dict("records")
    moved = moved[moved["fit"].isin([fit["fit"] for fit in shown])]
    return [_picture(course, shown, moved, flagged, caption) for course in COURSES if shown]


def _picture(
    course: Course,
    shown: list[dict],
    rows: pd.DataFrame,
    flagged: Collection[str],
    caption: str,
) -> Picture:
    limits = log_range(rows[course.column].to_numpy(float), least=4.0)
    panels = []
    for fit in shown:
        mark = "◯ " if fit["fit"] in flagged else ""
        title = f"{mark}{count(fit['rows'])} rows"
        own = rows[rows["fit"] == fit["fit"]]
        panels.append(partial(_panel, title=title, rows=own, course=course, limits=limits))
    return picture(f"figure-history-{course.column}", course.title, caption, panels)


def _panel(
    ax: Axes, *, title: str, rows: pd.DataFrame, course: Course, limits: tuple[float, float]
) -> None:
    ax.set_yscale("log")
    ax.set_ylim(*limits)
    set_log(ax.yaxis, course.ticks(*limits, most=4), tick)
    for _, chain in rows.groupby("chain"):
        _draw_chain(ax, chain.sort_values("stop"), course.column)
    last = float(rows["stop"].max())
    warmup = rows[rows["warmup"]]["stop"]
    if len(warmup):
        ax.axvline(float(warmup.max()), zorder=1, **DASHED)
    ax.set_xlim(0, last * 1.02)
    ax.set_xticks(np.linspace(0, last, 3), labels=[count(x) for x in np.linspace(0, last, 3)])
    ax.set_xlabel("iterations", labelpad=4)
    name_panel(ax, title)


def _draw_chain(ax: Axes, chain: pd.DataFrame, column: str) -> None:
    """Draw a chain, heavier and crossed out where it stalls."""
    stop, values = chain["stop"].to_numpy(float), chain[column].to_numpy(float)
    ax.plot(stop, values, color=COLOURS["increment"], linewidth=1.2, alpha=0.8)
    stalls = chain["stalled"].to_numpy(bool)
    if stalls.any():
        first = int(np.argmax(stalls))
        ax.plot(stop, np.where(stalls, values, np.nan), color=INK, linewidth=2.4, zorder=3)
        ax.plot(
            stop[first], values[first], linestyle="", marker="X", markersize=9, color=INK, zorder=4
        )
