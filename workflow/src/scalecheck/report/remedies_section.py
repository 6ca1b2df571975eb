"""What the search for remedies found, for the page."""

from typing import NamedTuple

import pandas as pd

from scalecheck.report.inputs import ReportInputs
from scalecheck.report.number_format import count
from scalecheck.report.tables import Row, TextTable

_NOTE = (
    "ESS is the lowest of any scalar; gain is over the fit as it is, both with 89 % intervals over chains. A candidate"
    " whose posterior differs from the others' is wrong, however fast; one that has not converged is no estimate."
)


class Remedies(NamedTuple):
    """A sentence, the lines to paste (empty where there are none), and the candidates, if any were tried."""

    summary: str
    lines: str
    table: TextTable | None


def remedies_of(inputs: ReportInputs) -> Remedies | None:
    """Say what was searched; None where no search was asked for."""
    found = inputs.remedies
    if not found:
        return None
    if not found["fit"]:
        return Remedies(f"Nothing was searched: {found['reason']}.", "", None)
    spent = f"{found['chains']} chains of {count(found['gradients'])} gradients"
    advice = str(found["advice"][0])
    summary = (
        f"Searched on {found['fit']} ({found['reason']}), each candidate with {spent}. {advice}"
    )
    return Remedies(summary, found["lines"], _table(inputs.tables["remedies"]))


def _table(frame: pd.DataFrame) -> TextTable:
    header = (
        "Candidate",
        "Posterior",
        "ESS per 1000 gradients",
        "Gain",
        "R-hat",
        "Draws per chain",
    )
    rows = tuple(_row(one) for one in frame.to_dict("records"))
    return TextTable("Candidates", header, rows, frozenset({0, 1}), _NOTE)


def _row(one: dict[str, object]) -> Row:
    cells = (
        str(one["candidate"]),
        str(one["status"]),
        _interval(one, "ess_per_1000", "low", "high"),
        _interval(one, "gain", "gain_low", "gain_high"),
        _number(one["rhat"], ".3f"),
        count(one["draws"]),  # pyright: ignore[reportArgumentType]
    )
    return Row(cells)


def _interval(one: dict[str, object], *names: str) -> str:
    value, low, high = (_number(one[name], ".3g") for name in names)
    return f"{value} ({low} to {high})" if value else ""


def _number(value: object, form: str) -> str:
    missing = value is None or value != value
    return "" if missing else format(value, form)
