"""The bench of whole runs counts what it says that it counts, and goes on where it was stopped."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import simulated_tables  # noqa: E402
import time_to_verdict  # noqa: E402
import whole_runs  # noqa: E402
from whole_runs import Tree  # noqa: E402

# A program of the environment: what it compiles is found by the next.
PROGRAM = """
import jax
import jax.numpy as jnp
jax.jit(lambda x: x @ x.T)(jnp.ones((3, 4)))
"""


def test_programs_and_what_they_compile_or_read_are_counted(tmp_path):
    counts = tmp_path / "cold.counts"
    environment = os.environ | {
        "PYTHONPATH": str(BENCHMARKS / "counting"),
        "SCALECHECK_COUNTS": str(counts),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    found = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True)
        found.append(whole_runs.count(counts, 3.0, 2.0))
        counts.unlink()
    cold, warm = found
    assert (cold.programs, warm.programs) == (1, 1)
    assert cold.compiled == warm.read > 0
    assert cold.read == warm.compiled == 0
    assert cold.compile_seconds > warm.compile_seconds == 0.0
    assert (cold.wall_seconds, cold.cpu_seconds) == (3.0, 2.0)


def test_snakemake_is_no_program_of_a_run(tmp_path):
    (tmp_path / "cold.counts").write_text(
        "start\tpython /x/bin/snakemake --cores\nstart\tpython /x/bin/scalecheck-fit --part\n"
        "compiled\t0.25\tadvance\ncompiled\t0.5\tadvance\nread\t0.1\tinit\n"
    )
    found = whole_runs.count(tmp_path / "cold.counts", 1.0, 1.0)
    assert found == whole_runs.RunCost(1.0, 1.0, 1, 2, 1, 0.75)
    names = whole_runs.compiled_names(tmp_path, "cold")
    assert names.to_dict("index") == {"advance": {"times": 2, "seconds": 0.75}}


def test_a_run_that_fails_says_how_it_ended(tmp_path):
    program = tmp_path / "snakemake"
    program.write_text("#!/bin/sh\necho the reason >&2\nexit 3\n")
    program.chmod(0o755)
    tree = Tree("abc", tmp_path, tmp_path)
    with pytest.raises(whole_runs.RunFailed, match=r"(?s)^status 3 after \d+ s\nthe reason$"):
        whole_runs.run(tree, tmp_path, "golf", "cold", 1, 60.0)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A table of results with the lines of one study of two commits."""
    monkeypatch.setattr(time_to_verdict, "RESULTS", tmp_path / "results.csv")
    about = {"date": "2026-11-29", "python": "3.13.0", "jax": "0.12", "numpyro": "0.22", "cores": 2}
    about |= {"load_before": 0.5, "study": "golf"}
    for repeat in range(3):
        for commit, factor in (("0012345", 1), ("abc", 2)):
            for cache, wall in (("cold", 50), ("warm", 30)):
                cost = {"wall_seconds": factor * (wall + repeat**2), "cpu_seconds": 9.0}
                cost |= {"programs": 3, "compiled": 40, "commit": commit, "cache": cache}
                time_to_verdict.add([about | cost | {"repeat": repeat}])
    return tmp_path / "results.csv"


def test_what_is_there_is_not_measured_again(results):
    tree = Tree("0012345", Path(), Path())
    assert time_to_verdict.missing(tree, ["golf", "weldon"], 4) == [
        (0, "weldon"),
        (1, "weldon"),
        (2, "weldon"),
        (3, "golf"),
        (3, "weldon"),
    ]
    assert len(pd.read_csv(results)) == 12


def test_medians_stand_beside_those_of_the_other_commit_in_the_page(results, monkeypatch):
    page = results.with_name("page.md")
    page.write_text("above\n{}\nsuperseded\n{}\nbelow\n".format(*time_to_verdict.MARKS))
    monkeypatch.setattr(time_to_verdict, "DOCUMENT", page)
    time_to_verdict.write_document(time_to_verdict.table(["0012345", "abc"]))
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("below\n") and "superseded" not in text
    assert "| golf | cold | 51 | 9 | 3 | 40 | 102 | 9 | 3 | 40 |" in text
    assert "| golf | warm | 31 | 9 | 3 | 40 | 62 | 9 | 3 | 40 |" in text


def test_the_page_has_the_marks():
    assert all(
        time_to_verdict.DOCUMENT.read_text().count(mark) == 1 for mark in time_to_verdict.MARKS
    )


def test_the_simulated_counts_have_the_dispersion_that_is_told():
    boys = simulated_tables.binomial(200_000)["boys"]
    mean = boys.mean()
    assert boys.var() / (mean * (1 - mean / 12)) == pytest.approx(
        1.165, abs=0.02
    )  # 4 standard errors
    assert len(simulated_tables.binomial()) == 6115
