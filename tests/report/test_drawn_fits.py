"""Studies of more subsets than anyone looks at: which are on the page."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from scalecheck.report import ReportInputs
from scalecheck.report.page import render
from scalecheck.report.selection import MOST_SUBSETS, left_aside, shown


def fits(n_subsets: int) -> pd.DataFrame:
    names = [f"subset-{i:02d}" for i in range(1, n_subsets + 1)]
    table = pd.DataFrame({"fit": names, "kind": "subset", "usable": True})
    increment = pd.DataFrame({"fit": ["increment-01"], "kind": "increment", "usable": True})
    table = pd.concat([table, increment], ignore_index=True)
    return table.assign(leapfrogs_per_iteration=np.random.default_rng(1).uniform(3, 4, len(table)))


@pytest.mark.parametrize("n_subsets", [0, 3, MOST_SUBSETS])
def test_all_are_shown_where_there_are_few(n_subsets: int) -> None:
    table = fits(n_subsets)
    assert shown(table, []) is table
    assert left_aside(table, table) == ""


@pytest.mark.parametrize("n_subsets", [101, 1000, 10_000])
def test_of_many_those_that_matter_are_shown_and_others_evenly(n_subsets: int) -> None:
    table = fits(n_subsets)
    table.loc[[40, 90], "usable"] = False
    slowest = table["leapfrogs_per_iteration"][:-1].nlargest(5).index
    found = shown(table, [{"where": {"fit": "subset-77"}}, {"where": {"fit": None}}])
    assert list(found["fit"]) == [fit for fit in table["fit"] if fit in set(found["fit"])]
    assert {"subset-77", "subset-41", "subset-91", "increment-01"} <= set(found["fit"])
    assert set(table["fit"][slowest]) <= set(found["fit"])
    assert (found["kind"] == "subset").sum() == MOST_SUBSETS
    assert np.diff(found.index).max() <= max(3, 1.5 * n_subsets / 80)
    assert f"100 of the {n_subsets:,} subsets" in left_aside(table, found)


def test_unusable_ones_alone_do_not_crowd_out_what_a_finding_names() -> None:
    table = fits(500).assign(usable=False)
    found = shown(table, [{"where": {"fit": "subset-499"}}])
    assert "subset-499" in set(found["fit"])
    assert (found["kind"] == "subset").sum() == MOST_SUBSETS


@pytest.mark.long
def test_a_page_does_not_grow_with_its_subsets(golf: ReportInputs) -> None:
    def of(n_subsets: int) -> str:
        return render(with_subsets(golf, n_subsets))

    few, many = of(120), of(400)
    assert len(many) < 1.1 * len(few)
    assert "100 of the 400 subsets are shown" in many
    # The caption is of all of them, and so is the line of their mean.
    assert len(re.findall(r">subset \d+<", many)) == len(re.findall(r">subset \d+<", few))


def with_subsets(inputs: ReportInputs, n_subsets: int) -> ReportInputs:
    """Results with so many subsets, each like one of those that are there."""

    def more(table: pd.DataFrame) -> pd.DataFrame:
        if "fit" not in table:
            return table
        parts = []
        for number in range(1, n_subsets + 1):
            one = table[table["fit"] == f"subset-{(number - 1) % 8 + 1:02d}"]
            parts.append(one.assign(fit=f"subset-{number:02d}"))
        others = table[~table["fit"].astype(str).str.startswith("subset-")]
        return pd.concat([*parts, others], ignore_index=True)

    tables = {name: more(table) for name, table in inputs.tables.items()}
    return dataclasses.replace(
        inputs, fits=more(inputs.fits), estimates=more(inputs.estimates), tables=tables
    )
