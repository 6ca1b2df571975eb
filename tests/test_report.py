"""The page as a document: what stands in it, whatever the results."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_results

from scalecheck.report import ReportInputs, captions, effort, numbers, tables, words
from scalecheck.report.blind import blind_spots
from scalecheck.report.forest import chosen_parameters
from scalecheck.report.labels import shorten
from scalecheck.report.page import render

FIGURES = ("figure-forest", "figure-contraction", "figure-effort", "figure-cost")
STUDIES = ["golf", "panel", "funnel"]
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Elements(HTMLParser):
    """Collect the tags, ids, links and visible texts of a page, and check that tags close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag with its id and whatever it would fetch."""
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.ids += [value or ""] if name == "id" else []
            self.links += [value or ""] if name in {"href", "src", "srcset"} else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that closes itself."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that is open."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note a text that a reader sees."""
        if "style" not in self.open:
            self.texts.append(data)


@pytest.fixture(scope="module", params=STUDIES)
def inputs(request: pytest.FixtureRequest) -> ReportInputs:
    return getattr(synthetic_results, request.param)()


@pytest.fixture(scope="module")
def html(inputs: ReportInputs) -> str:
    return render(inputs)


@pytest.fixture(scope="module")
def golf() -> ReportInputs:
    return synthetic_results.golf()


@pytest.fixture(scope="module")
def golf_html(golf: ReportInputs) -> str:
    return render(golf)


@pytest.fixture(scope="module")
def panel_html(panel: ReportInputs) -> str:
    return render(panel)


@pytest.fixture(scope="module")
def panel() -> ReportInputs:
    return synthetic_results.panel()


@pytest.fixture(scope="module")
def funnel() -> ReportInputs:
    return synthetic_results.funnel()


@pytest.fixture(scope="module")
def funnel_html(funnel: ReportInputs) -> str:
    return render(funnel)


def texts(html: str) -> str:
    return " ".join(Elements(html).texts)


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


def test_same_inputs_give_the_same_bytes(inputs: ReportInputs, html: str) -> None:
    assert render(inputs) == html


def test_missing_numbers_are_never_printed_as_nan(html: str) -> None:
    # "none recorded" and "none: signs of trouble" are meant.
    assert not re.search(r"\b(nan|None|NaT)\b|<NA>", texts(html))


def test_labels_of_users_are_escaped(panel_html: str) -> None:
    assert "<b>& east" not in panel_html
    assert "&lt;b&gt;&amp; east" in panel_html


@pytest.mark.parametrize("label", ["<script>alert(1)</script>", "日本 $x_1$ & \"'", "a\nb" * 40])
def test_any_label_can_be_drawn(golf: ReportInputs, label: str) -> None:
    renamed = {"broadie2018": label, "sigma": label}
    changed = dataclasses.replace(
        golf, fits=golf.fits.replace(renamed), estimates=golf.estimates.replace(renamed)
    )
    page = Elements(render(changed))
    assert "script" not in page.tags
    assert not page.open


def test_verdict_comes_first_and_strong_findings_before_suspect_ones(golf_html: str) -> None:
    headline = "<h1>The model breaks along source and distance_ft.</h1>"
    assert golf_html.index(headline) < golf_html.index("<h2>")
    assert 'class="badge misfit"' in golf_html
    statuses = re.findall(r'<li class="card (\w+)">', golf_html)
    assert statuses == ["strong", "strong", "strong", "suspect"]
    assert "1,000 of 1,259,184 rows were enough to see it" in golf_html


def test_what_was_skipped_dropped_or_unusable_is_named(golf_html: str, panel_html: str) -> None:
    assert "increment 6 (16,000 rows), skipped" in golf_html
    assert "Rows dropped for missing values" in panel_html
    assert panel_html.count("R-hat is 1.083 (slope): sample longer or reparametrise") >= 2


