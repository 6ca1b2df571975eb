"""The forest plot: every compared parameter in every fit."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import batched
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalecheck.report import svg
from scalecheck.report.number_format import estimate, tick
from scalecheck.report.parameter_labels import fit_label, grouped, shorten
from scalecheck.report.svg import COLOURS, GRID, INK, MUTED, PAPER, Picture
from scalecheck.report.ticks import log_range, log_ticks, set_linear, set_log

MOST_PARAMETERS = 6
_LINE, _HEADING = 19.0, 31.0  # heights in CSS pixels
_TOP, _BOTTOM = 44.0, 28.0


class ForestRow(NamedTuple):
    """A fit in the plot, or a level that was not `fitted`; a heading where `fit` is None.

    `y` is in pixels from the top.
    """

    y: float
    kind: str
    label: str
    fit: str | None
    usable: bool = True
    fitted: bool = True


class Columns(NamedTuple):
    """Widths in CSS pixels: of a figure, its labels, its numbers, and characters of a label."""

    full: float
    labels: float
    numbers: float
    characters: int


def chosen_parameters(names: Sequence[str], findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Choose the parameters to draw: those that findings name, the loudest first."""
    rank = {"strong": 0, "suspect": 1}
    by_loudness = sorted(findings, key=lambda finding: rank.get(finding["status"], 2))
    named = [finding["where"]["parameter"] for finding in by_loudness]
    first = [name for site in named for name in names if site in (name, name.partition("[")[0])]
    return list(dict.fromkeys([*first, *names]))[:MOST_PARAMETERS]


def forest(
    fits: pd.DataFrame,
    shown: Collection[str],
    estimates: pd.DataFrame,
    parameters: Sequence[str],
    caption: str,
) -> Picture | None:
    """Draw means and 89 % intervals of the parameters over all fits, grouped by kind.

    Wide pieces hold up to three parameters side by side, narrow ones a single parameter.

    Parameters
    ----------
    fits
        Those that were done, and levels that are not `fitted`: a column of booleans.
    shown
        Names of the fits to draw.
    estimates
        `checks/estimates.csv`, and one-step estimates of levels that are not fitted.
    parameters
        Those to draw.
    caption
        One sentence.
    """
    lines = _lines(fits[fits["fit"].isin(estimates["fit"]) & fits["fit"].isin(shown)])
    subsets = fits[(fits["kind"] == "subset") & fits["usable"]]["fit"]
    if not lines:
        return None
    by_name = {name: estimates[estimates["parameter"] == name] for name in parameters}
    alone = len(parameters) == 1
    desk = Columns(svg.WIDE, 168.0, 184.0 if alone else 0.0, 24)
    phone = Columns(svg.NARROW, 118.0, 0.0, 16)
    in_a_row = 2 if len(parameters) in (2, 4) else 3

    def drawn(name: str, columns: Columns, names: tuple[str, ...]) -> Markup:
        alt = f"Forest plot of {', '.join(names)}. {caption}"
        drawing = partial(_figure, lines, subsets, {n: by_name[n] for n in names}, columns)
        return svg.draw(name, drawing, alt)

    wide = [
        drawn(f"forest-w{i}", desk, names) for i, names in enumerate(batched(parameters, in_a_row))
    ]
    narrow = [drawn(f"forest-n{i}", phone, (name,)) for i, name in enumerate(parameters)]
    return Picture(
        "figure-forest", "Estimates", caption, "Forest plot.", tuple(wide), tuple(narrow)
    )


def _lines(fits: pd.DataFrame) -> list[ForestRow]:
    lines: list[ForestRow] = []
    y = 0.0
    for kind, title, group in grouped(fits):
        y += _HEADING if lines else _HEADING - 8
        lines.append(ForestRow(y - 12, kind, title, None))
        for fit in group.to_dict("records"):
            told = bool(fit["usable"]), bool(fit["fitted"])
            lines.append(ForestRow(y + _LINE / 2, kind, fit_label(fit), fit["fit"], *told))
            y += _LINE
    return lines


def _figure(
    lines: list[ForestRow],
    subsets: Collection[str],
    parameters: Mapping[str, pd.DataFrame],
    columns: Columns,
) -> Figure:
    height = lines[-1].y + _LINE / 2 + 6
    fig = svg.figure(columns.full, _TOP + height + _BOTTOM)
    gap = 22.0
    room = columns.full - columns.labels - columns.numbers - 14 - gap * (len(parameters) - 1)
    width = room / len(parameters)
    for i, (name, estimates) in enumerate(parameters.items()):
        ax = svg.rows_panel(fig, columns.labels + i * (width + gap), _TOP, width, height)
        _panel(ax, name, lines, subsets, estimates, width)
        if i == 0:
            _write_labels(ax, lines, columns)
        if columns.numbers:
            _write_numbers(ax, lines, estimates)
    return fig


