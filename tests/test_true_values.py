"""Simulated data: the table of true values, and the page that compares them with the fits."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import synthetic_results

from scalecheck.errors import StudyError
from scalecheck.files import true_values
from scalecheck.pipeline import check_study
from scalecheck.report.page import render
from scalecheck.report.recovery_plot import caption, recovered, recovery
from scalecheck.study import read_study, settings

BAD = {
    "parameter,valu\nmu,1\n": "no column value, which data.truth needs; it has parameter, valu",
    "": "no column parameter, which data.truth needs; it has none",
    "parameter,value\nmu,big\n": r"row 1 \(parameter mu\): the column value must hold numbers, got 'big'",
    "parameter,value\nmu,inf\n": r"row 1 \(parameter mu\): the column value must hold numbers, got 'inf'",
    "parameter,value\nmu\n": r"row 1 \(parameter mu\): the column value must hold numbers, got None",
    "value,parameter\n1\n": "row 1 names no parameter",
    "parameter,value\n,1\n": "row 1 names no parameter",
    "parameter,value\nmu,1\nmu,2\n": "row 2 names the parameter mu a second time",
    "parameter,value\nmu,1\nm,2\n": (
        "row 2 names m, which is no parameter that is compared across fits, did you mean mu?"
    ),
}


@pytest.mark.parametrize("content", BAD)
def test_a_bad_table_is_one_line_that_names_the_file_and_the_row(content, tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(content)
    with pytest.raises(StudyError, match=BAD[content]) as error:
        true_values.check_truth(path, ["mu"])
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"truth.csv: cannot be read: No such file"):
        true_values.read_truth(tmp_path / "truth.csv")


def test_an_unknown_parameter_is_refused_before_any_fit(conjugate, tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("parameter,value\nnu,1\n")
    given = conjugate.study
    bound = check_study.load_model(conjugate.folder, given.data.outcome, given.model, given.sampler)
    with pytest.raises(StudyError, match="row 1 names nu, which is no parameter"):
        check_study.check_study(conjugate.folder, bound, given.model, given.sampler, 0, str(path))


NAMES = ("intercept", "slope", *(f"beta[{i}]" for i in range(8)), "tau", "sigma")


@pytest.fixture(scope="module")
def panel():
    values = dict(zip(NAMES, np.linspace(-2.0, 3.0, 12), strict=True))
    return dataclasses.replace(synthetic_results.panel(), truth=values)


def found_of(inputs):
    fits = inputs.fits[inputs.fits["status"] == "done"]
    return recovered(
        fits.assign(usable=fits["usable"].astype(bool)), inputs.estimates, inputs.truth
    )


def test_the_largest_usable_increment_is_compared(panel):
    found = found_of(panel)
    assert set(found["fit"]) == {"increment-05"}
    assert found["parameter"].to_list() == list(NAMES)
    assert np.allclose(found["z"] * found["sd"], found["mean"] - found["truth"])
    fits = panel.fits.assign(usable=panel.fits["usable"] & (panel.fits["fit"] != "increment-05"))
    assert set(found_of(dataclasses.replace(panel, fits=fits))["fit"]) == {"increment-04"}


def test_the_caption_counts_intervals_that_hold_their_truth():
    table = pd.DataFrame(
        {
            "parameter": ["a", "b", "c", "d"],
            "rows": 500,
            "mean": 0.0,
            "sd": 1.0,
            "low": -1.6,
            "high": 1.6,
            "truth": [0.0, 1.0, -1.0, 4.0],
            "z": [0.0, -1.0, 1.0, -4.0],
        }
    )
    text = caption(table, "the increment")
    assert text.startswith("3 of 4 89 % intervals of the increment of 500 rows hold")
    assert "(3.56 are expected)" in text
    assert "2.1 posterior sds in the root mean square" in text  # the square root of 18 / 4
    assert "the largest is −4.0 (d)" in text


@pytest.mark.usefixtures("undrawn")
def test_the_page_has_a_panel_for_each_site_and_one_for_scalars(panel):
    picture = recovery(found_of(panel))
    assert picture is not None
    assert len(picture.narrow) == 2
    html = render(panel)
    assert html.count('id="recovery"') == 1
    assert "Do the fits recover what the data were drawn from?" in html


def test_labels_are_escaped(panel):
    loud = "<b>&$x$"
    estimates = panel.estimates.replace({"parameter": {"tau": loud}})
    html = render(dataclasses.replace(panel, estimates=estimates, truth={loud: 1.0}))
    section = html[html.index('id="recovery"') : html.index('id="contraction"')]
    assert "&lt;b&gt;&amp;$x$" in section
    assert "<b>" not in section


@pytest.mark.parametrize("study_name", ["golf", "panel", "funnel"])
@pytest.mark.usefixtures("undrawn")
def test_without_truth_the_page_is_as_it_was(study_name):
    inputs = getattr(synthetic_results, study_name)()
    assert "recovery" not in render(inputs)


@pytest.mark.usefixtures("undrawn")
def test_nothing_is_drawn_where_no_increment_can_be_used(panel):
    fits = panel.fits.assign(usable=False)
    assert "recovery" not in render(dataclasses.replace(panel, fits=fits))


def test_the_key_is_a_file_beside_the_study_file(tmp_path):
    for name in ("rows.csv", "model.py", "truth.csv"):
        (tmp_path / name).touch()
    data = {"file": "rows.csv", "outcome": "y"}
    given = {"study": "some", "data": data, "model": {"file": "model.py"}}
    file = str(tmp_path / "study.yaml")
    assert read_study.build(given, file).data.truth is None
    found = read_study.build(given | {"data": data | {"truth": "truth.csv"}}, file)
    assert found.data.truth == str(tmp_path / "truth.csv")
    with pytest.raises(StudyError, match=r"data\.truth"):
        read_study.build(given | {"data": data | {"truth": "other.csv"}}, file)


def test_another_truth_refits_nothing(conjugate):
    """Rules run again where the settings that they name are others."""
    given = conjugate.study
    data = dataclasses.replace(given.data, truth="truth.csv")
    other = dataclasses.replace(given, data=data)
    assert other.sections("seed", "data") == given.sections("seed", "data")
    assert other.sections() != given.sections()
    assert other.sections("data.truth") != given.sections("data.truth")
    assert settings.parse_sections(other.sections("data")).data == given.data