@pytest.mark.parametrize(
    ("verdict", "headline"),
    [
        ("adequate", "The model holds on the rows that were tried."),
        ("suspect", "The model may break along source and distance_ft."),
        ("misfit", "The model breaks along source and distance_ft."),
        ("inconclusive", "No verdict yet: too little could be checked."),
    ],
)
def test_every_verdict_has_a_sentence_and_a_next_step(
    golf: ReportInputs, verdict: str, headline: str
) -> None:
    changed = {**golf.verdict, "verdict": verdict}
    assert words.headline(changed, golf.fits) == headline
    assert words.next_step(changed, golf.fits).endswith(".")


@pytest.mark.parametrize(
    ("approximation", "advice"),
    [
        ({}, "raise it, or fit fewer rows."),
        ({"verdict": "believable"}, "use the approximation of all rows."),
        ({"verdict": "means only"}, "not its intervals."),
        ({"verdict": "do not use"}, "not to be used."),
    ],
)
def test_a_page_says_what_to_do_where_the_full_fit_is_over_the_budget(
    golf: ReportInputs, approximation: dict[str, str], advice: str
) -> None:
    forecast = {"over_budget": True}
    changed = {"verdict": "adequate", "forecast": forecast, "approximation": approximation}
    step = words.next_step(golf.verdict | changed, golf.fits)
    assert step.startswith("The full fit is over the budget: ")
    assert f"{advice} Read first" in step
    forecast["over_budget"] = False
    assert words.next_step(golf.verdict | changed, golf.fits).startswith("Go on to the full fit.")


def test_an_inconclusive_page_names_what_to_repair(panel: ReportInputs) -> None:
    verdict = {**panel.verdict, "verdict": "inconclusive"}
    assert words.headline(verdict, panel.fits) == "No verdict yet: 1 of 18 fits cannot be trusted."
    assert "Repair subset 5: R-hat is 1.083" in words.next_step(verdict, panel.fits)


@pytest.mark.parametrize(("label", "most"), [("beta[region, 12]", 12), ("x" * 99, 8), ("ab", 2)])
def test_a_shortened_label_keeps_its_end(label: str, most: int) -> None:
    short = shorten(label, most)
    assert len(short) <= most
    assert short[-2:] == label[-2:]


def test_an_inconclusive_page_without_a_bad_fit_gives_the_reason(golf: ReportInputs) -> None:
    reason = "no check could compare the parameters: agreement: use larger subsets"
    verdict = {**golf.verdict, "verdict": "inconclusive", "reason": reason}
    step = words.next_step(verdict, golf.fits)
    assert step.startswith("No check could compare the parameters: agreement: use larger subsets.")


def without(inputs: ReportInputs, *families: str) -> ReportInputs:
    """Leave out what some families found, as if they had not run."""
    findings = [f for f in inputs.verdict["findings"] if f["family"] not in families]
    return dataclasses.replace(inputs, verdict={**inputs.verdict, "findings": findings})


def spots(inputs: ReportInputs) -> str:
    return " ".join(blind_spots(inputs))


def test_blind_spots_are_those_of_the_checks_that_ran(panel: ReportInputs) -> None:
    seen = spots(panel)
    assert "along region only" in seen
    assert "its 12 statistics measure, and only in rows that came after the first" in seen
    assert "looked at 4 times" in seen
    assert "24,000 of 64,000 rows were in no fit" in seen
    assert "1 fit was done but cannot be used" in seen
    assert "Of each plane only what all of them share" in seen
    assert "did not run" not in seen
    assert "skipped" not in seen


@pytest.mark.parametrize("family", list(words.FAMILIES))
def test_nothing_is_said_of_a_check_that_did_not_run_but_that_it_did_not(
    panel: ReportInputs, family: str
) -> None:
    seen = spots(without(panel, family))
    assert f"{family} did not run" in seen
    assert family.capitalize() not in seen
    silent = spots(without(panel, *words.FAMILIES))
    assert "is blind" not in silent
    assert "looked at 4" not in silent
    assert "unit" not in silent


def test_blind_spots_give_reasons_skipped_increments_and_missing_units(golf: ReportInputs) -> None:
    seen = spots(golf)
    assert "(effort did not run: effort needs at least 3 fitted subsets)" in seen
    assert "1 increment was skipped" in seen
    assert "no column names their unit" in seen


