"""The picture of the forecast: what the increments took, and what a fit of all rows would take."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scalecheck.report.curves import log_axes, name_panel, picture
from scalecheck.report.number_format import duration, tick
from scalecheck.report.svg import COLOURS, DASHED, MUTED, PAPER, Picture, marker, write

_COLOUR = COLOURS["increment"]


class _Measure(NamedTuple):
    """What a panel shows: a key of the forecast, its title, the same of each increment, labels of the axis."""

    key: str
    title: str
    taken: Callable[[pd.DataFrame], pd.Series]
    label: Callable[[float], str]


_MEASURES = (
    _Measure(
        "gradients",
        "Gradients of a fit",
        lambda fits: fits["gradients_warmup"] + fits["gradients_sampling"],
        tick,
    ),
    _Measure(
        "seconds",
        "Time of a fit",
        lambda fits: fits["seconds_compile"] + fits["seconds_warmup"] + fits["seconds_sampling"],
        duration,
    ),
)


def outlook(
    fits: pd.DataFrame, forecast: Mapping[str, Any], budget: float | None, caption: str
) -> Picture:
    """Draw gradients and time of the increments against rows, and the 90 % interval at all rows.

    Parameters
    ----------
    fits
        Those that were done.
    forecast
        Of verdict.json.
    budget
        `budget.seconds`: a line, where it is given.
    caption
        One sentence.
    """
    increments = fits[fits["kind"] == "increment"].sort_values("rows")
    panels = [
        partial(
            _panel,
            measure=measure,
            increments=increments,
            forecast=forecast,
            limit=budget if measure.key == "seconds" else None,
        )
        for measure in _MEASURES
    ]
    return picture("figure-forecast", "What the full fit would cost", caption, panels)


def _panel(
    ax: Axes,
    *,
    measure: _Measure,
    increments: pd.DataFrame,
    forecast: Mapping[str, Any],
    limit: float | None,
) -> None:
    n = increments["rows"].to_numpy(float)
    y = measure.taken(increments).to_numpy(float)
    n_all, (low, median, high) = float(forecast["rows"]), forecast[measure.key]
    known = [low, high] if limit is None else [low, high, limit]
    everything = np.append(y, known)
    log_axes(ax, np.append(n, n_all), everything, measure.label, margin=1.4, room=60)
    name_panel(ax, measure.title)
    usable = increments["usable"].to_numpy(bool)
    if usable.any():
        last = n[usable][-1], y[usable][-1]
        ax.fill_between(
            [last[0], n_all],
            [last[1], low],
            [last[1], high],
            color=_COLOUR,
            alpha=0.15,
            linewidth=0,
            zorder=1,
        )
        ax.plot(
            [last[0], n_all], [last[1], median], color=_COLOUR, linewidth=1.4, linestyle=(0, (4, 3))
        )
    ax.plot([n_all, n_all], [low, high], color=_COLOUR, linewidth=2.4, zorder=2)
    ax.plot(n, y, color=_COLOUR, linewidth=1.6, alpha=0.7)
    crossed = {"marker": "x", "markersize": 8, "markeredgecolor": _COLOUR, "zorder": 3}
    hollow = {"markerfacecolor": PAPER, "markeredgecolor": _COLOUR, "markeredgewidth": 1.8}
    ax.plot(n[usable], y[usable], linestyle="", **marker("increment", 8))
    ax.plot(n[~usable], y[~usable], linestyle="", **crossed)
    ax.plot([n_all], [median], linestyle="", **marker("increment", 9, **hollow))
    if limit is not None:
        ax.axhline(limit, **DASHED)
        write(ax, "budget", (0, limit), by=(6, 4), color=MUTED)
