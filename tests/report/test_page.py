"""The page as a document: what stands in it, whatever the results."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_results
from elements import Elements, texts

from scalecheck.errors import StudyError
from scalecheck.files.layout import StudyFolder
from scalecheck.report import ReportInputs, captions, number_format, sentences
from scalecheck.report.forest_plot import chosen_parameters
from scalecheck.report.inputs import read_inputs
from scalecheck.report.page import render
from scalecheck.study.settings import Study

FIGURES = ("figure-forest", "figure-contraction", "figure-effort", "figure-cost")


def test_page_is_well_formed_small_and_complete(html: str) -> None:
    page = Elements(html)
    assert not page.open
    assert len(html.encode()) < 5_000_000
    assert set(FIGURES) <= set(page.ids)
    assert "script" not in page.tags


def test_page_fetches_nothing(html: str) -> None:
    page = Elements(html)
    assert all(link.startswith(("#", "data:,")) for link in page.links)
    assert not re.search(r"https?://|@import|url\((?!#)", html)


def test_ids_are_unique_and_every_reference_is_met(html: str) -> None:
    page = Elements(html)
    assert len(set(page.ids)) == len(page.ids)
    inside = {link[1:] for link in page.links if link.startswith("#")}
    inside |= set(re.findall(r"url\(#([^)]*)\)", html))
    assert inside <= set(page.ids)


def test_same_inputs_give_the_same_bytes(golf: ReportInputs, golf_html: str) -> None:
    assert render(golf) == golf_html


def test_missing_numbers_are_never_printed_as_nan(html: str) -> None:
    # "none: signs of trouble" is meant.
    assert not re.search(r"\b(nan|None|NaT)\b|<NA>", texts(html))


def test_labels_of_users_are_escaped(panel_html: str) -> None:
    assert "<b>& east" not in panel_html
    assert "&lt;b&gt;&amp; east" in panel_html


def test_any_label_can_be_drawn(golf: ReportInputs) -> None:
    levels = {"broadie2018": "<script>alert(1)</script>", "berry1995": "a\nb" * 40}
    renamed = {
        **levels,
        "9 to 15": "日本 $x_1$ & \"'",
        "sigma": "<script>日本 $x_1$ & \"'" + "a\nb" * 40,
    }
    changed = dataclasses.replace(
        golf, fits=golf.fits.replace(renamed), estimates=golf.estimates.replace(renamed)
    )
    page = Elements(render(changed))
    assert "script" not in page.tags
    assert not page.open


def test_a_page_needs_no_table_of_a_family(funnel: ReportInputs) -> None:
    none = render(dataclasses.replace(funnel, tables={}))
    empty = {name: pd.DataFrame() for name in [*sentences.FAMILIES, "units"]}
    assert none == render(dataclasses.replace(funnel, tables=empty))
    assert set(FIGURES) <= set(Elements(none).ids)


def test_parameters_that_findings_name_are_drawn_first() -> None:
    names = ["a", *(f"beta[{i}]" for i in range(8)), "z"]
    findings = [
        {"status": "pass", "where": {"parameter": "a"}},
        {"status": "suspect", "where": {"parameter": "beta"}},
        {"status": "strong", "where": {"parameter": "z"}},
    ]
    assert chosen_parameters(names, findings) == ["z", *(f"beta[{i}]" for i in range(5))]


def test_forty_parameters_are_six_drawn_and_the_rest_in_a_table(panel: ReportInputs) -> None:
    few = panel.estimates[panel.estimates["parameter"] == "slope"]
    many = pd.concat([few.assign(parameter=f"theta[{i}]") for i in range(40)])
    html = render(dataclasses.replace(panel, estimates=many))
    assert "34 more parameters" in html
    assert len(html) < 1_500_000


def _without_increments(golf: ReportInputs) -> ReportInputs:
    gone = golf.fits["kind"] == "increment"
    fits = golf.fits.assign(usable=golf.fits["usable"].where(~gone, False))
    return dataclasses.replace(golf, fits=fits)


def _without_numbers(golf: ReportInputs) -> ReportInputs:
    fits, estimates = golf.fits.copy(), golf.estimates.copy()
    numeric = fits.select_dtypes("number").columns.drop("rows")
    fits[numeric] = np.nan
    estimates[["mean", "sd", "low", "high"]] = np.nan
    return dataclasses.replace(golf, fits=fits, estimates=estimates)


def _without_fits(golf: ReportInputs) -> ReportInputs:
    verdict = {**golf.verdict, "verdict": "inconclusive", "findings": [], "gradients": None}
    empty = {name: table.head(0) for name, table in golf.tables.items()}
    return ReportInputs(verdict, golf.fits.head(0), golf.estimates.head(0), empty)


def _all_skipped(golf: ReportInputs) -> ReportInputs:
    fits = golf.fits.assign(status="skipped", usable=False)
    return dataclasses.replace(golf, fits=fits, estimates=golf.estimates.head(0))


def _one_fit(golf: ReportInputs) -> ReportInputs:
    fits = golf.fits[golf.fits["fit"] == "increment-01"]
    estimates = golf.estimates[golf.estimates["fit"] == "increment-01"]
    return dataclasses.replace(golf, fits=fits, estimates=estimates)


@pytest.mark.parametrize(
    "change", [_without_increments, _without_numbers, _without_fits, _all_skipped, _one_fit]
)
def test_poor_results_still_give_a_page(golf: ReportInputs, change) -> None:
    html = render(change(golf))
    assert not Elements(html).open
    assert not re.search(r"\bnan\b", texts(html), re.IGNORECASE)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (number_format.p_value(2e-5), "p < 0.001"),
        (number_format.p_value(0.0124), "p = 0.012"),
        (number_format.p_value(float("nan")), "–"),
        (number_format.count(1259184.0), "1,259,184"),
        (number_format.large_count(32_112_345), "32.1 million"),
        (number_format.percent(0.0063), "0.6 %"),
        (number_format.percent(0.0001), "< 0.1 %"),
        (number_format.duration(1.16e-4), "116 µs"),
        (number_format.duration(412), "6.9 min"),
        (number_format.number(3.2e-6), "3.20×10⁻⁶"),
        (number_format.tick(-0.25), "−0.25"),
        (number_format.estimate(0.020312, 0.01971, 0.02089), "0.0203 [0.0197, 0.0209]"),
        (number_format.text(np.float64(4000)), "4,000"),
        (number_format.text(None), "–"),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written.replace("\N{NO-BREAK SPACE}", " ") == expected


def test_results_read_back_from_files_give_the_same_page(
    tmp_path: Path, golf: ReportInputs, golf_html: str
) -> None:
    synthetic_results.write_results(tmp_path / "golf", golf)
    fits = pd.read_csv(tmp_path / "golf" / "checks" / "fits.csv")
    assert list(fits["fit"]) == list(golf.fits["fit"])
    # What comes back from a file gives the same page: only types of missing values differ.
    estimates = pd.read_csv(tmp_path / "golf" / "checks" / "estimates.csv")
    assert render(dataclasses.replace(golf, fits=fits, estimates=estimates)) == golf_html


# ---- the forecast


def test_the_forecast_is_in_the_header_and_drawn_where_there_is_one(
    panel_html: str, golf_html: str
) -> None:
    assert "figure-forecast" in Elements(panel_html).ids
    assert "forecast for all rows (12\N{NO-BREAK SPACE}s to 20\N{NO-BREAK SPACE}s)" in panel_html
    assert "price of that (0.00820 to 0.0141)" in panel_html
    assert "budget" in texts(panel_html)
    assert "figure-forecast" not in Elements(golf_html).ids
    assert "forecast for all rows" not in golf_html


@pytest.mark.usefixtures("undrawn")
def test_a_forecast_over_the_budget_is_said_twice(panel: ReportInputs) -> None:
    forecast = panel.verdict["forecast"] | {"over_budget": True, "price": None}
    html = render(dataclasses.replace(panel, verdict={**panel.verdict, "forecast": forecast}))
    assert ", over the budget" in html
    assert "This is over the budget." in html
    assert "price of that" not in html


@pytest.mark.parametrize("are_warm", [False, True])
def test_the_forecast_says_where_increments_start_otherwise_than_the_full_fit(are_warm):
    interval = (1000.0, 2000.0, 4000.0)
    known = {"rows": 9000, "gradients": interval, "seconds": interval, "over_budget": None}
    assert ("starts cold" in captions.outlook(known, are_warm=are_warm)) is are_warm


def test_the_time_of_a_gradient_is_said_of_the_rows_on_which_it_was_timed() -> None:
    columns = {"leapfrogs_per_iteration": 3.0, "rows": [257, 5000], "padded_rows": [1024, 8192]}
    fits = pd.DataFrame({**columns, "seconds_per_gradient": [1e-5, 8e-5]})
    said = captions.cost(fits, after_warmup=False, expected=False)
    assert "at 1,024 rows, those that pad included, and" in said
    assert "at 8,192;" in said


def searched(panel: ReportInputs, **found: object) -> ReportInputs:
    """The panel with what a search for remedies wrote."""
    numbers_of = {name: 2.0 for name in ("low", "high", "gain", "gain_low", "gain_high", "rhat")}
    rows = [
        {"candidate": "reparam: {betas: 0}", "status": "same", "ess_per_1000": 31.4, "draws": 900}
        | numbers_of,
        {"candidate": "as it is", "status": "no draws", "draws": 0},
    ]
    remedies = {
        "fit": "subset-03",
        "reason": "too many leapfrogs",
        "gradients": 100_000,
        "chains": 4,
        "best": rows[0]["candidate"],
        "lines": "sampler:\n  reparam: {betas: 0}",
        "advice": ["Best of these; to paste into the study file:"],
    }
    tables_of = {**panel.tables, "remedies": pd.DataFrame(rows)}
    return dataclasses.replace(panel, tables=tables_of, remedies=remedies | found)


@pytest.mark.usefixtures("undrawn")
def test_remedies_are_shown_with_the_lines_to_paste(panel: ReportInputs) -> None:
    html = render(searched(panel))
    assert "What would help the geometry" in html
    assert "<pre>sampler:\n  reparam: {betas: 0}</pre>" in html
    assert "31.4 (2 to 2)" in html
    assert "4 chains of 100,000 gradients" in html
    Elements(html)


@pytest.mark.usefixtures("undrawn")
def test_a_search_that_found_nothing_to_search_says_why(panel: ReportInputs) -> None:
    html = render(searched(panel, fit=None, reason="every fit can be used"))
    assert "Nothing was searched: every fit can be used." in html
    assert "What would help the geometry" not in render(panel)


@pytest.mark.usefixtures("undrawn")
def test_the_head_leads_to_sections_that_are_there(panel: ReportInputs) -> None:
    for html, has_remedies in ((render(panel), False), (render(searched(panel)), True)):
        head = html[html.index("<nav") : html.index("</nav>")]
        targets = re.findall('href="#([^"]*)"', head)
        assert set(targets) <= set(re.findall('<section id="([^"]*)"', html))
        assert ("remedies" in targets) == has_remedies


def test_a_verdict_of_an_earlier_program_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.table("fits").parent.mkdir()
    folder.table("fits").write_text("fit,status\nsubset-01,skipped\n")
    folder.verdict.write_text(json.dumps({"verdict": "misfit"}))
    with pytest.raises(
        StudyError, match=r"verdict.json: verdict must be one of .* got misfit"
    ) as raised:
        read_inputs(folder, object.__new__(Study))  # nothing of it is asked for before that
    assert "\n" not in str(raised.value)