def test_an_axis_that_was_not_tested_is_named(panel: ReportInputs) -> None:
    findings = list(panel.verdict["findings"])
    one = next(f for f in findings if f["family"] == "heterogeneity")
    where = one["where"] | {"axis": "carrier"}
    findings.append(one | {"status": "not run", "p": None, "where": where})
    changed = dataclasses.replace(panel, verdict={**panel.verdict, "findings": findings})
    assert "Nothing was tested along carrier" in spots(changed)
    assert "along region only" in spots(changed)


def test_small_fits_and_small_groups_are_called_indicative(panel: ReportInputs) -> None:
    assert "indicative" not in spots(panel)
    fits = panel.fits.assign(rows=panel.fits["rows"].where(panel.fits.index > 1, 239))
    small = dataclasses.replace(panel, fits=fits)
    assert "2 fits were smaller than 240 rows" in spots(small)
    findings = [
        f | ({"message": "seen; indicative: 9 units"} if f["family"] == "heterogeneity" else {})
        for f in panel.verdict["findings"]
    ]
    said = dataclasses.replace(panel, verdict={**panel.verdict, "findings": findings})
    assert "Indicative only, by the size of its groups or steps: heterogeneity." in spots(said)


def test_a_model_without_parameters_is_surprised_by_its_first_rows(panel: ReportInputs) -> None:
    findings = [
        f | {"where": f["where"] | {"fit": "increment-01"}}
        for f in panel.verdict["findings"]
        if f["family"] == "surprise"
    ]
    changed = dataclasses.replace(panel, verdict={**panel.verdict, "findings": findings})
    assert "after the first increment" not in spots(changed)


def test_cost_alone_can_decide_and_its_fits_are_ringed(
    funnel: ReportInputs, funnel_html: str
) -> None:
    assert "<h1>The model breaks: some fits need far more work than others.</h1>" in funnel_html
    assert "rings mark what a finding names" in funnel_html
    quiet = without(funnel, "effort", "scaling", "adaptation")
    assert "rings mark" not in render(quiet)


def test_the_finding_that_decided_comes_first(golf: ReportInputs) -> None:
    for axis in ("source", "distance_ft"):
        verdict = {**golf.verdict, "attribution": {"family": "heterogeneity", "axis": axis}}
        assert words.loud_findings(verdict)[0]["where"]["axis"] == axis


def test_what_speaks_of_the_sampler_alone_does_not_blame_the_likelihood(
    funnel: ReportInputs,
) -> None:
    alone = {**funnel.verdict, "verdict": "suspect", "misfit": False, "heterogeneous": False}
    alone["findings"] = [f for f in alone["findings"] if f["family"] == "adaptation"]
    assert words.explanation(alone) == "What was seen speaks of the sampler, not of the likelihood."
    assert words.headline(alone, funnel.fits).endswith("the sampler cannot adapt to it.")


def test_ranks_among_simulated_studies_are_shown_where_there_are_some(
    golf_html: str, funnel_html: str
) -> None:
    assert "simulated" not in texts(golf_html).replace("simulate", "")
    assert "p = 0.001 among simulated studies" in funnel_html
    assert "the smallest p-value of this study ranks at p = 0.001" in funnel_html


def test_leapfrogs_are_those_of_the_chains_where_they_are_known(golf: ReportInputs) -> None:
    done = golf.fits[golf.fits["status"] == "done"]
    chains = effort.chains_of(done, golf.tables["adaptation"])
    assert len(chains) == 4 * len(done)
    known = golf.tables["adaptation"].query("fit != 'subset-02'")
    chains = effort.chains_of(done, known)
    assert len(chains) == 4 * len(done) - 3
    alone = effort.per_fit(chains).loc["subset-02"]
    whole = done.set_index("fit").loc["subset-02"]
    assert alone["leapfrogs"] == pytest.approx(whole["leapfrogs_per_iteration"])
    assert alone["step_size"] == pytest.approx(whole["step_size"])


