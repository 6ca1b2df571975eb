"""The tables of the page, as texts ready to print."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from scalecheck.report import number_format
from scalecheck.report.number_format import MISSING, count, duration, is_missing, number, text
from scalecheck.report.parameter_labels import KIND_NAMES, KINDS, full_label, shorten

MOST_ROWS = 200
MOST_STATISTICS = 8
MOST_UNITS = 12
DEVIANT = 0.05
_HEALTH = ("Divergences", "R-hat, largest", "ESS, smallest", "E-BFMI, smallest", "Capped trees")


class Row(NamedTuple):
    """Cells of one row; `marked` rows stand out, with a sign beside the colour."""

    cells: tuple[str, ...]
    marked: bool = False


class TextTable(NamedTuple):
    """A table of texts.

    Attributes
    ----------
    title
        What it shows; also the label of its scrolling container.
    header
        Names of the columns.
    rows
        Texts of the cells.
    words
        Indices of the columns that hold words; the others hold numbers and are set to the right.
    note
        A sentence below.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    words: frozenset[int] = frozenset({0})
    note: str = ""


def cost_by_kind(fits: pd.DataFrame) -> TextTable:
    """Sum the cost of the done fits by kind."""
    by_kind = {KIND_NAMES[kind]: fits[fits["kind"] == kind] for kind in KINDS}
    rows = [Row((name, *_cost_cells(part))) for name, part in by_kind.items() if len(part)]
    if len(rows) > 1:
        rows.append(Row(("All fits", *_cost_cells(fits))))
    header = ("", "Fits", "Leapfrogs per iteration", "Time per gradient", "Gradients", "Time")
    note = "Leapfrogs and time per gradient are medians; time is of warmup and sampling."
    return TextTable("Cost by kind of fit", header, tuple(rows), note=note)


def cost_per_fit(fits: pd.DataFrame) -> TextTable:
    """Decompose the cost of each fit: iterations x leapfrogs x seconds per gradient."""
    header = (
        "Fit",
        "Rows",
        "Iterations",
        "×\N{NO-BREAK SPACE}leapfrogs",
        "×\N{NO-BREAK SPACE}time per gradient",
        "=\N{NO-BREAK SPACE}predicted",
        "Measured",
        "Compile",
        "Gradients, with warmup",
    )
    rows = []
    for fit in fits.to_dict("records"):
        leapfrogs, seconds = fit["leapfrogs_per_iteration"], fit["seconds_per_gradient"]
        cells = (
            full_label(fit),
            count(fit["rows"]),
            count(fit["iterations"]),
            number(leapfrogs),
            duration(seconds),
            duration(fit["iterations"] * leapfrogs * seconds),
            duration(fit["seconds_warmup"] + fit["seconds_sampling"]),
            duration(fit["seconds_compile"]),
            count(fit["gradients_warmup"] + fit["gradients_sampling"]),
        )
        rows.append(Row(cells, not fit["usable"]))
    note = "Leapfrogs are per iteration, those of the warmup included; compilation is not."
    return TextTable("Cost of each fit", header, tuple(rows), note=note)


def health(fits: pd.DataFrame) -> TextTable:
    """List the health of each done fit; unusable ones are marked."""
    header = ("Fit", "Usable", *_HEALTH, "Step size")
    rows = []
    for fit in fits.to_dict("records"):
        usable = "yes" if fit["usable"] else "✕ no"
        cells = (full_label(fit), usable, *_health_cells(fit), number(fit["step_size"]))
        rows.append(Row(cells, not fit["usable"]))
    return TextTable("Health of each fit", header, tuple(rows))


def unhealthy(fits: pd.DataFrame) -> TextTable:
    """List the unusable fits, each with its reason."""
    rows = [
        Row((f"✕ {full_label(fit)}", text(fit["reason"]), *_health_cells(fit)), marked=True)
        for fit in fits[~fits["usable"]].to_dict("records")
    ]
    header = ("Not usable", "Reason", *_HEALTH)
    return TextTable("Fits that are not usable", header, tuple(rows), frozenset({0, 1}))


def left_out(
    fits: pd.DataFrame, dropped: Mapping[str, Any], rows_in: Mapping[str, Any]
) -> TextTable:
    """List what was dropped, skipped, stopped, restarted or could not be used, each with its count."""
    rows = [
        Row((name.capitalize() if name.islower() else name, count(n), ""))
        for name, n in dropped.items()
    ]
    done = fits["status"] == "done"
    ends = (
        ("skipped", fits["status"] == "skipped", "reason"),
        ("stopped", fits["status"] == "stopped", "reason"),
        ("capped", done & ~fits["capped"].map(is_missing).astype(bool), "capped"),
        ("not usable", done & ~fits["usable"], "reason"),
    )
    for end, which, why in ends:
        for fit in fits[which].to_dict("records"):
            many = f"{count(fit['rows'])} rows" if end == "skipped" else "1 fit"
            rows.append(Row((f"{full_label(fit)}, {end}", many, fit[why])))
    rows.append(Row(("Chains restarted", count(fits["restarts"].sum()), "")))
    unused = count(rows_in["total"] - rows_in["used"])
    rows.append(Row(("Rows in no fit, by design", unused, "the plan samples the data")))
    title, header = "Dropped, skipped, stopped or restarted", ("What", "How many", "Why")
    return TextTable(title, header, tuple(rows), frozenset({0, 2}))


