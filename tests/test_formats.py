"""Facts about files: written whole or not at all, and read back as they were."""

import json
import math
import os
import signal
import stat
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from scalecheck.errors import StudyError
from scalecheck.files import formats, posterior_file
from scalecheck.files.formats import PlannedRow
from scalecheck.files.layout import StudyFolder

# ---- atomic writes


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with formats.atomic(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent  # a rename within one file system
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [None, "old"])
def test_an_error_inside_leaves_what_was_there(tmp_path, error, before):
    path = tmp_path / "file.txt"
    if before is not None:
        path.write_text(before)
    with pytest.raises(error), formats.atomic(path) as temporary:
        temporary.write_text("half")
        raise error
    assert [file.name for file in tmp_path.iterdir()] == (["file.txt"] if before else [])
    assert before is None or path.read_text() == before


def test_a_kill_leaves_what_was_there(tmp_path):
    path = tmp_path / "data.nc"
    path.write_text("old")
    program = f"""
import os, signal
from pathlib import Path
from scalecheck.files import formats
with formats.atomic(Path({str(path)!r})) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    # What the kill left behind is hidden and no result: rules ask for names.
    assert all(file.name.startswith(".") for file in tmp_path.iterdir() if file != path)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_permissions_of_results_are_as_the_umask_says(tmp_path, mask):
    before = os.umask(mask)
    try:
        formats.write_text(tmp_path / "file.txt", "shared")
        assert os.umask(mask) == mask  # and it is still as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o666 & ~mask


# ---- JSON


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_does_not_know_becomes_null(tmp_path, value):
    path = tmp_path / "record.json"
    formats.write_json(path, {"a": value, "b": [1.5, value], "c": {"d": (value, 2)}, "e": None})
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    assert formats.read_json(path) == {
        "a": None,
        "b": [1.5, None],
        "c": {"d": [None, 2]},
        "e": None,
    }


def test_json_keeps_text_numbers_and_order(tmp_path):
    content = {"größe": 'a\n"b"', "n": 2**60, "x": 0.1, "yes": True, "a": []}
    path = tmp_path / "record.json"
    formats.write_json(path, content)
    assert formats.read_json(path) == content
    assert list(formats.read_json(path)) == list(content)


def test_missing_and_damaged_json_is_named(tmp_path):
    path = tmp_path / "record.json"
    with pytest.raises(StudyError, match=f"{path}: cannot be read: No such file"):
        formats.read_json(path)
    path.write_text('{"a": ')
    with pytest.raises(StudyError, match=f"{path}: damaged .*: delete it and run again"):
        formats.read_json(path)


# ---- tables


def test_plan_comes_back_as_it_was(tmp_path):
    rows = [
        PlannedRow("subset-01", "subset", "", "", 50, 50),
        PlannedRow("subset-02", "subset", "", "", 50, 50, start=0),
        PlannedRow("level-site-01", "level", "site", 'a, "b"\nNA', 50, 50),
        PlannedRow("level-year-01", "level", "year", "2018", 50, 50),
        PlannedRow("increment-01", "increment", "", "", 100, 100),
    ]
    formats.write_plan(tmp_path / "plan.csv", rows)
    read = formats.read_plan(tmp_path / "plan.csv")
    assert read == rows


def test_what_is_no_folder_has_no_plan(tmp_path):
    path = tmp_path / "study.yaml"
    path.touch()
    with pytest.raises(StudyError, match=r"study.yaml: no plan.csv: not the results of a study"):
        formats.read_plan(path / "plan.csv")


def test_tables_come_back_as_they_were(tmp_path):
    table = pd.DataFrame(
        {
            "fit": ["a", "b", "c"],
            "level": ["2018", "", "NA"],  # a level may look like a number, or like none
            "p": [0.1 + 0.2, math.nan, 5e-324],
            "z": [math.inf, -math.inf, 1.0],
            "usable": [True, False, True],
        }
    )
    formats.write_table(tmp_path / "table.csv", table)
    read = formats.read_table(tmp_path / "table.csv")
    assert read["level"].tolist() == ["2018", "", "NA"]
    np.testing.assert_array_max_ulp(read["p"][:1], table["p"][:1], 1)
    assert math.isnan(read["p"][1]) and read["p"][2] == 5e-324
    np.testing.assert_array_equal(read["z"], table["z"])
    assert read["usable"].tolist() == [True, False, True]


def test_a_table_without_columns_comes_back_empty(tmp_path):
    formats.write_table(tmp_path / "table.csv", pd.DataFrame())
    assert formats.read_table(tmp_path / "table.csv").empty


# ---- posteriors

GROUPS = {
    "posterior": posterior_file.Group(
        {
            "sigma": (("chain", "draw"), np.arange(6.0).reshape(2, 3)),
            "a": (("chain", "draw", "school"), np.ones((2, 3, 2), "float32")),
        },
        {"chain": [0, 1], "draw": [0, 1, 2], "school": ["Ä", "b/c"]},
        {"sample_dims": "chain draw"},
    ),
    "sample_stats": posterior_file.Group(
        {"diverging": (("chain", "draw"), np.array([[True, False, False]] * 2))},
        {"chain": [0, 1], "draw": [0, 1, 2]},
        {},
    ),
}


def test_a_posterior_comes_back_with_dims_coordinates_and_types(tmp_path):
    path = tmp_path / "posterior.nc"
    posterior_file.write_posterior(path, GROUPS)
    tree = posterior_file.read_posterior(path)
    assert set(tree.children) == {"posterior", "sample_stats"}
    assert tree["posterior"]["a"].dims == ("chain", "draw", "school")
    assert tree["posterior"]["school"].values.tolist() == ["Ä", "b/c"]
    assert tree["posterior"]["a"].dtype == "float32"
    assert tree["sample_stats"]["diverging"].dtype == bool
    np.testing.assert_array_equal(tree["posterior"]["sigma"], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:600], lambda whole: b"", lambda whole: b"x"]
)
def test_a_damaged_posterior_is_named(tmp_path, damage):
    path = tmp_path / "fits" / "subset-01" / "posterior.nc"
    posterior_file.write_posterior(path, GROUPS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        StudyError, match=f"{path}: cannot be read .*: delete {tmp_path}/fits and run"
    ):
        posterior_file.read_posterior(path)


def test_every_path_lies_in_the_folder_of_the_study(tmp_path):
    folder = StudyFolder(tmp_path / "results" / "golf")
    paths = [
        folder.data,
        folder.model,
        folder.plan,
        folder.verdict,
        folder.report,
        folder.record("increment-01"),
        folder.posterior("increment-01"),
        folder.table("fits"),
    ]
    assert [str(path.relative_to(folder.path)) for path in paths] == [
        "data.nc",
        "model.json",
        "plan.csv",
        "verdict.json",
        "report.html",
        "fits/increment-01/record.json",
        "fits/increment-01/posterior.nc",
        "checks/fits.csv",
    ]
    assert json.dumps(str(folder.cache)) == json.dumps(str(tmp_path / "results" / ".jax"))
