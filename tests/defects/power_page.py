"""Write the measured part of docs/defects.md, between its marks; the rest of the page is written by hand."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from benchmark_models import MODELS, NULL
from cases import N_SUBSETS
from defect_kinds import KINDS
from document import table
from lines import is_current
from power import (
    ENOUGH,
    ORACLE,
    OURS,
    ahead,
    average_power,
    bounds,
    false_alarms,
    ratios,
    summarise,
)
from summary import Rate

DOCUMENT = Path(__file__).parents[2] / "docs/defects.md"
BEGIN = "<!-- What follows is written by tests/defects/power_page.py, down to the next mark. -->"
END = "<!-- What follows is written by hand. -->"


def write(lines: pd.DataFrame, page: str) -> str:
    """Give the page with what was measured."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{measured(lines)}\n{END}{after}"


def measured(lines: pd.DataFrame) -> str:
    """Give the tables."""
    summary = summarise(lines)
    methods = _in_order(lines["method"].unique())
    parts = [
        _head(lines),
        _nulls(lines, methods),
        _power(summary),
        _ratios(summary, methods),
        _right(summary, methods),
        _cost(summary, methods),
        _unanswered(lines),
    ]
    return "\n".join(_wrapped(part) for part in parts if part)


def _wrapped(part: str) -> str:
    """Break lines of text; those of tables, headings and pictures stay."""
    return "\n".join(
        line if line.startswith(("|", "#", "!")) else "\n".join(textwrap.wrap(line, 120))
        for line in part.split("\n")
    )


def _in_order(methods: Iterable[str]) -> list[str]:
    return sorted(methods, key=lambda name: (name != ORACLE, name != OURS, name))


def _head(lines: pd.DataFrame) -> str:
    data_sets = lines[["model", "defect", "strength", "n", "seed"]].drop_duplicates()
    models = [name for name in MODELS if (lines["model"] == name).any()]
    absent = [name for name in MODELS if name not in models]
    sizes = ", ".join(str(n) for n in sorted(lines["n"].unique()))
    all_of_them = "" if not absent else f" Not run yet: {_words(absent)}."
    seeds = lines.groupby(["model", "defect", "strength", "n", "method"]).size().median()
    few = f" A median of {seeds:.0f} seeds is a look at the tool, no result." if seeds < 10 else ""
    other = int((~is_current(lines)).sum())
    stale = (
        f" Of these lines {other:,} were made by other code than stands here now." if other else ""
    )
    return (
        f"## What has run\n\n{len(lines):,} lines of {len(data_sets):,} data sets, n = {sizes}, seeds"
        f" {lines['seed'].min()} to {lines['seed'].max()}, {lines['cpu_seconds'].astype(float).sum() / 3600:.1f}"
        f" hours of processor time. Models: {_words(models)}.{all_of_them}{stale}{few}\n\n"
        "![Power of each method over the rows of a table](../tests/defects/results/defects.svg)\n"
    )


def _words(names: Iterable[str]) -> str:
    return ", ".join(name.replace("_", " ") for name in names)


def _nulls(lines: pd.DataFrame, methods: list[str]) -> str:
    rates, equal = false_alarms(lines), bounds(lines)
    if not rates:
        return ""
    sizes = sorted(lines["n"].unique())
    body = [
        (_words([m]), *(_alarms(rates.get((m, n)), equal.get((m, n))) for n in sizes))
        for m in methods
    ]
    header = ("method", *(f"n = {n}" for n in sizes))
    return (
        "## False alarms\n\nShare of nulls whose p-value is below .05, in percent with its standard error; in"
        " brackets the bound of equal false alarms, where there are 40 nulls.\n\n"
        + table(header, body)
    )


def _alarms(one: Rate | None, bound: float | None) -> str:
    if one is None:
        return ""
    return f"{one} ({bound:.2g})" if one.total >= ENOUGH else str(one)