def parameters(estimates: pd.DataFrame, names: Sequence[str]) -> TextTable:
    """Summarise parameters that are not drawn: ranges of means and the last increment."""
    rows = []
    for name in names:
        of_name = estimates[estimates["parameter"] == name]
        means = [_range(of_name[of_name["kind"] == kind]["mean"]) for kind in ("subset", "level")]
        last = of_name[of_name["kind"] == "increment"].sort_values("rows").tail(1)
        ends = last[["mean", "low", "high"]].to_numpy(float)
        final = [number_format.estimate(*of_last) for of_last in ends] or [MISSING]
        rows.append(Row((name, *means, *final)))
    header = ("Parameter", "Means over subsets", "Means over levels", "Largest increment [89 %]")
    return TextTable("Parameters that are not drawn", header, tuple(rows))


def raw(name: str, frame: pd.DataFrame) -> TextTable:
    """Print the table of a family as it is, cut after 200 rows."""
    words = frozenset(
        i for i, column in enumerate(frame) if not pd.api.types.is_numeric_dtype(frame[column])
    )
    rows = tuple(
        Row(tuple(_cell(column, value) for column, value in zip(frame, row, strict=True)))
        for row in frame.head(MOST_ROWS).itertuples(index=False)
    )
    more = len(frame) - len(rows)
    note = f"{more:,} more rows are in checks/{name}.csv." if more else ""
    header = tuple(spelled(column) for column in frame)
    return TextTable(f"Every comparison of {name}", header, rows, words, note)


def surprises(frame: pd.DataFrame) -> TextTable:
    """List the statistics of new rows that are farthest from their predictions."""
    header = ("New rows of", "Statistic", "Observed", "Predicted", "In sds", "p of its own")
    size = frame["studentised"].abs()
    farthest = frame.loc[size.sort_values(ascending=False, kind="stable").index]
    rows = []
    for one in farthest.head(MOST_STATISTICS).to_dict("records"):
        values = (one["observed"], one["median"], one["studentised"])
        cells = (text(one["fit"]), text(one["statistic"]), *map(number, values))
        rows.append(Row((*cells, number_format.bare_p(one["p"]))))
    more = len(frame) - len(rows)
    note = "Sorted by distance from the prediction; p-values are not adjusted for looking at all."
    note += f" {more:,} more are in checks/surprise.csv." if more else ""
    return TextTable(
        "What of the new rows surprised most", header, tuple(rows), frozenset({0, 1}), note
    )


def deviants(frame: pd.DataFrame) -> TextTable:
    """List the units that deviate most from what the model predicts for a new unit like them."""
    header = ("Unit", "Rows", "Observed", "Predicted", "p", "q")
    rows = []
    for unit in frame.head(MOST_UNITS).to_dict("records"):
        cells = (
            shorten(unit["unit"], 40),
            count(unit["rows"]),
            number(unit["observed"]),
            number_format.estimate(unit["predicted"], unit["low"], unit["high"]),
            *(number_format.bare_p(unit[name]) for name in ("p", "q")),
        )
        rows.append(Row(cells, bool(unit["q"] < DEVIANT)))
    n_units = int(frame["units"].iloc[0]) if "units" in frame else len(frame)
    n_far = int((frame["q"] < DEVIANT).sum())
    note = (
        f"{n_far:,} of {n_units:,} units have q < {DEVIANT}: of units so marked, at most that share is "
        "expected to be ordinary (Benjamini and Hochberg). The prediction is for a new unit with "
        "the same covariates; the table describes and decides nothing."
    )
    return TextTable("Units that deviate most", header, tuple(rows), note=note)


def settings(mapping: Mapping[str, Any], title: str) -> TextTable:
    """Flatten nested settings into dotted keys and values."""
    rows = tuple(Row((key, value)) for key, value in _flat(mapping))
    return TextTable(title, ("Key", "Value"), rows, frozenset({0, 1}))


def spelled(name: Any) -> str:
    """Write the name of a column as words."""
    return str(name).replace("_", " ")


def _cell(column: Any, value: Any) -> str:
    is_p = str(column) == "p" or str(column).startswith("p_")
    return number_format.bare_p(value) if is_p else shorten(value, 60)


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs = []
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", _setting(value)))
    return pairs


def _setting(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_setting(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if is_missing(value) else str(value)


def _cost_cells(fits: pd.DataFrame) -> tuple[str, ...]:
    seconds = fits["seconds_warmup"].sum() + fits["seconds_sampling"].sum()
    gradients = fits["gradients_warmup"].sum() + fits["gradients_sampling"].sum()
    return (
        count(len(fits)),
        number(fits["leapfrogs_per_iteration"].median()),
        duration(fits["seconds_per_gradient"].median()),
        number_format.large_count(gradients),
        duration(seconds),
    )


def _health_cells(fit: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        count(fit["divergences"]),
        number(fit["rhat_max"], 4),
        count(fit["ess_min"]),
        number(fit["e_bfmi_min"], 2),
        number_format.percent(fit["depth_saturated"]),
    )


def _range(values: pd.Series) -> str:
    known = values.notna().any()
    return number_format.span(values.min(), values.max()) if known else MISSING
