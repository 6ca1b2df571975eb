"""Curves over the number of rows: posterior contraction and the cost of a fit."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import batched
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scalecheck.report import svg
from scalecheck.report.number_format import count, duration, tick
from scalecheck.report.parameter_labels import KINDS, shorten
from scalecheck.report.svg import COLOURS, DASHED, INK, MARKERS, MUTED, Picture
from scalecheck.report.ticks import binary_ticks, log_range, log_ticks, set_log

_SHORT_NAMES = {"subset": "subsets", "level": "levels", "increment": "increments"}
_LEFT, _TOP, _BOTTOM, _RIGHT = 66.0, 32.0, 50.0, 22.0  # margins of a panel in CSS pixels

Panels = Sequence[Callable[[Axes], None]]


def contraction(increments: pd.DataFrame, parameters: Sequence[str], caption: str) -> Picture:
    """Draw the posterior sd of each parameter against rows, beside the n^-1/2 line.

    Parameters
    ----------
    increments
        Estimates of the usable increments.
    parameters
        Those to draw, a panel each.
    caption
        One sentence.
    """
    panels = [partial(_contraction_panel, increments=increments, name=name) for name in parameters]
    return picture("figure-contraction", "Posterior contraction", caption, panels)


def cost(fits: pd.DataFrame, scaling: pd.DataFrame, caption: str) -> Picture:
    """Draw leapfrogs per iteration and seconds per gradient against rows, over all done fits.

    Parameters
    ----------
    fits
        Those that were done.
    scaling
        `checks/scaling.csv`: what the increments before predict for each; may be empty.
    caption
        One sentence.
    """
    panels = [
        partial(_leapfrogs_panel, fits=fits, expected=_expected(scaling)),
        partial(_seconds_panel, fits=fits),
    ]
    kinds = [kind for kind in KINDS if (fits["kind"] == kind).any()]
    return picture("figure-cost", "What a fit costs", caption, panels, kinds)


def picture(
    name: str, title: str, caption: str, panels: Panels, kinds: Sequence[str] = ()
) -> Picture:
    """Lay panels out: two or three in a row for a desk, one below the other for a phone."""
    alt = f"{title}. {caption}"
    in_a_row = 2 if len(panels) in (2, 4) else min(3, len(panels))
    rows = [partial(_row, row, svg.WIDE, in_a_row, kinds) for row in batched(panels, in_a_row)]
    single = [partial(_row, [one], svg.NARROW, 1, kinds) for one in panels]
    wide, narrow = svg.pieces(f"{name}-w", rows, alt), svg.pieces(f"{name}-n", single, alt)
    return Picture(name, title, caption, alt, wide, narrow)


def _row(panels: Panels, full: float, in_a_row: int, kinds: Sequence[str]) -> Figure:
    each = full / in_a_row
    width = each - _LEFT - _RIGHT
    height = min(300.0, max(190.0, 0.66 * each))
    legend = 30.0 if kinds else 0.0
    fig = svg.figure(full, legend + _TOP + height + _BOTTOM)
    for i, fill in enumerate(panels):
        fill(svg.panel(fig, i * each + _LEFT, legend + _TOP, width, height))
    if kinds:
        _legend(fig, kinds)
    return fig


def _legend(fig: Figure, kinds: Sequence[str]) -> None:
    handles = [
        Line2D([], [], linestyle="", markersize=8, marker=MARKERS[kind], color=COLOURS[kind])
        for kind in kinds
    ]
    fig.legend(
        handles,
        [_SHORT_NAMES[kind] for kind in kinds],
        loc="upper left",
        bbox_to_anchor=(0, 1),
        ncols=len(kinds),
        frameon=False,
        borderaxespad=0.2,
        handletextpad=0.1,
        columnspacing=0.9,
    )


def _contraction_panel(ax: Axes, *, increments: pd.DataFrame, name: str) -> None:
    rows = increments[increments["parameter"] == name].sort_values("rows")
    rows = rows[(rows["sd"] > 0) & (rows["rows"] > 0)]
    n, sd = rows["rows"].to_numpy(float), rows["sd"].to_numpy(float)
    expected = sd[0] * np.sqrt(n[0] / n) if n.size else sd
    log_axes(ax, n, np.concatenate([sd, expected]), tick)
    ax.plot(n, expected, **DASHED)
    ax.plot(n, sd, color=COLOURS["increment"], linewidth=1.8)
    ax.plot(n, sd, linestyle="", **svg.marker("increment", 7))
    name_panel(ax, f"sd of {name}")
    if n.size > 1:
        # At the lower left, where the falling curves leave room.
        svg.write(ax, "dashed: 1/√n", (0, 0), by=(6, 8), within="axes fraction", color=MUTED)


def _leapfrogs_panel(ax: Axes, *, fits: pd.DataFrame, expected: np.ndarray) -> None:
    good = fits[(fits["leapfrogs_per_iteration"] > 0) & (fits["rows"] > 0)]
    n, y = (good[name].to_numpy(float) for name in ("rows", "leapfrogs_per_iteration"))
    log_axes(ax, n, np.append(y, expected[:, 1:]), tick, ticks=binary_ticks)
    _draw_fits(ax, good, "leapfrogs_per_iteration")
    name_panel(ax, "Leapfrogs per iteration")
    bar: dict[str, Any] = {"color": COLOURS["increment"], "linewidth": 7, "alpha": 0.25}
    for rows, low, high in expected:
        ax.plot([rows, rows], [low, high], zorder=1, **bar)


def _seconds_panel(ax: Axes, *, fits: pd.DataFrame) -> None:
    fits = fits.assign(rows=fits["padded_rows"])  # on which gradients were timed
    good = fits[(fits["seconds_per_gradient"] > 0) & (fits["rows"] > 0)]
    n, y = (good[name].to_numpy(float) for name in ("rows", "seconds_per_gradient"))
    log_axes(ax, n, y, duration)
    _draw_fits(ax, good, "seconds_per_gradient")
    ax.set_xlabel("rows, with those that pad", labelpad=4)
    name_panel(ax, "Time per gradient")


def _draw_fits(ax: Axes, fits: pd.DataFrame, column: str) -> None:
    """Draw a point for each fit, in the colour of its kind, and a line through the increments."""
    for kind in KINDS:
        of_kind = fits[fits["kind"] == kind].sort_values("rows")
        n, y = of_kind["rows"].to_numpy(float), of_kind[column].to_numpy(float)
        if kind == "increment":
            ax.plot(n, y, color=COLOURS[kind], linewidth=1.6, alpha=0.7)
        ax.plot(_spread(n), y, linestyle="", **svg.marker(kind, 7))


def _expected(scaling: pd.DataFrame) -> np.ndarray:
    """Rows and 89 % interval of leapfrogs that the increments before predict, `(increment, 3)`."""
    if scaling.empty:
        return np.empty((0, 3))
    seen, low, high = (scaling[name] for name in ("leapfrogs", "ratio_high", "ratio_low"))
    bars = np.column_stack([scaling["rows"], seen / low, seen / high]).astype(float)
    return bars[np.isfinite(bars).all(axis=1)]


def _spread(n: np.ndarray) -> np.ndarray:
    """Move fits of the same number of rows a little apart, in plan order."""
    apart = n.copy()
    for value in np.unique(n):
        same = np.flatnonzero(n == value)
        apart[same] *= np.exp(0.45 * (np.arange(same.size) - (same.size - 1) / 2) / same.size)
    return apart


def log_axes(
    ax: Axes,
    n: np.ndarray,
    y: np.ndarray,
    label: Callable[[float], str],
    *,
    ticks: Callable[..., list[float]] = log_ticks,
    margin: float = 1.25,
    room: int = 50,
) -> None:
    """Set log axes around points.

    Parameters
    ----------
    n, y
        `(point,)` rows, and what is drawn against them.
    label
        Writes a tick of y.
    ticks
        Places those.
    margin
        Factor of the room above and below the points.
    room
        Pixels of a tick of the rows.
    """
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(*log_range(n, least=3.0, margin=1.3))
    # At least a factor of four: noise must not fill the panel.
    ax.set_ylim(*log_range(y, least=4.0, margin=margin))
    width = ax.get_window_extent().width
    set_log(ax.xaxis, log_ticks(*ax.get_xlim(), most=max(2, int(width // room)), fine=False), count)
    set_log(ax.yaxis, ticks(*ax.get_ylim(), most=6), label)
    ax.set_xlabel("rows", labelpad=4)


def name_panel(ax: Axes, title: str) -> None:
    """Write the title of a panel, cut where it is long."""
    ax.set_title(shorten(title, 30), loc="left", x=0, color=INK, fontweight="bold", size=13)
