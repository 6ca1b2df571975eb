"""What was seen of an increment is read where it stands, and made again where something else went into it."""

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from scalecheck.checks.finding import Effect, Finding, not_run
from scalecheck.checks.statistic_design import LAG, VALUE, Statistic
from scalecheck.checks.summed_surprise import StepMembers
from scalecheck.examine import looks
from scalecheck.examine.looks import Look, SurprisedStep

FINDING = Finding(
    family="surprise",
    p=1e-5,
    weight=0.25,
    large=True,
    effect=Effect("studentised mean", 5.1, 3.1, 7.1),
    fit="increment-02",
    fits=("increment-01", "increment-02"),
    kind="misfit",
    message="rows 9 to 64 lie above",
)
TABLE = pd.DataFrame({"fit": ["increment-02"], "observed": [1 / 3], "leading": [True]})
MEMBERS = StepMembers(
    (Statistic(LAG), Statistic(VALUE, "0", None, True)),
    np.array([[0.1, -3.25], [1e6, 1 / 3]], dtype="float32"),
    9,
    64,
    55,
    ("increment-01", "increment-02"),
    "3 rows are masked",
)
SURPRISED = SurprisedStep(FINDING, TABLE, MEMBERS)


@pytest.fixture
def folder(tmp_path):
    from scalecheck.files.layout import StudyFolder

    return StudyFolder(tmp_path)


def test_a_look_is_read_as_it_was_written(folder):
    look = Look([not_run("drift", "the prior is improper", weight=0.5)], SURPRISED)
    looks.write_look(folder, "increment-02", "this", look)
    found = looks.read_look(folder, "increment-02", "this")
    assert found is not None
    assert found.findings == look.findings
    assert found.surprised is not None
    assert found.surprised.finding == FINDING
    pd.testing.assert_frame_equal(found.surprised.table, TABLE)
    members = found.surprised.members
    assert members is not None
    np.testing.assert_array_equal(members.values, MEMBERS.values)
    assert members._replace(values=MEMBERS.values) == MEMBERS


@pytest.mark.parametrize("surprised", [None, SurprisedStep(FINDING, TABLE, None)])
def test_a_look_need_not_have_measured_new_rows(folder, surprised):
    looks.write_look(folder, "increment-02", "this", Look([], surprised))
    found = looks.read_look(folder, "increment-02", "this")
    assert found is not None
    assert (found.surprised is None) == (surprised is None)
    assert surprised is None or found.surprised.members is None


def test_a_look_of_another_identity_or_a_damaged_one_is_none(folder):
    assert looks.read_look(folder, "increment-02", "this") is None
    looks.write_look(folder, "increment-02", "this", Look([], SURPRISED))
    assert looks.read_look(folder, "increment-02", "other") is None
    path = folder.look("increment-02")
    path.write_text(path.read_text()[:-20])
    assert looks.read_look(folder, "increment-02", "this") is None


def test_another_error_rate_judges_the_same_look():
    look = Look([], SURPRISED)
    assert looks.reason_to_stop(look, 0.05) == FINDING.message
    assert looks.reason_to_stop(look, 0.001) == ""
    small = dataclasses.replace(FINDING, large=False)
    assert looks.reason_to_stop(Look([], SURPRISED._replace(finding=small)), 0.05) == ""


def test_to_read_and_judge_a_look_takes_no_jax():
    # `jax` itself may stand there: ArviZ loads it when it is first used.
    code = "import sys, scalecheck.pipeline.look; sys.exit('jax._src' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