def _power(summary: pd.DataFrame) -> str:
    average = average_power(summary)
    if not len(average):
        return ""
    methods = _in_order(str(name) for name in average.columns if name != "data_sets")
    first = ahead(summary)
    body = [
        (
            _words([defect]),
            f"{average.loc[defect, 'data_sets']:.0f}",
            *(_percent(average.loc[defect, m]) for m in methods),
            {True: "yes", False: "no", None: ""}[first.get(defect)],
        )
        for defect in KINDS
        if defect in average.index
    ]
    header = ("defect", "data sets", *(_words([m]) for m in methods), "verdict ahead of every peer")
    return (
        "## Power\n\nPercent found at equal false alarms, the mean over models, strengths and sizes. A method that ran"
        " on fewer of them has its mean over these, and is compared with the verdict there. The verdict is ahead of"
        f" every peer on {sum(first.values())} of {len(first)} kinds.\n\n" + table(header, body)
    )


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{100 * share:.0f}"


def _ratios(summary: pd.DataFrame, methods: list[str]) -> str:
    found = ratios(summary)
    if not len(found):
        return ""
    compared = [name for name in methods if name != ORACLE]
    body = [
        (_words([defect]), *(_median(found, defect, method) for method in compared))
        for defect in KINDS
        if (found["defect"] == defect).any()
    ]
    header = ("defect", *(_words([m]) for m in compared))
    return (
        "## Rows needed\n\nRows for a power of 90 % over those that the oracle needs: the median over models and"
        " strengths that the oracle finds, and in brackets of how many the method finds within the sizes run.\n\n"
        + table(header, body)
    )


def _median(found: pd.DataFrame, defect: str, method: str) -> str:
    own = found[(found["defect"] == defect) & (found["method"] == method)]["ratio"]
    if not len(own):
        return ""
    finite = int(np.isfinite(own).sum())
    middle = float(np.quantile(own, 0.5, method="higher"))
    shown = f"{middle:.1f}" if np.isfinite(middle) else "more"
    return f"{shown} ({finite} of {len(own)})"


def _right(summary: pd.DataFrame, methods: list[str]) -> str:
    defects = summary[(summary["defect"] != NULL) & (summary["nominal"] > 0)]
    named = [m for m in methods if m != ORACLE and (defects["method"] == m).any()]
    body = [(_words([m]), *_shares(defects[defects["method"] == m])) for m in named]
    return (
        "## What is named\n\nOf the defects found at p below .05, percent whose kind (misfit or heterogeneous) is"
        " right, and whose axis is. A method that names no axis is right where a defect has none.\n\n"
        + table(("method", "kind right", "axis right"), body)
        if body
        else ""
    )


def _shares(rows: pd.DataFrame) -> list[str]:
    weights = rows["nominal"] * rows["data_sets"]
    return [
        f"{100 * (weights * rows[name]).sum() / weights.sum():.0f}"
        for name in ("kind_right", "axis_right")
    ]


def _cost(summary: pd.DataFrame, methods: list[str]) -> str:
    sizes = sorted(summary["n"].unique())
    by = summary.groupby(["method", "n"])[["gradients", "row_gradients", "data_sets"]].apply(
        lambda rows: pd.Series(
            {
                name: np.average(rows[name].astype(float), weights=rows["data_sets"])
                for name in ("gradients", "row_gradients")
            }
        )
    )
    body = [(_words([m]), *(_spent(by, m, n) for n in sizes)) for m in methods]
    header = ("method", *(f"n = {n}" for n in sizes))
    return (
        "## Cost\n\nThousands of gradients of the log density for one data set, of all chains and fits, and in brackets"
        " as many gradients of all 8 n rows as they are worth. Posterior predictive p-values, LOO-PIT and power scaling"
        " share one fit, which each of them counts.\n\n" + table(header, body)
    )


def _spent(by: pd.DataFrame, method: str, n: int) -> str:
    if (method, n) not in by.index:
        return ""
    row = by.loc[(method, n)]
    return f"{row['gradients'] / 1e3:.1f} ({row['row_gradients'] / (N_SUBSETS * n) / 1e3:.1f})"


def _unanswered(lines: pd.DataFrame) -> str:
    silent = lines[lines["p"].isna()]
    if not len(silent):
        return ""
    counts = silent.groupby(["method", "note"]).size().reset_index(name="lines")
    body = [(_words([m]), note, count) for m, note, count in counts.itertuples(index=False)]
    return "## Without an answer\n\n" + table(("method", "why", "lines"), body)
