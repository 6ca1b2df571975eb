"""The section of the approximation: what it is, how it compares with NUTS, and how units are shrunk."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scalecheck.diagnostics import HIGHEST_KHAT
from scalecheck.report.curves import picture
from scalecheck.report.number_format import count, duration, number, tick
from scalecheck.report.parameter_labels import shorten
from scalecheck.report.recovery_plot import beside_truth, recovery
from scalecheck.report.svg import COLOURS, DASHED, INK, MUTED, PAPER, Picture, marker, write
from scalecheck.report.tables import Row, TextTable
from scalecheck.report.ticks import log_range, log_ticks, set_log
from scalecheck.variational.assessment import MOST_LOG_SD, MOST_SHIFT

_MOST_REACH = 10
_FEWEST = 2  # increments that show a development
_MOST_SITES = 4


class Section(NamedTuple):
    """What the template prints.

    Attributes
    ----------
    verdict, sentence, reasons
        In words.
    increments, parameters
        Tables: a row for each increment, and for each parameter of the largest.
    recovery, development, shrinkage
        Pictures; None where there is too little to draw, or no truth is known.
    """

    verdict: str
    sentence: str
    reasons: list[str]
    increments: TextTable
    parameters: TextTable
    recovery: Picture | None
    development: Picture | None
    shrinkage: Picture | None


def section(found: Mapping[str, Any], truth: Mapping[str, float]) -> Section:
    """Make the section.

    Parameters
    ----------
    found
        approximation.json of a study that has an approximation.
    truth
        What simulated data were drawn from, by parameter.
    """
    return Section(
        found["verdict"],
        _sentence(found),
        [_as_sentence(reason) for reason in found["reasons"]],
        _increments(found),
        _parameters(found),
        _recovery(found, truth),
        _development(found),
        _shrinkage(found["shrinkage"]),
    )


def _sentence(found: Mapping[str, Any]) -> str:
    ended = _of_laplace(found) if found["method"] == "laplace" else _of_guide(found)
    said = [_as_sentence(found["method_reason"])] if found["method_reason"] else []
    return " ".join([*said, ended, *_simulated(found["symmetry"])])


def _as_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _of_guide(found: Mapping[str, Any]) -> str:
    families = {
        "mean_field": "independent normals",
        "low_rank": "normals of low rank",
        "flow": "a flow",
    }
    ended = "converged" if found["converged"] else "did not converge"
    return (
        f"A variational fit of all {count(found['rows'])} rows by {families[found['method']]} {ended} after"
        f" {count(found['steps'])} steps, {duration(found['seconds'])}."
    )


def _of_laplace(found: Mapping[str, Any]) -> str:
    """Say what was integrated out, how what is left was drawn, and how well that went."""
    details = found["details"]
    first, nuts = details["khat_of_importance_draws"], details["nuts"]
    drawn = f"Importance draws of these have a k-hat of {number(first, 2)}" + (
        f" and are worth {count(round(details['effective_draws']))} independent ones."
        if nuts is None
        else "; NUTS drew them from the marginal density instead, with an R-hat of"
        f" {number(nuts['rhat'], 4)} and an ESS of {count(round(nuts['ess']))} from"
        f" {count(nuts['gradients'])} gradients."
    )
    ended = "" if found["converged"] else f" It did not converge: {found['reason']}."
    second = details["second_modes"]
    others = f" {count(second)} units have a second mode." if second else ""
    return (
        f"Nested Laplace of all {count(found['rows'])} rows took {duration(found['seconds'])}:"
        f" {count(details['units'])} units were integrated out one by one, which leaves"
        f" {count(len(found['parameters']))} parameters. {drawn}"
        f" Each unit's integral is corrected by importance sampling; the fewest effective draws of a unit were"
        f" {number(details['fewest_draws_of_a_unit'], 2)} of {details['draws_of_a_unit']}.{others}{ended}"
    )


def _simulated(simulated: Mapping[str, Any] | None) -> list[str]:
    """Say what data sets from the prior show of bias."""
    if not simulated:
        return []
    biased = [
        n for n, p in zip(simulated["names"], simulated["p_adjusted"], strict=True) if p < 0.05
    ]
    tail = f"not symmetric for {', '.join(biased)}" if biased else "symmetric for all parameters"
    said = [
        f"Over {simulated['n_data_sets']} data sets simulated from the prior its errors are {tail}."
    ]
    if simulated["n_open"]:
        said.append(
            f"{simulated['n_open']} more are left out: their fits did not converge, or few draws were effective."
        )
    return said


def _largest(values: Sequence[float]) -> float:
    return float(np.abs(values).max()) if len(values) else np.nan


def _increments(found: Mapping[str, Any]) -> TextTable:
    rows = []
    for one in found["increments"]:
        shift, factor = _largest(one["shift"]), np.exp(_largest(one["log_sd"]))
        khat, lost = one["khat"], one["khat"] is None and not one["khat_reason"]
        units = [part["rms_shift"] for part in one["units"].values()]
        marked = (
            shift > MOST_SHIFT or np.log(factor) > MOST_LOG_SD or lost or (khat or 0) > HIGHEST_KHAT
        )
        cells = (
            f"{count(one['rows'])} rows",
            number(shift, 2),
            number(factor, 3),
            "infinite" if lost else "—" if khat is None else number(khat, 2),
            number(max(units), 2) if units else "—",
            "yes" if one["converged"] else "no",
            duration(one["seconds"]),
        )
        rows.append(Row(cells, bool(marked)))
    header = (
        "Increment",
        "Means off, NUTS sds",
        "Sds off, factor",
        "k-hat",
        "Units' means off, rms",
        "Converged",
        "Time",
    )
    asked = f"Asked for: at most {MOST_SHIFT:g} sds, a factor of {np.exp(MOST_LOG_SD):g}, a k-hat of {HIGHEST_KHAT:g}."
    reasons = {one["khat_reason"] for one in found["increments"]} - {""}
    missing = [f"No k-hat: {one}." for one in sorted(reasons)]
    note = " ".join(["Largest over the compared parameters.", asked, *missing])
    return TextTable("The approximation beside NUTS", header, tuple(rows), frozenset({0, 5}), note)


def _parameters(found: Mapping[str, Any]) -> TextTable:
    correction = found["correction"]
    last = found["increments"][-1] if found["increments"] else None
    rows = []
    for i, name in enumerate(found["parameters"]):
        beside = ("—", "—")
        if last:
            beside = (
                f"{number(last['shift'][i], 2)} ± {number(last['shift_mcse'][i], 1)}",
                number(np.exp(last["log_sd"][i]), 3),
            )
        rest = "—"
        if correction:
            low, median, high = correction["shift"][i]
            rest = f"{number(median, 2)} [{number(low, 2)}, {number(high, 2)}]"
        rows.append(Row((name, number(found["mean"][i]), number(found["sd"][i], 2), *beside, rest)))
    header = (
        "Unconstrained",
        "Mean",
        "Sd",
        "Mean off",
        "Sd over NUTS",
        "Correction of the mean, sds",
    )
    note = (
        "Mean and sd of the approximation of all rows; what is off on the largest increment that NUTS could use; the"
        " correction is extrapolated to all rows, with a 90 % interval, and applied to nothing."
    )
    return TextTable("Every compared parameter", header, tuple(rows), note=note)


def _recovery(found: Mapping[str, Any], truth: Mapping[str, float]) -> Picture | None:
    estimates = pd.DataFrame(found["estimates"]).assign(rows=found["rows"])
    known = beside_truth(estimates, truth)
    return recovery(known, "the approximation", "figure-recovery-approximation")


def _development(found: Mapping[str, Any]) -> Picture | None:
    increments = found["increments"]
    if len(increments) < _FEWEST:
        return None
    measures = (
        ("shift", "Means off, NUTS sds", MOST_SHIFT),
        ("log_sd", "Log ratio of sds", MOST_LOG_SD),
    )
    panels = [
        partial(_panel, found=found, key=key, title=title, most=most)
        for key, title, most in measures
    ]
    first, last = (_largest(increments[i]["shift"]) for i in (0, -1))
    caption = (
        f"Each line is a parameter, the shaded band is what is asked for; means are off by {number(first, 2)} sds at"
        f" most at {count(increments[0]['rows'])} rows and {number(last, 2)} at {count(increments[-1]['rows'])}"
        f"{'; at all rows, 90 % intervals of the extrapolation' if found['correction'] else ''}."
    )
    return picture("figure-approximation", "How the approximation develops", caption, panels)


def _panel(ax: Axes, *, found: Mapping[str, Any], key: str, title: str, most: float) -> None:
    increments, correction = found["increments"], found["correction"]
    n = np.array([one["rows"] for one in increments], float)
    y = np.array([one[key] for one in increments], float)
    known = np.append(n, found["rows"]) if correction else n
    low, high = log_range(known, least=4.0)
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    set_log(ax.xaxis, log_ticks(low, high, 5, fine=False), tick)
    ax.set_xlabel("rows")
    ax.axhspan(-most, most, color=MUTED, alpha=0.12, linewidth=0)
    ax.axhline(0, color=MUTED, linewidth=0.8)
    style = {"linewidth": 1.4, "marker": "^", "markersize": 6, "markeredgecolor": PAPER}
    ax.plot(n, y, color=COLOURS["increment"], **style)
    if correction:
        # The correction undoes what is off: drawn is what is off.
        ends = -np.array(correction[key], float)
        for number_, (a, b, c) in enumerate(ends):
            at = found["rows"] * (0.94 + 0.12 * number_ / max(1, len(ends) - 1))
            ax.plot([at, at], [a, c], color=COLOURS["increment"], linewidth=1.6, alpha=0.5)
            ax.plot([at], [b], marker="_", color=INK, markersize=5)
        # An interval that reaches further than this would hide the lines: it is cut.
        far = min(np.abs(ends).max(), _MOST_REACH * np.abs(y).max())
        reach = 1.08 * max(2 * most, np.abs(y).max(), far)
        ax.set_ylim(-reach, reach)
    worst = int(np.abs(y[-1]).argmax())
    name, end = shorten(found["parameters"][worst], 20), (n[-1], y[-1, worst])
    write(ax, name, end, by=(7, 0), within="data", va="center", color=INK, fontsize=11)
    _title(ax, title)


def _title(ax: Axes, title: str) -> None:
    write(ax, title, (0, 1), by=(0, 8), within="axes fraction", color=INK)


def _shrinkage(sites: Sequence[Mapping[str, Any]]) -> Picture | None:
    if not sites:
        return None
    drawn = sites[:_MOST_SITES]
    panels: list[Callable[[Axes], None]] = [partial(_shrunk, site=site) for site in drawn]
    slopes = ", ".join(f"{shorten(one['site'], 30)} {number(one['slope'], 2)}" for one in drawn)
    caption = (
        "Each dot is a unit of the largest increment: its estimate from its own rows against its posterior mean by"
        f" NUTS; units on the line are not shrunk. Slopes (1: not at all): {slopes}."
    )
    return picture("figure-shrinkage", "How units are shrunk to their population", caption, panels)


def _shrunk(ax: Axes, *, site: Mapping[str, Any]) -> None:
    x, y = np.array(site["separate"], float), np.array(site["posterior"], float)
    # A flat curve has an estimate far out, which would hide all others.
    low, high = np.quantile(np.append(x, y), [0.01, 0.99])
    margin = 0.15 * (high - low) or 1.0
    limits = low - margin, high + margin
    ax.set_xlim(*limits)
    ax.set_ylim(*limits)
    ax.plot(limits, limits, **DASHED)
    units = marker("subset", 4, markeredgewidth=0.4, alpha=0.7, zorder=2)
    ax.plot(x, y, linestyle="", **units)
    ax.set_xlabel("from its own rows")
    _title(ax, shorten(site["site"], 40))
