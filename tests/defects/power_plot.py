"""Draw the power of each method over the rows of a table, a panel for each kind of defect."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from benchmark_models import NULL
from cases import N_SUBSETS
from defect_kinds import KINDS
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from power import ORACLE, OURS, POWER, summarise

# The same bytes for the same lines.
_REPRODUCIBLE: Any = {"svg.hashsalt": "defects", "svg.fonttype": "none"}
_BLACK, _BLUE = "#222222", "#1f5fa8"
_OTHERS = ("#c75b12", "#2e7d4f", "#8a4fa3", "#8a8a8a", "#b8860b", "#b03a55")
_MARKS = "s^vDPX"


def draw(lines: pd.DataFrame, path: Path) -> None:
    """Write the plot as SVG."""
    summary = summarise(lines)
    defects = summary[summary["defect"] != NULL]
    methods = sorted(defects["method"].unique(), key=lambda m: (m != ORACLE, m != OURS, m))
    style = _styles(methods)
    with mpl.rc_context(_REPRODUCIBLE):
        figure = Figure(figsize=(13, 6), layout="constrained")
        panels = figure.subplots(2, 5, sharey=True)
        for axes, defect in zip(panels.flat, KINDS, strict=True):
            _panel(axes, defect, defects[defects["defect"] == defect], style)
        for axes in panels[:, 0]:
            axes.set_ylabel("found at equal false alarms, %")
        handles, labels = panels.flat[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(path, metadata={"Date": None})


def _styles(methods: list[str]) -> dict[str, dict[str, Any]]:
    fixed = {
        ORACLE: {"color": _BLACK, "marker": ".", "linestyle": "--"},
        OURS: {"color": _BLUE, "marker": "o", "linewidth": 2.2},
    }
    others = [name for name in methods if name not in fixed]
    rest = {
        name: {"color": _OTHERS[i % len(_OTHERS)], "marker": _MARKS[i % len(_MARKS)]}
        for i, name in enumerate(others)
    }
    return {name: (fixed | rest)[name] for name in methods}


def _panel(axes: Axes, defect: str, rows: pd.DataFrame, style: dict[str, dict[str, Any]]) -> None:
    for method, own in style.items():
        power = rows[rows["method"] == method].groupby("n")["rejected"].mean()
        label = method.replace("_", " ")
        axes.plot(N_SUBSETS * power.index.to_numpy(float), 100 * power, label=label, **own)
    axes.axhline(100 * POWER, color=_BLACK, linewidth=0.6, linestyle=":")
    axes.set(title=defect.replace("_", " "), xscale="log", ylim=(-4, 104))
    ticks = N_SUBSETS * np.array(sorted(rows["n"].unique()), dtype=int)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("rows")
    axes.spines[["top", "right"]].set_visible(False)
