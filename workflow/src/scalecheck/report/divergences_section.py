"""Where fits diverged and whether that biases what is compared, for the page."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from scalecheck.checks.divergences import LEAST_SHARE
from scalecheck.report.inputs import ReportInputs
from scalecheck.report.number_format import MISSING, count, is_missing, number, percent, text
from scalecheck.report.parameter_labels import full_label, listed, shorten
from scalecheck.report.tables import MOST_ROWS, Row, TextTable

_MOST_SAID = 3
_HEADER = ("Fit", "Divergences", "Of the draws", "Near", "Again with target_accept")
_HEADER += ("Divergences then", "Largest move of a mean, sds", "Largest ratio of sds", "Bias")
_NOTE = (
    "Near: the interval that holds 89 % of the draws that diverged, and of the others. Moves are from the first fit to"
    " the second, in posterior sds of the second, with their Monte Carlo errors, of unconstrained parameters."
)


class Divergences(NamedTuple):
    """A few sentences, and a row per fit that diverged."""

    summary: str
    table: TextTable


def divergences_of(inputs: ReportInputs) -> Divergences | None:
    """Say where fits diverged and what to do; None where none did."""
    table = inputs.table("divergences")
    if table.empty:
        return None
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    sentences = _sentences(rows, len(inputs.done))
    return Divergences(" ".join(sentences), _table(rows))


def _sentences(rows: list[dict[str, Any]], n_fits: int) -> Iterator[str]:
    most = max(rows, key=lambda row: row["divergences"])
    if len(rows) == 1:
        yield f"1 of {n_fits} fits diverged, {full_label(most)}: {most['message']}."
        return
    total = sum(row["divergences"] for row in rows)
    yield (
        f"{count(total)} divergences in {len(rows)} of {n_fits} fits, the most ({count(most['divergences'])})"
        f" in {full_label(most)}{_near_in_words(most)}."
    )
    yield from _told(rows, "yes")
    yield from _told(rows, "unknown")
    yield from _unbiased([row for row in rows if row["bias"] == "no"])
    yield from _not_fitted_again([row for row in rows if is_missing(row["target_accept"])])


def _near_in_words(row: Mapping[str, Any]) -> str:
    return "" if is_missing(row["parameter"]) else f", near {row['near']} of {row['parameter']}"


def _told(rows: list[dict[str, Any]], bias: str) -> Iterator[str]:
    """Sentences on the fits of a kind that diverged most, and how many more there are."""
    found = sorted(
        (row for row in rows if row["bias"] == bias), key=lambda row: row["share"], reverse=True
    )
    for row in found[:_MOST_SAID]:
        message = str(row["message"])
        yield f"{full_label(row)}: {message}."
    if len(found) > _MOST_SAID:
        may = "" if bias == "yes" else "may "
        yield f"Those of {len(found) - _MOST_SAID} more fits {may}bias what is compared, too."


def _unbiased(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    shift = max(abs(row["shift"]) for row in rows)
    ratio = max(max(row["sd_ratio"], 1 / row["sd_ratio"]) for row in rows)
    names = listed([full_label(row) for row in rows], _MOST_SAID)
    target = listed(sorted({f"{row['target_accept']:g}" for row in rows}))
    yield (
        f"No bias is seen in {names}: fitted again with target_accept {target}, no mean moves by"
        f" more than {number(shift, 2)} posterior sds, and no sd by more than a factor of {number(ratio)}."
    )


def _not_fitted_again(rows: list[dict[str, Any]]) -> Iterator[str]:
    few = [row for row in rows if row["share"] < LEAST_SHARE]
    if few:
        which = "1 fit" if len(few) == 1 else f"{len(few)} fits"
        limit = f"{100 * LEAST_SHARE:g}\N{NO-BREAK SPACE}%"  # with all of its digits
        yield f"In {which} fewer than {limit} of the draws diverge, too few for a second fit."
    if len(rows) > len(few):
        names = listed([full_label(row) for row in rows if row["share"] >= LEAST_SHARE], _MOST_SAID)
        yield f"The chains of {names} are too far apart for a second fit to tell."


def _table(rows: list[dict[str, Any]]) -> TextTable:
    more = len(rows) - MOST_ROWS
    note = f"{_NOTE} {more:,} more rows are in checks/divergences.csv." if more > 0 else _NOTE
    cells = tuple(map(_row, rows[:MOST_ROWS]))
    return TextTable("Divergences of each fit", _HEADER, cells, frozenset({0, 3, 8}), note)


def _row(row: dict[str, Any]) -> Row:
    cells = (
        full_label(row),
        count(row["divergences"]),
        percent(row["share"]),
        _near(row),
        MISSING if is_missing(row["target_accept"]) else f"{row['target_accept']:g}",
        count(row["refit_divergences"]),
        _moved(row, "moved", "shift"),
        _moved(row, "widened", "sd_ratio"),
        text(row["bias"]),
    )
    return Row(cells, row["bias"] == "yes")


def _near(row: Mapping[str, Any]) -> str:
    if is_missing(row["parameter"]):
        return MISSING
    low, high, others_low, others_high = (
        number(row[name]) for name in ("low", "high", "others_low", "others_high")
    )
    name = shorten(row["parameter"], 40)
    return f"{row['near']} of {name}: {low} to {high}, elsewhere {others_low} to {others_high}"


def _moved(row: Mapping[str, Any], name: str, what: str) -> str:
    if is_missing(row[name]):
        return MISSING
    value, error = number(row[what], 2), number(row[f"{what}_error"], 2)
    return f"{value} ± {error} ({shorten(row[name], 40)})"
