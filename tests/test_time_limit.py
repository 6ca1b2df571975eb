"""What never ends is ended, in Python or below it, and said in one line."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scalecheck.errors import StudyError
from scalecheck.runtime import time_limit

COMPILED = """
import sys
from pathlib import Path
import jax
from scalecheck.runtime import program, time_limit
time_limit._PATIENCE = 0.5
forever = jax.jit(lambda: jax.lax.while_loop(lambda i: i >= 0, lambda i: (7 * i + 1) % 1000, 3))
with program.logged(Path("program.log") if "log" in sys.argv else None), time_limit.limited(Path("model.py")):
    forever().block_until_ready()
"""


@pytest.mark.parametrize("log", ["log", "stderr"])
def test_what_computes_below_python_is_ended_too(tmp_path, log):
    own = os.environ | {"SCALECHECK_MODEL_SECONDS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", COMPILED, log],
        cwd=tmp_path,
        env=own,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    line = (
        "model.py: has not ended after 1 s (the environment variable SCALECHECK_MODEL_SECONDS changes how long it"
        " may take)\n"
    )
    assert (found.returncode, found.stdout, found.stderr) == (1, "", line)
    if log == "log":
        assert (tmp_path / "program.log").read_text().endswith(line)


def test_inside_another_limit_there_is_that_one_alone(monkeypatch):
    monkeypatch.setenv("SCALECHECK_MODEL_SECONDS", "0.2")
    with pytest.raises(StudyError, match=r"^outer.py"), time_limit.limited(Path("outer.py")):
        with time_limit.limited(Path("inner.py")):
            pass
        while True:
            time.sleep(0.01)


def test_what_ends_in_time_leaves_no_alarm(monkeypatch):
    monkeypatch.setenv("SCALECHECK_MODEL_SECONDS", "0.1")
    with time_limit.limited(Path("model.py")):
        pass
    time.sleep(0.3)
