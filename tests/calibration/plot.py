"""Draw what was measured: false alarms, power and attribution, and the p-values of each family."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scenarios import DEFECTS, NULLS, STRUCTURES
from summary import FAMILIES, POOLED, summarise

# Dark enough on white, and apart for those who see few colours.
_BLUE, _ORANGE, _GREY = "#1f5fa8", "#c75b12", "#8a8a8a"
_MARKS = "os^vDPX*"
# The same bytes for the same lines.
_REPRODUCIBLE: Any = {"svg.hashsalt": "calibration", "svg.fonttype": "none"}


def draw(lines: pd.DataFrame, path: Path) -> None:
    """Write the plot as SVG."""
    rows = summarise(lines).set_index("scenario")
    nulls = rows.index.intersection([*NULLS, POOLED["null"]], sort=False)
    structures = rows.index.intersection([*STRUCTURES, POOLED["structure"]], sort=False)
    defects = rows.index.intersection(list(DEFECTS), sort=False)
    with mpl.rc_context(_REPRODUCIBLE):
        figure = Figure(figsize=(12, 10), layout="constrained")
        (above, families), (below, power) = figure.subplots(2, 2)
        _draw_alarms(above, rows.loc[nulls], "False alarms, %")
        _draw_alarms(below, rows.loc[structures], "False alarms where data have a structure, %")
        _draw_power(power, rows.loc[defects])
        _draw_families(families, lines[lines["kind"].isin(POOLED)])
        figure.savefig(path, metadata={"Date": None})


def _draw_alarms(axes: Axes, rows: pd.DataFrame, title: str) -> None:
    for alpha, colour, mark, shift in ((5, _BLUE, "o", -0.12), (1, _ORANGE, "s", 0.12)):
        name = f"{alpha:02d}"
        axes.errorbar(
            100 * rows[f"alarms_{name}"],
            np.arange(len(rows)) + shift,
            xerr=100 * rows[f"se_{name}"],
            fmt=mark,
            color=colour,
            markersize=5,
            linewidth=1,
            label=f"at {alpha} %",
        )
        axes.axvline(alpha, color=colour, linewidth=0.8, linestyle=":")
    _name_rows(axes, rows)
    axes.set(title=title, xlim=(-0.5, None))
    axes.legend(frameon=False)


def _draw_power(axes: Axes, rows: pd.DataFrame) -> None:
    shown = (
        ("alarms_05", "se_05", "detected at 5 %", _BLUE, "o"),
        ("kind_right", "se_kind", "kind right", _ORANGE, "s"),
        ("accepted", "se_accepted", "family and axis right", _GREY, "^"),
    )
    for number, (value, error, label, colour, mark) in enumerate(shown):
        axes.errorbar(
            100 * rows[value],
            np.arange(len(rows)) + 0.2 * (number - 1),
            xerr=100 * rows[error],
            fmt=mark,
            color=colour,
            markersize=5,
            linewidth=1,
            label=label,
        )
    axes.axvline(90, color=_BLUE, linewidth=0.8, linestyle=":")
    _name_rows(axes, rows)
    axes.set(title="Defects, %", xlim=(None, 101))
    axes.legend(frameon=False)


def _name_rows(axes: Axes, rows: pd.DataFrame) -> None:
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows.index])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def _draw_families(axes: Axes, nulls: pd.DataFrame) -> None:
    """Share of null studies whose family has a p-value as small: on the line or below it is right."""
    axes.plot([0, 20], [0, 20], color=_GREY, linewidth=0.8)
    for number, (family, mark) in enumerate(zip(FAMILIES, _MARKS, strict=True)):
        p = np.sort(nulls[f"{family}_p"].dropna().to_numpy())
        if len(p):
            grid = np.linspace(0.0, 0.2, 201)
            share = np.searchsorted(p, grid, side="right") / len(p)
            axes.plot(
                100 * grid,
                100 * share,
                color=f"C{number}",
                marker=mark,
                markevery=40,
                markersize=4,
                linewidth=1.2,
                label=family,
            )
    axes.set(
        title="Each family on its own, all true models",
        xlabel="nominal level, %",
        ylabel="rejected, %",
        xlim=(0, 20),
        ylim=(0, None),
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
