"""What the page says, in words: of the verdict, of what to do next, of what it could not see."""

import dataclasses
import re

import numpy as np
import pytest
from elements import texts

from scalecheck.report import ReportInputs, effort_plot, sentences, tables
from scalecheck.report.limitations import blind_spots
from scalecheck.report.page import render
from scalecheck.report.parameter_labels import shorten


def test_verdict_comes_first_and_strong_findings_before_suspect_ones(golf_html: str) -> None:
    headline = "<h1>The model breaks along source and distance_ft.</h1>"
    assert golf_html.index(headline) < golf_html.index("<h2>")
    assert 'class="badge breaks"' in golf_html
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
        ("breaks", "The model breaks along source and distance_ft."),
        ("inconclusive", "No verdict yet: too little could be checked."),
    ],
)
def test_every_verdict_has_a_sentence_and_a_next_step(
    golf: ReportInputs, verdict: str, headline: str
) -> None:
    changed = {**golf.verdict, "verdict": verdict}
    assert sentences.headline(changed, golf.fits) == headline
    assert sentences.next_step(changed, golf.fits).endswith(".")


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
    step = sentences.next_step(golf.verdict | changed, golf.fits)
    assert step.startswith("The full fit is over the budget: ")
    assert f"{advice} Read first" in step
    forecast["over_budget"] = False
    assert sentences.next_step(golf.verdict | changed, golf.fits).startswith(
        "Go on to the full fit."
    )


def test_an_inconclusive_page_names_what_to_repair(panel: ReportInputs) -> None:
    verdict = {**panel.verdict, "verdict": "inconclusive"}
    assert (
        sentences.headline(verdict, panel.fits) == "No verdict yet: 1 of 17 fits cannot be trusted."
    )
    assert "Repair subset 5: R-hat is 1.083" in sentences.next_step(verdict, panel.fits)


def test_an_inconclusive_page_says_the_reasons_of_many_fits_by_cause(panel: ReportInputs) -> None:
    bad = panel.fits["kind"] == "subset"
    fits = panel.fits.assign(usable=~bad, reason=np.where(bad, "R-hat of mu is 2: order it", ""))
    reason = "8 of 18 fits: R-hat of mu is 2 to 3: the elements of mu trade places: order it"
    verdict = {**panel.verdict, "verdict": "inconclusive", "reason": reason}
    step = sentences.next_step(verdict, fits)
    assert step.startswith("Repair subset 1, ")
    assert f" {reason}. Then run the study again." in step
    assert step.count("R-hat") == 1


@pytest.mark.parametrize(("label", "most"), [("beta[region, 12]", 12), ("x" * 99, 8), ("ab", 2)])
def test_a_shortened_label_keeps_its_end(label: str, most: int) -> None:
    short = shorten(label, most)
    assert len(short) <= most
    assert short[-2:] == label[-2:]


def test_an_inconclusive_page_without_a_bad_fit_gives_the_reason(golf: ReportInputs) -> None:
    reason = "no check could compare the parameters: agreement: use larger subsets"
    verdict = {**golf.verdict, "verdict": "inconclusive", "reason": reason}
    step = sentences.next_step(verdict, golf.fits)
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


@pytest.mark.parametrize("family", list(sentences.FAMILIES))
def test_nothing_is_said_of_a_check_that_did_not_run_but_that_it_did_not(
    panel: ReportInputs, family: str
) -> None:
    seen = spots(without(panel, family))
    assert f"{family} did not run" in seen
    assert family.capitalize() not in seen
    silent = spots(without(panel, *sentences.FAMILIES))
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


@pytest.mark.usefixtures("undrawn")
def test_cost_alone_can_decide_and_its_fits_are_ringed(
    funnel: ReportInputs, funnel_html: str
) -> None:
    assert "<h1>The model breaks: some fits need far more work than others.</h1>" in funnel_html
    assert "rings mark what a finding names" in funnel_html
    verdict = without(funnel, "effort", "scaling", "adaptation").verdict
    quiet = dataclasses.replace(funnel, verdict={**verdict, "verdict": "adequate"})
    assert "rings mark" not in render(quiet)


def test_the_finding_that_decided_comes_first(golf: ReportInputs) -> None:
    for axis in ("source", "distance_ft"):
        verdict = {**golf.verdict, "attribution": {"family": "heterogeneity", "axis": axis}}
        assert sentences.loud_findings(verdict)[0]["where"]["axis"] == axis


def test_what_speaks_of_the_sampler_alone_does_not_blame_the_likelihood(
    funnel: ReportInputs,
) -> None:
    alone = {**funnel.verdict, "verdict": "suspect", "misfit": False, "heterogeneous": False}
    alone["findings"] = [f for f in alone["findings"] if f["family"] == "adaptation"]
    assert (
        sentences.explanation(alone)
        == "What was seen speaks of the sampler, not of the likelihood."
    )
    assert sentences.headline(alone, funnel.fits).endswith("the sampler cannot adapt to it.")


def test_ranks_among_simulated_studies_are_shown_where_there_are_some(
    golf_html: str, funnel_html: str
) -> None:
    assert "simulated" not in texts(golf_html).replace("simulate", "")
    assert "p = 0.001 among simulated studies" in funnel_html
    assert "the smallest p-value of this study ranks at p = 0.001" in funnel_html


def test_leapfrogs_are_those_of_the_chains_where_they_are_known(golf: ReportInputs) -> None:
    done = golf.fits[golf.fits["status"] == "done"]
    chains = effort_plot.chains_of(done, golf.tables["adaptation"])
    assert len(chains) == 4 * len(done)
    known = golf.tables["adaptation"].query("fit != 'subset-02'")
    chains = effort_plot.chains_of(done, known)
    assert len(chains) == 4 * len(done) - 3
    alone = effort_plot.per_fit(chains).loc["subset-02"]
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


def test_what_only_all_steps_show_has_a_place_and_is_no_sign_of_nothing(
    golf: ReportInputs,
) -> None:
    (step, *_) = [one for one in golf.verdict["findings"] if one["family"] == "surprise"]
    together = step | {"status": "suspect", "where": step["where"] | {"fit": None}}
    rows = golf.verdict["rows"] | {"first_seen": None}
    verdict = golf.verdict | {"findings": [together], "rows": rows}
    (card,) = sentences.cards(verdict, golf.fits)
    assert card.place == "all steps together"
    assert "signs of trouble" not in dict(map(reversed, sentences.key_numbers(verdict)))
    quiet = verdict | {"findings": [together | {"status": "pass"}]}
    assert ("none", "signs of trouble") in sentences.key_numbers(quiet)
