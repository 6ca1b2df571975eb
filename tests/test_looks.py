"""What was seen of an increment is read where it stands, and made again where something else went into it."""

import dataclasses
import subprocess
import sys

import pandas as pd
import pytest

from scalecheck.checks.finding import Effect, Finding, not_run
from scalecheck.examine import looks
from scalecheck.examine.looks import Look

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


@pytest.fixture
def folder(tmp_path):
    from scalecheck.files.layout import StudyFolder

    return StudyFolder(tmp_path)


def test_a_look_is_read_as_it_was_written(folder):
    look = Look([not_run("drift", "the prior is improper", weight=0.5), FINDING], TABLE)
    looks.write_look(folder, "increment-02", "this", look)
    found = looks.read_look(folder, "increment-02", "this")
    assert found is not None
    assert found.findings == look.findings
    assert found.surprised is not None
    pd.testing.assert_frame_equal(found.surprised[1], TABLE)


def test_a_look_of_another_identity_or_a_damaged_one_is_none(folder):
    assert looks.read_look(folder, "increment-02", "this") is None
    looks.write_look(folder, "increment-02", "this", Look([FINDING], TABLE))
    assert looks.read_look(folder, "increment-02", "other") is None
    path = folder.look("increment-02")
    path.write_text(path.read_text()[:-20])
    assert looks.read_look(folder, "increment-02", "this") is None


def test_another_error_rate_judges_the_same_look():
    look = Look([FINDING], TABLE)
    assert looks.reason_to_stop(look, 0.05) == FINDING.message
    assert looks.reason_to_stop(look, 0.001) == ""
    small = dataclasses.replace(FINDING, large=False)
    assert looks.reason_to_stop(Look([small], TABLE), 0.05) == ""


def test_to_read_and_judge_a_look_takes_no_jax():
    # `jax` itself may stand there: ArviZ loads it when it is first used.
    code = "import sys, scalecheck.pipeline.look; sys.exit('jax._src' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
