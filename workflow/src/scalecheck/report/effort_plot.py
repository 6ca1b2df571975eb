"""The picture of effort: leapfrogs and step size of every chain of every fit, group by group."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scalecheck.report import svg
from scalecheck.report.number_format import number, tick
from scalecheck.report.parameter_labels import fit_label, grouped, shorten
from scalecheck.report.svg import COLOURS, GRID, INK, MUTED, Picture
from scalecheck.report.ticks import binary_ticks, log_range, log_ticks, set_log

NOTABLE = 1.5
_RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 14,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "markeredgewidth": 1.6,
    "zorder": 4,
}
_LINE, _HEADING, _TOP, _BOTTOM, _SIDE, _GAP = 9.0, 27.0, 30.0, 26.0, 6.0, 34.0


class Measure(NamedTuple):
    """What a panel shows: a column of the chains, its title, and which end is the slow one."""

    column: str
    title: str
    extreme: str


class Strip(NamedTuple):
    """A group of fits in plan order; `chains` are their rows, `name` its heading."""

    name: str
    kind: str
    fits: pd.DataFrame
    chains: pd.DataFrame


_MEASURES = (
    Measure("leapfrogs", "Leapfrogs per iteration", "most"),
    Measure("step_size", "Step size", "least"),
)


def chains_of(fits: pd.DataFrame, adaptation: pd.DataFrame) -> pd.DataFrame:
    """Take leapfrogs and step size of each chain after warmup; of the whole fit where there is no more.

    Parameters
    ----------
    fits
        Those that were done.
    adaptation
        `checks/adaptation.csv`; may be empty.

    Returns
    -------
    DataFrame
        One row per fit and chain: fit, leapfrogs, step_size; what is not positive is left out.
    """
    columns = ["fit", "leapfrogs", "step_size"]
    whole = fits.rename(columns={"leapfrogs_per_iteration": "leapfrogs"})[columns]
    if len(adaptation):
        sampling = sampled(adaptation)[columns]
        sampling = sampling[sampling["fit"].isin(fits["fit"])]
        whole = pd.concat([sampling, whole[~whole["fit"].isin(sampling["fit"])]])
    return whole[(whole["leapfrogs"] > 0) & (whole["step_size"] > 0)]


def sampled(adaptation: pd.DataFrame) -> pd.DataFrame:
    """Rows of the draws after warmup."""
    return adaptation[adaptation["window"].astype(str) == "sampling"]


def per_fit(chains: pd.DataFrame) -> pd.DataFrame:
    """Geometric means over chains, by fit."""
    logs = np.log(chains.set_index("fit").astype(float))
    return np.exp(logs.groupby(level="fit", sort=False).mean())


def effort(
    fits: pd.DataFrame, chains: pd.DataFrame, flagged: Collection[str], caption: str
) -> Picture | None:
    """Draw each fit as a line of dots, one per chain, and its geometric mean.

    Parameters
    ----------
    fits
        Those that were done.
    chains
        Of `chains_of`.
    flagged
        Fits that a finding on cost names: they are ringed.
    caption
        One sentence.
    """
    strips = _strips(fits, chains)
    if not strips:
        return None
    alt = f"Leapfrogs per iteration and step size of every chain. {caption}"
    both = partial(_figure, strips, _MEASURES, svg.WIDE, flagged)
    single = [partial(_figure, strips, [one], svg.NARROW, flagged) for one in _MEASURES]
    wide, narrow = svg.pieces("effort-w", [both], alt), svg.pieces("effort-n", single, alt)
    return Picture("figure-effort", "Effort", caption, alt, wide, narrow)


def _strips(fits: pd.DataFrame, chains: pd.DataFrame) -> list[Strip]:
    known = fits[fits["fit"].isin(chains["fit"])]
    return [
        Strip(heading, kind, members, chains[chains["fit"].isin(members["fit"])])
        for kind, heading, members in grouped(known)
    ]


def _figure(
    strips: Sequence[Strip], measures: Sequence[Measure], full: float, flagged: Collection[str]
) -> Figure:
    height = sum(_HEADING + _LINE * len(strip.fits) for strip in strips) + 6
    fig = svg.figure(full, _TOP + height + _BOTTOM)
    width = (full - 2 * _SIDE - _GAP * (len(measures) - 1)) / len(measures)
    for i, measure in enumerate(measures):
        ax = svg.rows_panel(fig, _SIDE + i * (width + _GAP), _TOP, width, height)
        _scale(ax, measure, np.concatenate([s.chains[measure.column] for s in strips]))
        y = 0.0
        for strip in strips:
            y += _HEADING
            _write(ax, strip, measure, y)
            y = _dots(ax, strip, measure, y, flagged)
    return fig


def _scale(ax: Axes, measure: Measure, values: np.ndarray) -> None:
    ax.set_xscale("log")
    ax.set_xlim(*log_range(values, least=4.0, margin=1.15))
    most = max(3, int(ax.get_window_extent().width // 55))
    ticks = binary_ticks if measure.column == "leapfrogs" else log_ticks
    set_log(ax.xaxis, ticks(*ax.get_xlim(), most), tick)
    ax.set_title(measure.title, loc="left", x=0, fontweight="bold", size=13)


def _write(ax: Axes, strip: Strip, measure: Measure, y: float) -> None:
    """Name the group at the left of its heading, and its extreme fit at the right."""
    room = int(ax.get_window_extent().width // 7.2)
    name = shorten(strip.name, room // 2)
    note = _note(strip, measure, room - len(name) - 2)
    write = partial(svg.write, ax, va="center", size=12.5)
    write(name, (0, y - 12), ha="left", color=COLOURS[strip.kind], fontweight="bold")
    write(note, (1, y - 12), ha="right", color=MUTED)
    ax.axhline(y - 2, color=GRID, linewidth=0.8, zorder=0)


def _note(strip: Strip, measure: Measure, room: int) -> str:
    values = per_fit(strip.chains)[measure.column]
    worst = values.idxmax() if measure.extreme == "most" else values.idxmin()
    fit = strip.fits[strip.fits["fit"] == worst].to_dict("records")[0]
    value = float(values[worst])
    ratio = value / float(values.median())
    far = f" ({number(ratio, 2)}×)" if max(ratio, 1 / ratio) >= NOTABLE else ""
    end = f": {number(value, 2)}{far}"
    return f"{shorten(fit_label(fit), max(4, room - len(end)))}{end}"


def _dots(ax: Axes, strip: Strip, measure: Measure, y: float, flagged: Collection[str]) -> float:
    means = per_fit(strip.chains)[measure.column]
    colour = COLOURS[strip.kind]
    for fit in strip.fits["fit"]:
        y += _LINE
        of_fit = strip.chains[strip.chains["fit"] == fit][measure.column].to_numpy(float)
        line = np.full(of_fit.size, y - _LINE / 2)
        ax.plot(of_fit, line, linestyle="", marker="o", markersize=3, color=colour, alpha=0.45)
        centre = float(means[fit]), y - _LINE / 2
        ax.plot(*centre, **svg.marker(strip.kind, 6, markeredgewidth=0.5))
        if fit in flagged:
            ax.plot(*centre, **_RING)
    return y
