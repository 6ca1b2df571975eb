"""The whole page: inputs in, HTML out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.report import (
    approximation_section,
    captions,
    curves,
    number_format,
    sentences,
    tables,
)
from scalecheck.report.effort_plot import chains_of, effort, per_fit, sampled
from scalecheck.report.figures import write_figures
from scalecheck.report.forecast_plot import outlook
from scalecheck.report.forest_plot import chosen_parameters, forest
from scalecheck.report.history_plot import history
from scalecheck.report.inputs import ReportInputs
from scalecheck.report.limitations import blind_spots
from scalecheck.report.number_format import text
from scalecheck.report.parameter_labels import place
from scalecheck.report.recovery_plot import recovered, recovery
from scalecheck.report.remedies_section import Remedies, remedies_of
from scalecheck.report.selection import left_aside, shown
from scalecheck.report.svg import Picture
from scalecheck.report.tables import Row, TextTable

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
    cards: list[sentences.Card]
    passes: TextTable
    simulated: str
    not_run: list[tuple[str, str]]
    units: TextTable | None
    estimates: Picture | None
    undrawn: TextTable
    recovery: Picture | None
    contraction: Picture | None
    effort: Picture | None
    history: list[Picture]
    cost: Picture | None
    outlook: Picture | None
    remedies: Remedies | None
    approximation: approximation_section.Section | None
    cost_by_kind: TextTable
    cost_per_fit: TextTable
    health_summary: str
    unhealthy: TextTable
    health: TextTable
    left_out: TextTable
    blind_spots: list[str]
    comparisons: list[TextTable]
    cost_comparisons: list[TextTable]
    settings: list[TextTable]
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
    return _fill(_page(inputs))


def write(folder: StudyFolder, inputs: ReportInputs) -> None:
    """Write the page, and before it the figures on it as files of their own.

    Parameters
    ----------
    inputs
        As for `render`.
    """
    page = _page(inputs)
    write_figures(folder.figures, _pictures(page))
    formats.write_text(folder.report, _fill(page))


def _fill(page: Page) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.jinja").render(page._asdict())


def _page(inputs: ReportInputs) -> Page:
    verdict = inputs.verdict
    fits = _with_flags(inputs.fits)
    done = fits[fits["status"] == "done"]
    listed = shown(fits, verdict.get("findings") or [])
    aside = left_aside(fits, listed)
    estimates = inputs.estimates
    names = [name for name in dict.fromkeys(estimates["parameter"]) if isinstance(name, str)]
    drawn = chosen_parameters(names, verdict.get("findings") or [])
    return Page(
        study=number_format.text(verdict.get("study")),
        version=number_format.text(verdict.get("version")),
        verdict=verdict["verdict"],
        headline=sentences.headline(verdict, fits),
        explanation=sentences.explanation(verdict),
        next_step=sentences.next_step(verdict, fits),
        key_numbers=sentences.key_numbers(verdict),
        cards=sentences.cards(verdict, fits),
        passes=_passes(inputs, fits),
        simulated=sentences.simulated(verdict),
        not_run=sentences.not_run(verdict, fits),
        units=_units(inputs),
        estimates=_forest(done, listed, estimates, drawn, aside),
        undrawn=tables.parameters(estimates, [name for name in names if name not in drawn]),
        recovery=recovery(recovered(done, estimates, inputs.truth)),
        contraction=_contraction(done, estimates, drawn),
        effort=_effort(inputs, done, listed, aside),
        history=_history(inputs, done),
        cost=_cost(inputs, done, listed, aside),
        outlook=_outlook(inputs, done),
        remedies=remedies_of(inputs),
        approximation=approximation_section.section(inputs.approximation)
        if inputs.approximation
        else None,
        cost_by_kind=tables.cost_by_kind(fits),
        cost_per_fit=tables.cost_per_fit(listed)._replace(note=aside.strip()),
        health_summary=captions.health(fits),
        unhealthy=tables.unhealthy(fits),
        health=tables.health(listed)._replace(note=aside.strip()),
        left_out=tables.left_out(fits, inputs.dropped, verdict.get("rows") or {}),
        blind_spots=blind_spots(inputs),
        comparisons=_comparisons(inputs, sentences.OF_POSTERIORS),
        cost_comparisons=_comparisons(inputs, sentences.OF_COST),
        settings=_settings(inputs),
        alpha=number_format.percent(verdict.get("alpha")),
    )


def _pictures(page: Page) -> list[Picture]:
    """All that are drawn, in the order of the page."""
    parts = [part for field in page for part in (field if isinstance(field, list) else [field])]
    if page.approximation:
        parts += [page.approximation.development, page.approximation.shrinkage]
    return [part for part in parts if isinstance(part, Picture)]


def _with_flags(fits: pd.DataFrame) -> pd.DataFrame:
    """Read an absent `usable` (a skipped fit) as no."""
    usable = [str(flag).lower() in {"true", "1", "1.0"} for flag in fits["usable"]]
    return fits.assign(usable=pd.Series(usable, index=fits.index, dtype=bool))


def _forest(
    done: pd.DataFrame,
    listed: pd.DataFrame,
    estimates: pd.DataFrame,
    drawn: list[str],
    aside: str,
) -> Picture | None:
    if not drawn:
        return None
    caption = captions.forest(done, estimates, drawn[0]) + aside
    return forest(done, listed["fit"], estimates, drawn, caption)


def _contraction(done: pd.DataFrame, estimates: pd.DataFrame, drawn: list[str]) -> Picture | None:
    usable = done[done["usable"] & (done["kind"] == "increment")]["fit"]
    increments = estimates[estimates["fit"].isin(usable)]
    if increments.empty:
        return None
    return curves.contraction(increments, drawn, captions.contraction(increments, drawn[0]))


def _table(inputs: ReportInputs, name: str) -> pd.DataFrame:
    return inputs.tables.get(name, pd.DataFrame())


def _slow(inputs: ReportInputs) -> set[str]:
    """Fits that a loud finding on cost names."""
    loud = sentences.loud_findings(inputs.verdict)
    costs = [finding for finding in loud if finding["family"] in sentences.OF_COST]
    return {text(finding["where"]["fit"]) for finding in costs}


def _effort(
    inputs: ReportInputs, done: pd.DataFrame, listed: pd.DataFrame, aside: str
) -> Picture | None:
    chains = chains_of(done, _table(inputs, "adaptation"))
    slow = _slow(inputs)
    caption = captions.effort(done, per_fit(chains), slow) + aside
    return effort(done[done["fit"].isin(listed["fit"])], chains, slow, caption)


def _history(inputs: ReportInputs, done: pd.DataFrame) -> list[Picture]:
    table = _table(inputs, "history")
    return history(
        done, table, _slow(inputs), captions.history(table, _table(inputs, "adaptation"))
    )


def _cost(
    inputs: ReportInputs, done: pd.DataFrame, listed: pd.DataFrame, aside: str
) -> Picture | None:
    """Leapfrogs are those after warmup where the chains are known: what is forecast with."""
    if done.empty:
        return None
    adaptation, scaling = _table(inputs, "adaptation"), _table(inputs, "scaling")
    if len(adaptation):
        means = per_fit(chains_of(done, adaptation))["leapfrogs"]
        done = done.assign(leapfrogs_per_iteration=done["fit"].map(means))
    caption = captions.cost(done, bool(len(adaptation)), bool(len(scaling))) + aside
    return curves.cost(done[done["fit"].isin(listed["fit"])], scaling, caption)


def _outlook(inputs: ReportInputs, done: pd.DataFrame) -> Picture | None:
    forecast = inputs.verdict.get("forecast")
    if not forecast:
        return None
    budget = inputs.settings["budget"]["seconds"]
    are_warm = inputs.settings["increments"]["warm"]
    return outlook(done, forecast, budget, captions.outlook(forecast, are_warm=are_warm))


def _units(inputs: ReportInputs) -> TextTable | None:
    units = _table(inputs, "units")
    return tables.deviants(units) if len(units) else None


def _comparisons(inputs: ReportInputs, names: Sequence[str]) -> list[TextTable]:
    frames = {name: _table(inputs, name) for name in names}
    return [_comparison(name, frame) for name, frame in frames.items() if len(frame)]


def _comparison(name: str, frame: pd.DataFrame) -> TextTable:
    if name == "surprise":
        return tables.surprises(frame)
    if name == "adaptation":
        note = "After warmup; every window of it is in checks/adaptation.csv."
        title = "Every chain of every fit"
        return tables.raw(name, sampled(frame))._replace(title=title, note=note)
    return tables.raw(name, frame)


def _passes(inputs: ReportInputs, fits: pd.DataFrame) -> TextTable:
    passed = sentences.findings_with(inputs.verdict, "pass")
    keys = ["p", "p_adjusted"]
    if any(not number_format.is_missing(finding.get("p_simulated")) for finding in passed):
        keys.append("p_simulated")
    rows = []
    for finding in passed:
        where = place(finding.get("where") or {}, fits) or "everywhere"
        p = (number_format.bare_p(finding.get(key)) for key in keys)
        rows.append(Row((finding["family"], where, *p, sentences.effect(finding))))
    names = ("p", "adjusted p", "simulated p")[: len(keys)]
    header = ("Family", "Where", *names, "Effect")
    return TextTable("Checks that passed", header, tuple(rows), frozenset({0, 1, 2 + len(keys)}))


def _settings(inputs: ReportInputs) -> list[TextTable]:
    named = {"The study, with defaults filled in": inputs.settings, "Versions": inputs.versions}
    return [tables.settings(mapping, title) for title, mapping in named.items() if mapping]
