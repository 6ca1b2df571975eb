"""The whole page: inputs in, HTML out."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scalecheck.report import captions, numbers, plots, tables, words
from scalecheck.report.forest import chosen_parameters, forest
from scalecheck.report.inputs import ReportInputs
from scalecheck.report.labels import place
from scalecheck.report.svg import Picture
from scalecheck.report.tables import Row, Table

_TEMPLATES = Path(__file__).parent


class Page(NamedTuple):
    """Everything that the template prints; texts are escaped there."""

    study: str
    version: str
    verdict: str
    headline: str
    explanation: str
    next_step: str
    key_numbers: list[tuple[str, str]]
    cards: list[words.Card]
    passes: Table
    not_run: list[tuple[str, str]]
    estimates: Picture | None
    undrawn: Table
    contraction: Picture | None
    cost: Picture | None
    cost_by_kind: Table
    cost_per_fit: Table
    health_summary: str
    unhealthy: Table
    health: Table
    left_out: Table
    blind_spots: list[str]
    comparisons: list[Table]
    settings: list[Table]
    alpha: str


def render(inputs: ReportInputs) -> str:
    """Make the page.

    Parameters
    ----------
    inputs
        Results of a study; fits may be missing, skipped or unusable, and tables empty.

    Returns
    -------
    str
        One HTML document that needs no network; the same bytes for the same inputs.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = _page(inputs)
    return environment.get_template("template.html.jinja").render(page._asdict())


def _page(inputs: ReportInputs) -> Page:
    verdict = inputs.verdict
    fits = _with_flags(inputs.fits)
    done = fits[fits["status"] == "done"]
    estimates = inputs.estimates
    names = [name for name in dict.fromkeys(estimates["parameter"]) if isinstance(name, str)]
    drawn = chosen_parameters(names, verdict.get("findings") or [])
    return Page(
        study=numbers.text(verdict.get("study")),
        version=numbers.text(verdict.get("version")),
        verdict=verdict["verdict"],
        headline=words.headline(verdict, fits),
        explanation=words.explanation(verdict),
        next_step=words.next_step(verdict, fits),
        key_numbers=words.key_numbers(verdict),
        cards=words.cards(verdict, fits),
        passes=_passes(inputs, fits),
        not_run=words.not_run(verdict, fits),
        estimates=_forest(done, estimates, drawn),
        undrawn=tables.parameters(estimates, [name for name in names if name not in drawn]),
        contraction=_contraction(done, estimates, drawn),
        cost=plots.cost(done, captions.cost(done)) if len(done) else None,
        cost_by_kind=tables.cost_by_kind(fits),
        cost_per_fit=tables.cost_per_fit(fits),
        health_summary=captions.health(fits),
        unhealthy=tables.unhealthy(fits),
        health=tables.health(fits),
        left_out=tables.left_out(fits, inputs.dropped, verdict.get("rows") or {}),
        blind_spots=words.blind_spots(verdict),
        comparisons=[tables.raw(*item) for item in inputs.tables.items() if len(item[1])],
        settings=_settings(inputs),
        alpha=numbers.percent(verdict.get("alpha")),
    )


def _with_flags(fits: pd.DataFrame) -> pd.DataFrame:
    """Read an absent `usable` (a skipped fit) as no."""
    usable = [str(flag).lower() in {"true", "1", "1.0"} for flag in fits["usable"]]
    return fits.assign(usable=pd.Series(usable, index=fits.index, dtype=bool))


def _forest(done: pd.DataFrame, estimates: pd.DataFrame, drawn: list[str]) -> Picture | None:
    if not drawn:
        return None
    return forest(done, estimates, drawn, captions.forest(done, estimates, drawn[0]))


def _contraction(done: pd.DataFrame, estimates: pd.DataFrame, drawn: list[str]) -> Picture | None:
    usable = done[done["usable"] & (done["kind"] == "increment")]["fit"]
    increments = estimates[estimates["fit"].isin(usable)]
    if increments.empty:
        return None
    return plots.contraction(increments, drawn, captions.contraction(increments, drawn[0]))


def _passes(inputs: ReportInputs, fits: pd.DataFrame) -> Table:
    rows = []
    for finding in words.findings_with(inputs.verdict, "pass"):
        where = place(finding.get("where") or {}, fits) or "everywhere"
        p, adjusted = (numbers.bare_p(finding.get(key)) for key in ("p", "p_adjusted"))
        rows.append(Row((finding["family"], where, p, adjusted, words.effect(finding))))
    header = ("Family", "Where", "p", "adjusted p", "Effect")
    return Table("Checks that passed", header, tuple(rows), frozenset({0, 1, 4}))


def _settings(inputs: ReportInputs) -> list[Table]:
    named = {"The study, with defaults filled in": inputs.settings, "Versions": inputs.versions}
    return [tables.settings(mapping, title) for title, mapping in named.items() if mapping]