def test_the_farthest_statistics_come_first_and_eight_are_shown(golf: ReportInputs) -> None:
    table = tables.surprises(golf.tables["surprise"])
    distances = [float(row.cells[4].replace("\N{MINUS SIGN}", "-")) for row in table.rows]
    assert len(table.rows) == 8
    assert np.all(np.diff(np.abs(distances)) <= 0)
    assert "40 more are in checks/surprise.csv" in table.note


def test_deviant_units_are_marked_and_counted(panel: ReportInputs, golf_html: str) -> None:
    table = tables.deviants(panel.tables["units"])
    assert [row.marked for row in table.rows] == [True] * 2 + [False] * 10
    assert table.note.startswith("2 of 4,037 units have q < 0.05")
    assert 'id="units"' not in golf_html


def test_a_page_needs_no_table_of_a_family(funnel: ReportInputs) -> None:
    none = render(dataclasses.replace(funnel, tables={}))
    empty = {name: pd.DataFrame() for name in [*words.FAMILIES, "units"]}
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
    fits = golf.fits.assign(status="skipped", usable=None)
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
        (numbers.p_value(2e-5), "p < 0.001"),
        (numbers.p_value(0.0124), "p = 0.012"),
        (numbers.p_value(float("nan")), "–"),
        (numbers.count(1259184.0), "1,259,184"),
        (numbers.large_count(32_112_345), "32.1 million"),
        (numbers.percent(0.0063), "0.6 %"),
        (numbers.percent(0.0001), "< 0.1 %"),
        (numbers.duration(1.16e-4), "116 µs"),
        (numbers.duration(412), "6.9 min"),
        (numbers.number(3.2e-6), "3.20×10⁻⁶"),
        (numbers.tick(-0.25), "−0.25"),
        (numbers.estimate(0.020312, 0.01971, 0.02089), "0.0203 [0.0197, 0.0209]"),
        (numbers.text(np.float64(4000)), "4,000"),
        (numbers.text(None), "–"),
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


def searched(panel: ReportInputs, **found: object) -> ReportInputs:
    """The panel with what a search for remedies wrote."""
    numbers_of = {name: 2.0 for name in ("low", "high", "gain", "gain_low", "gain_high", "rhat")}
    rows = [
        {"candidate": "reparam: {betas: 0}", "status": "same", "ess_per_1000": 31.4, "draws": 900}
        | numbers_of,
        {"candidate": "as it is", "status": "no draws", "draws": 0},
    ]
    remedies = {"fit": "subset-03", "reason": "too many leapfrogs", "gradients": 100_000, "chains": 4,
                "best": rows[0]["candidate"], "lines": "sampler:\n  reparam: {betas: 0}",
                "advice": ["Best of these; to paste into the study file:"]}  # fmt: skip
    tables_of = {**panel.tables, "remedies": pd.DataFrame(rows)}
    return dataclasses.replace(panel, tables=tables_of, remedies=remedies | found)


def test_remedies_are_shown_with_the_lines_to_paste(panel: ReportInputs) -> None:
    html = render(searched(panel))
    assert "What would help the geometry" in html
    assert "<pre>sampler:\n  reparam: {betas: 0}</pre>" in html
    assert "31.4 (2 to 2)" in html
    assert "4 chains of 100,000 gradients" in html
    Elements(html)


def test_a_search_that_found_nothing_to_search_says_why(panel: ReportInputs) -> None:
    html = render(searched(panel, fit=None, reason="every fit can be used"))
    assert "Nothing was searched: every fit can be used." in html
    assert "What would help the geometry" not in render(panel)


def test_the_head_leads_to_sections_that_are_there(panel: ReportInputs) -> None:
    for html, has_remedies in ((render(panel), False), (render(searched(panel)), True)):
        head = html[html.index("<nav") : html.index("</nav>")]
        targets = re.findall('href="#([^"]*)"', head)
        assert set(targets) <= set(re.findall('<section id="([^"]*)"', html))
        assert ("remedies" in targets) == has_remedies
