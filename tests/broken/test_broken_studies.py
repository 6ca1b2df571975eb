"""Broken studies, as a user meets them: one exact line, status 1, and nothing half-written."""

import os
import re
import sys
from pathlib import Path

import forks
import jax
import pytest
from broken_data import VALUES, at
from broken_files import FILES, as_text
from broken_models import MODELS, instead
from broken_settings import SETTINGS
from broken_study import CHECKOUT, Broken, refusal, write

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime.locks import claim_run

BROKEN = {
    f"{concept}: {name}": broken
    for concept, cases in (("settings", SETTINGS), ("data", FILES | VALUES), ("model", MODELS))
    for name, broken in cases.items()
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return an empty working directory; the programs and some models set what JAX reads."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "JAX_PLATFORMS",
        "JAX_ENABLE_X64",
        "JAX_COMPILATION_CACHE_DIR",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    ):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)
    monkeypatch.setenv("SCALECHECK_CACHE", str(tmp_path / "compiled"))
    precise = jax.config.read("jax_enable_x64")
    yield tmp_path
    jax.config.update("jax_enable_x64", precise)


def test_there_are_enough_of_them():
    assert len(BROKEN) >= 60
    assert len(THROUGH_SNAKEMAKE) >= 10


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_study_is_refused_in_one_line(name, folder, monkeypatch, capsys):
    broken = BROKEN[name]
    for variable, value in broken.environment.items():
        monkeypatch.setenv(variable, value)
    write(folder, broken)
    assert refusal(folder, monkeypatch, capsys) == (broken.step, broken.line)
    assert not (folder / "unpickled").exists()


# ---- what looks broken and is fine

LABELS = ("<script>alert(1)</script>", "=1+1", "../../x", "a\nb", "Köln", "城市", "-")

FINE = {
    "nothing wrong": Broken("", ""),
    "a byte order mark": Broken("", "", file=as_text(encoding="utf-8-sig")),
    "line ends of Windows": Broken("", "", file=as_text(lambda text: text.replace("\n", "\r\n"))),
    "a model with a byte order mark": Broken("", "", model="\ufeff" + instead("beta", "β")),
    "labels that could be programs": Broken(
        "",
        "",
        {"data": {"axes": ["site"]}, "subsets": {"levels": 8, "size": 20}},
        lambda frame: frame.assign(site=[LABELS[i % 7] for i in frame.index]),
    ),
    "axes that could be paths": Broken(
        "",
        "",
        {"data": {"axes": ["..", "../../x", "/etc/x", "a" * 300]}},
        lambda frame: frame.assign(
            **dict.fromkeys(["..", "../../x", "/etc/x", "a" * 300], frame.site)
        ),
    ),
    "an integer that int64 cannot hold": Broken("", "", data=at("patient", 7, 10**25)),
}


@pytest.mark.parametrize("name", FINE)
def test_a_study_that_only_looks_broken_is_not_refused(name, folder, monkeypatch, capsys):
    write(folder, FINE[name])
    with pytest.raises(AssertionError, match="nothing was refused"):
        pytest.fail(str(refusal(folder, monkeypatch, capsys)))
    assert {path.name for path in folder.iterdir()} <= {
        "data.csv",
        "model.py",
        "study.yaml",
        "results",
        "logs",
        "__pycache__",
        "compiled",
    }
    assert {path.name for path in (folder / "results").iterdir()} <= {"small", ".locks"}


# ---- the whole workflow, as it is run


def snakemake(folder, *options):
    """Run Snakemake as a user does, in a folder of their own."""
    command = [Path(sys.executable).with_name("snakemake"), "--snakefile", CHECKOUT / "Snakefile"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    options = ["--directory", folder, "--cores", "2", "--resources", "gpu=0", *options]
    return forks.snakemake([*command, *options], environment, folder)


def ours(output, line):
    """How often a line of ours is in what Snakemake shows."""
    return output.stderr.splitlines().count(line)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def study(concept, name):
    """A case of the table that is to be met through Snakemake."""
    return BROKEN[f"{concept}: {name}"]


# Those that are found before any job, each by a run of its own, and those that share one.
BEFORE_ANY_JOB = {"unknown": study("settings", "unknown key")}
IN_JOBS = {
    "latin": study("data", "latin-1"),
    "truncated": study("data", "half of a compressed one"),
    "twice": study("data", "a column twice"),
    "dims": study("data", "two dims in netCDF"),
    "nan": study("data", "NaN"),
    "misspelt": study("settings", "misspelt argument"),
    "syntax": study("model", "syntax error"),
    "raises": study("model", "it raises"),
    "large": study("settings", "subset larger than the data"),
}
THROUGH_SNAKEMAKE = BEFORE_ANY_JOB | IN_JOBS


@pytest.mark.slow
def test_snakemake_stops_before_any_job_on_a_wrong_study_file(tmp_path):
    broken = BEFORE_ANY_JOB["unknown"]
    write(tmp_path, broken)
    output = snakemake(tmp_path, "--configfile", "study.yaml")
    assert output.returncode == 1
    assert ours(output, f"{tmp_path}/{broken.line}") == 1
    assert "Traceback" not in output.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_snakemake_stops_before_any_fit_on_bad_data_models_and_sizes(tmp_path):
    # All in one run, each at a step of its own: one Snakemake costs more than they do.
    for name, broken in IN_JOBS.items():
        folder = tmp_path / f"{name} study"  # a path may have spaces
        folder.mkdir()
        write(folder, broken, study=name)
    names = ", ".join(f"{name} study/study.yaml" for name in IN_JOBS)
    output = snakemake(
        tmp_path, "--keep-going", "--configfile", config(tmp_path), "--config", f"studies=[{names}]"
    )
    assert output.returncode == 1
    for name, broken in IN_JOBS.items():
        line = re.sub(r"\b(data|model)\.(csv|nc|py)", rf"{name} study/\g<0>", broken.line)
        # As it happens, and once more at the end, after all that Snakemake says.
        assert ours(output, line) == 2, (line, output.stderr)
        assert line in output.stderr.splitlines()[-len(IN_JOBS) :]
    assert "Traceback" not in output.stderr
    assert not re.search(r"rule fit_\w+:", output.stderr)
    # Snakemake removes what a failed job wrote; what it was made from is known, and it is not made again.
    left = {path for path in files(tmp_path / "results") if not path.startswith(".")}
    settings = {f"{name}/settings.json" for name in IN_JOBS}
    kept = {path for path in left if "/.kept/" in path}
    assert left - kept == settings
    assert {path for path in kept if path.startswith("large/")} == {
        f"large/.kept/{name}"
        for name in ("data.nc", "data.identity.json", "model.json", "model.identity.json")
    }


@pytest.mark.slow
def test_a_second_run_on_the_same_results_is_refused_before_any_job(tmp_path):
    write(tmp_path, Broken("", ""), results=str(tmp_path / "shared"))
    with claim_run(StudyFolder(tmp_path / "shared" / "small")):
        output = snakemake(tmp_path, "--configfile", "study.yaml")
    assert output.returncode == 1
    line = (
        f"{tmp_path}/shared/small: another run (process {os.getpid()}) is writing there: let it end, or give this"
        " one a folder of its own by --config results=FOLDER"
    )
    assert ours(output, line) == 1, output.stderr
    assert "Traceback" not in output.stderr
    assert not (tmp_path / "shared" / "small").exists()


def config(folder):
    """Write the one line that tells Snakemake which study is the default one."""
    (folder / "config.yaml").write_text("study_file: study.yaml\n")
    return "config.yaml"
