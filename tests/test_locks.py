"""Two processes never write the same thing, and what cannot be written is said in one line."""

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from scalecheck.errors import StudyError
from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline import remedies
from scalecheck.runtime import failures, program
from scalecheck.runtime.locks import claim, claim_run

HOLDER = """
import sys
from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import locks
folder = StudyFolder(sys.argv[1])
held = locks.claim(folder, sys.argv[2:]) if sys.argv[2:] else locks.claim_run(folder)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Processes that claim something until they are killed."""
    begun = []

    def start(folder, *names):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
        )
        begun.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def test_what_another_process_writes_is_refused_until_that_is_killed(tmp_path, hold):
    folder = StudyFolder(tmp_path / "results" / "small")
    other = hold(folder.path, "subset-01", "subset-02")
    with claim(folder, ["subset-03", "increment-01"]):
        pass
    with pytest.raises(StudyError) as caught:
        claim(folder, ["subset-03", "subset-02"])
    assert str(caught.value) == (
        f"{folder.path}: subset-02 is being written by another job (process {other.pid}): let it end, or end it,"
        " and run again"
    )
    other.kill()
    other.wait()
    with claim(folder, ["subset-02"]):
        pass


def test_a_second_run_is_refused_from_any_working_directory(tmp_path, hold, monkeypatch):
    other = hold(tmp_path / "results" / "small")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(StudyError) as caught:
        claim_run(StudyFolder("../results/small"))
    assert str(caught.value) == (
        f"../results/small: another run (process {other.pid}) is writing there: let it end, or give this one a"
        " folder of its own by --config results=FOLDER"
    )
    with claim(StudyFolder("../results/small"), ["subset-01"]):  # its own jobs write
        pass
    with claim_run(StudyFolder("../results/other")):
        pass


def settings_in(folder):
    """Write settings of nothing, and give their file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text("{}")
    return folder / "settings.json"


def test_a_program_that_is_refused_leaves_the_log_of_the_other(tmp_path, hold, monkeypatch, capsys):
    log = tmp_path / "prepare.log"
    log.write_text("lines of the other\n")
    other = hold(tmp_path / "small", "scalecheck-prepare")
    options = ["--settings", str(settings_in(tmp_path / "small")), "--log", str(log)]
    monkeypatch.setattr(sys, "argv", ["scalecheck-prepare", *options])
    with pytest.raises(SystemExit) as ended:
        program.main("scalecheck-prepare", None, lambda options, log: pytest.fail("it ran"))
    assert ended.value.code == 1
    line = f"{tmp_path}/small: scalecheck-prepare is being written by another job (process {other.pid}): "
    assert capsys.readouterr().err.startswith(line)
    assert log.read_text() == "lines of the other\n"


@pytest.mark.parametrize("refused", ["settings", "part", "claim"])
def test_what_fails_before_its_log_is_opened_is_told_there_unless_a_log_is_there(
    tmp_path, hold, monkeypatch, capsys, refused
):
    log, told = tmp_path / "logs" / "fit.log", tmp_path / "snakemake.log"
    told.write_text(f"    log: {log} (check log file(s) for error details)\n")
    options = ["--settings", str(settings_in(tmp_path / "small")), "--log", str(log)]
    if refused == "settings":
        options += ["--digest", "seed:0"]
    elif refused == "claim":
        hold(tmp_path / "small", "scalecheck-fit")

    def fits(options):
        if refused == "part":
            raise StudyError("--part must be like 2-of-5, got 3")
        return ()

    monkeypatch.setattr(sys, "argv", ["scalecheck-fit", *options])
    for content in (None, "lines of the other\n"):
        if content:
            log.write_text(content)
        with pytest.raises(SystemExit):
            program.main("scalecheck-fit", None, lambda *_: pytest.fail("it ran"), fits=fits)
        line = capsys.readouterr().err.strip()
        assert failures.lines_of([told]) == ([] if content else [line])
    assert log.read_text() == "lines of the other\n"


def test_a_search_is_refused_while_another_process_searches(tmp_path, conjugate, hold, monkeypatch):
    log = tmp_path / "search.log"
    log.write_text("lines of the other\n")
    other = hold(tmp_path / "small", "scalecheck-remedies")
    monkeypatch.setattr(remedies.read_study, "read_study", lambda path: conjugate.study)
    monkeypatch.setattr(remedies, "StudyFolder", lambda path: StudyFolder(tmp_path / "small"))
    options = Namespace(gradients=None, target=None, study="study.yaml", log=log)
    with pytest.raises(StudyError) as caught:
        remedies.run(options)
    assert str(caught.value) == (
        f"{tmp_path}/small: scalecheck-remedies is being written by another job (process {other.pid}): let it end,"
        " or end it, and run again"
    )
    assert log.read_text() == "lines of the other\n"


# ---- folders that cannot be written


@pytest.fixture
def as_nobody(tmp_path, monkeypatch):
    """The rights of a user who has none, in a folder that others may read."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)

    def become():
        os.seteuid(65534)

    yield become
    os.seteuid(0)


@pytest.mark.parametrize("made", [".", "results", "results/small"])
def test_a_folder_that_cannot_be_written_is_named_before_anything_runs(as_nobody, made):
    Path(made).mkdir(parents=True, exist_ok=True)
    as_nobody()
    for refused in (claim_run, lambda folder: claim(folder, ["subset-01"])):
        with pytest.raises(StudyError) as caught:
            refused(StudyFolder("results/small"))
        assert str(caught.value) == (
            f"{made}: cannot be written: Permission denied: mend its permissions, or give another folder by"
            " --config results=FOLDER"
        )


def test_a_results_folder_of_somebody_else_is_named(as_nobody):
    folder = StudyFolder("results/small")
    with claim_run(folder):
        folder.path.mkdir()
        folder.path.chmod(0o777)
    as_nobody()
    with pytest.raises(StudyError, match=r"^results/.locks/small: cannot be written: Permission"):
        claim_run(folder)


def test_a_file_that_cannot_be_written_ends_a_program_in_one_line(as_nobody, monkeypatch, capsys):
    from scalecheck.files import formats

    folder = StudyFolder("results/small")
    folder.record("subset-01").parent.mkdir(parents=True)
    for path in (Path("results"), folder.path):
        path.chmod(0o777)
    options = ["--settings", str(settings_in(folder.path))]
    monkeypatch.setattr(sys, "argv", ["scalecheck-fit", *options])
    as_nobody()
    with pytest.raises(SystemExit) as ended:
        program.main(
            "scalecheck-fit",
            None,
            lambda options, log: formats.write_json(folder.record("subset-01"), {}),
        )
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "results/small/fits/subset-01/record.json: cannot be written: Permission denied: mend its permissions, or"
        " give another folder by --config results=FOLDER\n"
    )
