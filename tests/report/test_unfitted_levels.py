"""Levels without a fit of their own: which the forest plot draws, how, and what its caption says."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from synthetic_tables import of_levels

from scalecheck.report import ReportInputs
from scalecheck.report.page import render
from scalecheck.report.svg import COLOURS, VARIABLES
from scalecheck.report.unfitted_levels import add_unfitted

FITTED = ["AA", "B6", "DL", "EV", "UA", "WN"]
BLOCKS = [f"rows {1000 * i + 1} to {1000 * (i + 1)}" for i in range(8)]


def others(number: int) -> list[str]:
    return [f"carrier {i}" for i in range(number)]


def added(inputs: ReportInputs, table: pd.DataFrame, *parameters: str):
    found = add_unfitted(inputs.done, inputs.estimates, table, parameters or ("mu", "tau"))
    return found, found.fits[~found.fits["fitted"]]


@pytest.mark.parametrize(("number", "drawn"), [(1, 1), (12, 12), (13, 12), (200, 12)])
def test_at_most_twelve_of_an_axis_are_added_in_its_order(funnel, number, drawn):
    labels = others(number)
    table = of_levels({"carrier": FITTED + labels, "arrival": BLOCKS}, ["mu", "tau"])
    found, levels = added(funnel, table)
    of_axis = list(levels[levels["axis"] == "carrier"]["level"])
    assert len(of_axis) == drawn
    assert of_axis == [label for label in labels if label in of_axis]
    assert labels[-1] in of_axis  # which deviates
    assert list(levels[levels["axis"] == "arrival"]["level"]) == BLOCKS
    assert (levels["kind"] == "level").all()
    assert ("12 of the " in found.said) == (number > 12)
    assert number <= 12 or f" 12 of the {number} of carrier are shown:" in found.said


def test_those_are_added_that_differ_most_in_a_parameter_that_is_drawn(funnel):
    table = of_levels({"carrier": others(30)}, ["mu", "tau"])
    of_mu = table[table["parameter"] == "mu"].set_index("level")
    size = (of_mu["one_step"].abs() / of_mu["one_step_sd"]).nlargest(12)
    assert set(added(funnel, table, "mu")[1]["level"]) == set(size.index)


def test_estimates_of_what_is_added_are_those_of_the_table(funnel):
    table = of_levels({"carrier": [*FITTED, "HA"]}, ["mu", "tau"])
    table.loc[(table["level"] == "HA") & (table["parameter"] == "mu"), "one_step_high"] = np.nan
    found, levels = added(funnel, table)
    (name,) = levels["fit"]
    assert found.added == (name,)
    (own,) = found.estimates[found.estimates["fit"] == name].to_dict("records")
    (known,) = table[(table["level"] == "HA") & (table["parameter"] == "tau")].to_dict("records")
    assert own["parameter"] == "tau"
    assert [own[end] for end in ("mean", "low", "high")] == [
        known[f"one_step_{end}"] for end in ("mean", "low", "high")
    ]


def test_bins_of_a_number_are_not_drawn_twice(golf):
    """Fits have bins of all rows, scores those of the rows that were fitted: other labels of the same rows."""
    table = of_levels({"distance_ft": ["0.28", "0.9 to 1.9", "2 to 75"]}, ["sigma"])
    assert added(golf, table, "sigma")[0].added == ()
    unknown = golf.fits["axis"] != "distance_ft"
    none = dataclasses.replace(golf, fits=golf.fits[unknown])
    assert len(added(none, table, "sigma")[0].added) == 3


def picture(html: str) -> str:
    start = html.index('id="figure-forest"')
    return html[start : html.index("</figure>", start)]


def test_nothing_changes_where_each_level_has_a_fit_or_none_has_an_estimate(
    funnel, funnel_html
) -> None:
    table = of_levels({"carrier": FITTED, "share": ["a", "b"]}, ["mu", "tau"])
    table.loc[table["axis"] == "share", "one_step_mean"] = np.nan
    for own in (table, table.iloc[:0], table.drop(columns="one_step_mean")):
        tables = {**funnel.tables, "heterogeneity": own}
        html = render(dataclasses.replace(funnel, tables=tables))
        assert picture(html) == picture(funnel_html)


def test_the_plot_has_a_row_with_an_open_mark_for_each(funnel, funnel_html) -> None:
    labels = others(40)
    table = of_levels({"carrier": FITTED + labels, "arrival": BLOCKS}, ["mu", "tau"])
    scaled = [f"one_step_{name}" for name in ("mean", "low", "high")]
    table[scaled] *= 1.1 / 0.02
    # Far off, so that the mark is an arrow.
    table.loc[table["level"] == labels[-1], scaled] += 50.0
    tables = {**funnel.tables, "heterogeneity": table}
    html = picture(render(dataclasses.replace(funnel, tables=tables)))
    before = picture(funnel_html)
    # Once on a desk; on a phone for each of the two parameters.
    assert len(re.findall(r">carrier \d+<", html)) == 3 * 12
    assert len(re.findall(r">rows \d+ to \d+<", html)) >= 8
    assert "Levels of arrival" in html
    assert "Levels of arrival" not in before
    caption = re.search(r"<figcaption>(.*?)</figcaption>", html, re.DOTALL)
    assert caption is not None
    assert (
        caption[1]
        .strip()
        .endswith(
            "Open marks are one-step estimates of levels that were not fitted."
            " 12 of the 40 of carrier are shown: those that differ most."
        )
    )
    edge = f"stroke: var(--{VARIABLES[COLOURS['level']]}); stroke-width: 1.2"
    assert html.count(edge) >= 20
    assert edge not in before
