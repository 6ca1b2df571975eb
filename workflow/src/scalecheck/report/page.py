"""The whole page: inputs in, HTML out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.report import captions, curves, number_format, sentences, tables
from scalecheck.report.approximation_section import section
from scalecheck.report.divergences_section import divergences_of
from scalecheck.report.effort_plot import chains_of, effort, per_fit, sampled
from scalecheck.report.figures import write_figures
from scalecheck.report.forecast_plot import outlook
from scalecheck.report.forest_plot import chosen_parameters, forest
from scalecheck.report.history_plot import history
from scalecheck.report.inputs import ReportInputs
from scalecheck.report.limitations import blind_spots
from scalecheck.report.parameter_labels import place
from scalecheck.report.recovery_plot import recovered, recovery
from scalecheck.report.remedies_section import remedies_of
from scalecheck.report.selection import left_aside, shown
from scalecheck.report.svg import Picture
from scalecheck.report.tables import Row, TextTable
from scalecheck.report.unfitted_levels import add_unfitted

_TEMPLATES = Path(__file__).parent


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


def _fill(page: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.jinja").render(page)


def _page(inputs: ReportInputs) -> dict[str, Any]:
    """Everything that the template prints; texts are escaped there."""
    verdict, fits, done, estimates = inputs.verdict, inputs.fits, inputs.done, inputs.estimates
    drawn_fits = shown(fits, verdict["findings"])
    aside = left_aside(fits, drawn_fits)
    listed = drawn_fits[drawn_fits["status"] == "done"]
    names = list(estimates["parameter"].unique())
    drawn = chosen_parameters(names, verdict["findings"])
    units = inputs.table("units")
    return {
        "study": verdict["study"],
        "version": verdict["version"],
        "verdict": verdict["verdict"],
        "headline": sentences.headline(verdict, fits),
        "explanation": sentences.explanation(verdict),
        "next_step": sentences.next_step(verdict, fits),
        "key_numbers": sentences.key_numbers(verdict),
        "cards": sentences.cards(verdict, fits),
        "passes": _passes(inputs),
        "simulated": sentences.simulated(verdict),
        "not_run": sentences.not_run(verdict, fits),
        "understood": [(one["topic"], one["sentence"]) for one in inputs.understood],
        "units": tables.deviants(units) if len(units) else None,
        "estimates": _forest(inputs, listed, drawn, aside),
        "undrawn": tables.parameters(estimates, [name for name in names if name not in drawn]),
        "recovery": recovery(recovered(done, estimates, inputs.truth)),
        "contraction": _contraction(inputs, drawn),
        "effort": _effort(inputs, listed, aside),
        "history": _history(inputs),
        "cost": _cost(inputs, listed, aside),
        "outlook": _outlook(inputs),
        "remedies": remedies_of(inputs),
        "approximation": section(inputs.approximation, inputs.truth)
        if inputs.approximation
        else None,
        "cost_by_kind": tables.cost_by_kind(done),
        "cost_per_fit": tables.cost_per_fit(listed)._replace(note=aside.strip()),
        "health_summary": captions.health(done),
        "divergences": divergences_of(inputs),
        "unhealthy": tables.unhealthy(done),
        "health": tables.health(listed)._replace(note=aside.strip()),
        "left_out": tables.left_out(fits, inputs.dropped, verdict["rows"]),
        "blind_spots": blind_spots(inputs),
        "comparisons": _comparisons(inputs, sentences.OF_POSTERIORS),
        "cost_comparisons": _comparisons(inputs, sentences.OF_COST),
        "settings": _settings(inputs),
        "alpha": number_format.percent(verdict["alpha"]),
    }


def _pictures(page: Mapping[str, Any]) -> list[Picture]:
    """All that are drawn."""
    parts = [*page.values(), *page["history"], *(page["approximation"] or ())]
    return [part for part in parts if isinstance(part, Picture)]


def _forest(
    inputs: ReportInputs, listed: pd.DataFrame, drawn: list[str], aside: str
) -> Picture | None:
    if not drawn:
        return None
    levels = add_unfitted(inputs.done, inputs.estimates, inputs.table("heterogeneity"), drawn)
    caption = captions.forest(inputs.done, inputs.estimates, drawn[0]) + levels.said + aside
    return forest(levels.fits, [*listed["fit"], *levels.added], levels.estimates, drawn, caption)


def _contraction(inputs: ReportInputs, drawn: list[str]) -> Picture | None:
    usable = inputs.done[inputs.done["usable"] & (inputs.done["kind"] == "increment")]["fit"]
    increments = inputs.estimates[inputs.estimates["fit"].isin(usable)]
    if increments.empty:
        return None
    return curves.contraction(increments, drawn, captions.contraction(increments, drawn[0]))


def _slow(inputs: ReportInputs) -> set[str]:
    """Fits that a loud finding on cost names."""
    loud = sentences.loud_findings(inputs.verdict)
    return {one["where"]["fit"] for one in loud if one["family"] in sentences.OF_COST}


def _effort(inputs: ReportInputs, listed: pd.DataFrame, aside: str) -> Picture | None:
    chains = chains_of(inputs.done, inputs.table("adaptation"))
    slow = _slow(inputs)
    caption = captions.effort(inputs.done, per_fit(chains), slow) + aside
    return effort(listed, chains, slow, caption)


def _history(inputs: ReportInputs) -> list[Picture]:
    table = inputs.table("history")
    caption = captions.history(table, inputs.table("adaptation"))
    return history(inputs.done, table, _slow(inputs), caption)


def _cost(inputs: ReportInputs, listed: pd.DataFrame, aside: str) -> Picture | None:
    """Leapfrogs are those after warmup where the chains are known: what is forecast with."""
    done, adaptation, scaling = inputs.done, inputs.table("adaptation"), inputs.table("scaling")
    if done.empty:
        return None
    if len(adaptation):
        means = per_fit(chains_of(done, adaptation))["leapfrogs"]
        done = done.assign(leapfrogs_per_iteration=done["fit"].map(means))
    caption = captions.cost(done, bool(len(adaptation)), bool(len(scaling))) + aside
    return curves.cost(done[done["fit"].isin(listed["fit"])], scaling, caption)


def _outlook(inputs: ReportInputs) -> Picture | None:
    forecast = inputs.verdict["forecast"]
    if not forecast:
        return None
    caption = captions.outlook(forecast, are_warm=inputs.settings["increments"]["warm"])
    return outlook(inputs.done, forecast, inputs.settings["budget"]["seconds"], caption)


def _comparisons(inputs: ReportInputs, names: Sequence[str]) -> list[TextTable]:
    frames = {name: inputs.table(name) for name in names}
    return [_comparison(name, frame) for name, frame in frames.items() if len(frame)]


def _comparison(name: str, frame: pd.DataFrame) -> TextTable:
    if name == "surprise":
        return tables.surprises(frame)
    if name == "adaptation":
        note = "After warmup; every window of it is in checks/adaptation.csv."
        title = "Every chain of every fit"
        return tables.raw(name, sampled(frame))._replace(title=title, note=note)
    return tables.raw(name, frame)


def _passes(inputs: ReportInputs) -> TextTable:
    passed = sentences.findings_with(inputs.verdict, "pass")
    columns = {"p": "p", "p_adjusted": "adjusted p"}
    if any(finding["p_simulated"] is not None for finding in passed):
        columns["p_simulated"] = "simulated p"
    rows = []
    for finding in passed:
        where = place(finding["where"], inputs.fits) or "everywhere"
        p = (number_format.bare_p(finding[name]) for name in columns)
        rows.append(Row((finding["family"], where, *p, sentences.effect(finding))))
    header = ("Family", "Where", *columns.values(), "Effect")
    return TextTable("Checks that passed", header, tuple(rows), frozenset({0, 1, len(header) - 1}))


def _settings(inputs: ReportInputs) -> list[TextTable]:
    named = {"The study, with defaults filled in": inputs.settings, "Versions": inputs.versions}
    return [tables.settings(mapping, title) for title, mapping in named.items() if mapping]