def _panel(
    ax: Axes,
    name: str,
    lines: list[ForestRow],
    subsets: Collection[str],
    estimates: pd.DataFrame,
    width: float,
) -> None:
    values = estimates.set_index("fit")
    _scale(ax, _bounds(lines, values), width)
    ax.tick_params(labeltop=True, pad=3)
    ax.set_title(shorten(name, int((width + 16) // 9)), loc="left", fontweight="bold", size=13)
    _reference(ax, subsets, values)
    for line in lines:
        if line.fit in values.index:
            _interval(ax, line, values.loc[line.fit])


def _bounds(lines: Sequence[ForestRow], values: pd.DataFrame) -> np.ndarray:
    """Values `(n,)` that the axis must hold.

    An unusable fit must not squeeze the others, nor must the bar of a level of few rows. The mark of a level that was
    not fitted may widen the axis by the range of the fits to either side; what is farther away becomes an arrow.
    """
    trusted = [line.fit for line in lines if line.fit and line.usable and line.fitted]
    unfitted = [line.fit for line in lines if not line.fitted]
    everything = _finite(values[["mean", "low", "high"]])
    own = _finite(values.loc[values.index.isin(trusted), ["mean", "low", "high"]])
    if not own.size or np.ptp(everything) <= 2 * np.ptp(own):
        return everything
    marks = _finite(values.loc[values.index.isin(unfitted), ["mean"]])
    return np.append(own, marks.clip(own.min() - np.ptp(own), own.max() + np.ptp(own)))


def _finite(table: pd.DataFrame) -> np.ndarray:
    """All finite numbers of a table, `(n,)`."""
    numbers = table.to_numpy(float).ravel()
    return numbers[np.isfinite(numbers)]


def _scale(ax: Axes, bounds: np.ndarray, width: float) -> None:
    most = max(3, int(width // 60))
    if bounds.size and bounds.min() > 0 and bounds.max() / bounds.min() > 6:
        low, high = log_range(bounds)
        ax.set_xscale("log")
        ax.set_xlim(low, high)
        set_log(ax.xaxis, log_ticks(low, high, most), tick)
        return
    if bounds.size:
        pad = 0.05 * (np.ptp(bounds) or abs(bounds[0]) or 1.0)
        ax.set_xlim(bounds.min() - pad, bounds.max() + pad)
    set_linear(ax.xaxis, most)


def _reference(ax: Axes, subsets: Collection[str], values: pd.DataFrame) -> None:
    """Draw the mean of all usable random subsets through all groups, for the eye to compare with."""
    means = values[values.index.isin(subsets)]["mean"]
    if means.notna().any():
        ax.axvline(means.mean(), color=COLOURS["subset"], linewidth=1, alpha=0.45, zorder=1)


def _interval(ax: Axes, line: ForestRow, row: pd.Series) -> None:
    bar: dict[str, Any] = {"color": COLOURS[line.kind], "linestyle": "-", "linewidth": 2.4}
    mark = svg.marker(line.kind, 7 if line.kind == "increment" else 6)
    mark["markeredgewidth"] = 0.5
    if not line.fitted:
        bar["linewidth"] = 1.0
        mark |= {"markerfacecolor": PAPER, "markeredgecolor": COLOURS[line.kind]}
        mark |= {"markersize": 5, "markeredgewidth": 1.2}
        low, high = ax.get_xlim()
        if not low <= row["mean"] <= high:
            mark |= {"marker": "<" if row["mean"] < low else ">", "clip_on": False}
    if not line.usable:
        bar |= {"color": MUTED, "linestyle": (0, (2, 3))}
        mark |= {"markerfacecolor": PAPER, "markeredgecolor": MUTED, "markeredgewidth": 1.4}
    ax.plot([row["low"], row["high"]], [line.y] * 2, **bar)
    ax.plot(np.clip(row["mean"], *ax.get_xlim()), line.y, **mark)


def _write_labels(ax: Axes, lines: list[ForestRow], columns: Columns) -> None:
    for line in lines:
        heading = line.fit is None
        most = columns.characters + (16 if heading else 0)
        svg.write(
            ax,
            shorten(line.label if line.usable else f"✕ {line.label}", most),
            (0, line.y),
            by=(-columns.labels if heading else -10, 0),
            ha="left" if heading else "right",
            va="center",
            color=COLOURS[line.kind] if heading else INK if line.usable else MUTED,
            fontweight="bold" if heading else "normal",
        )
        if heading:
            ax.axhline(line.y + 11, color=GRID, linewidth=0.8, zorder=0)


def _write_numbers(ax: Axes, lines: list[ForestRow], estimates: pd.DataFrame) -> None:
    values = estimates.set_index("fit")
    width = (values["high"] - values["low"]).median()
    for line in lines:
        if line.fit in values.index:
            row = values.loc[line.fit]
            numbers = estimate(row["mean"], row["low"], row["high"], width)
            svg.write(ax, numbers, (1, line.y), by=(12, 0), va="center", color=MUTED)
