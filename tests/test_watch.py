"""The files of running fits, and the table that is made of them."""

import dataclasses
import io
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from recorded import recorded
from rich.console import Console
from told import told

from scalecheck.errors import StudyError
from scalecheck.files import formats, record
from scalecheck.files.formats import PlannedRow
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting.progress_log import line
from scalecheck.pipeline import status, watch
from scalecheck.results.totals import spent
from scalecheck.sampler import TimeLeft

SCRIPT = Path(__file__).parents[1] / "scripts/watch.py"
FITS = (
    "subset-01",
    "subset-02",
    "level-source-01",
    "level-year-01",
    "increment-01",
    "increment-02",
    "increment-03",
)
NOW = 1_700_000_000.0  # long ago, so that a file that a test writes is the newest


# ---- where fits stand


@pytest.fixture
def study(tmp_path):
    """A study whose fits are in every state."""
    folder = StudyFolder(tmp_path / "golf")
    rows = [PlannedRow(fit, "subset", "", "", 1000, 1000) for fit in FITS]
    (tmp_path / "golf").mkdir()
    formats.write_plan(folder.plan, rows)
    stalled = np.array([False, False, True, False])
    for fit, lines in {
        "subset-01": [told(), told(stalled=stalled, leapfrogs=np.array([7.0, 8, 412, 9]))],
        "subset-02": [told(iterations=np.full(4, 600), phase="sampling")],
        "level-source-01": [],
        "increment-01": [told(iterations=np.full(4, 600), phase="sampling")],
    }.items():
        path = folder.progress(fit)
        formats.write_text(path, "")
        for one in lines:
            formats.append_line(path, line(fit, 500, one))
        os.utime(path, (NOW - 5, NOW - 5))
    done = {"status": "done", "reason": "", "seconds": {"warmup": 8.0, "sampling": 9.0}}
    skipped = {"status": "skipped", "reason": "increment-01 (500 rows) was found to break"}
    stopped = {**done, "status": "stopped", "reason": "chain 2 stalled in warmup"}
    ended = {"increment-01": done, "increment-03": skipped, "level-year-01": stopped}
    for fit, known in ended.items():
        formats.write_json(folder.record(fit), record.as_json(recorded(fit, **known)))
        os.utime(folder.record(fit), (NOW - 4, NOW - 4))
    os.utime(folder.plan, (NOW - 60, NOW - 60))
    return folder


def states_of(study, now=NOW):
    return {one.fit: one for one in status.read_states(study, now)}


def test_every_state_is_told_from_the_files_and_what_runs_comes_first(study):
    assert {fit: one.state for fit, one in states_of(study).items()} == {
        "subset-01": "running",
        "level-source-01": "starting",
        "subset-02": "sampled",
        "increment-02": "waiting",
        "increment-01": "done",
        "level-year-01": "stopped",
        "increment-03": "skipped",
    }
    assert [one.state for one in status.read_states(study, NOW)] == list(status.STATES)


def test_a_clock_that_went_back_hides_no_record(study):
    os.utime(study.record("increment-01"), (NOW - 50, NOW - 50))
    assert states_of(study)["increment-01"].state == "done"


def test_a_running_fit_is_silent_after_a_minute_without_a_line(study):
    assert not any(one.is_silent for one in states_of(study).values())
    late = states_of(study, NOW + 300)
    assert [fit for fit, one in late.items() if one.is_silent] == ["subset-01", "level-source-01"]


def test_half_a_line_leaves_the_last_whole_one(study):
    with study.progress("subset-01").open("a") as file:
        file.write('{"fit":"subset-01","iter')
    assert states_of(study)["subset-01"].told["iterations"] == [100] * 4


@pytest.fixture
def ended(conjugate, tmp_path):
    """A study that has ended, with its verdict, and a clock that went back before the verdict."""
    shutil.copytree(conjugate.folder.path, tmp_path / "small")
    folder = StudyFolder(tmp_path / "small")
    found = [record.read(folder.record(row.fit)) for row in formats.read_plan(folder.plan)]
    took = spent(found, record.peek(folder.confirmation))
    formats.write_json(folder.verdict, took._asdict())
    os.utime(folder.verdict, (NOW - 1e6, NOW - 1e6))
    return folder


def is_over(folder):
    return status.is_over(folder, status.read_states(folder, NOW))


def test_it_is_over_when_the_verdict_says_what_the_fits_took_whatever_the_dates(ended):
    assert is_over(ended)
    ended.verdict.unlink()
    assert not is_over(ended)


def test_it_is_not_over_while_a_fit_is_made_again(ended):
    ended.record("subset-02").unlink()
    assert not is_over(ended)


def test_it_is_not_over_when_a_fit_was_made_again_since_the_verdict(ended):
    path = ended.record("subset-02")
    again = formats.read_json(path)
    again["seconds"]["sampling"] += 1e-6
    formats.write_json(path, again)
    assert not is_over(ended)


def test_it_is_not_over_when_more_is_planned_since_the_verdict(ended):
    plan = formats.read_plan(ended.plan)
    formats.write_plan(
        ended.plan, [*plan[:-1], dataclasses.replace(plan[-1], rows=plan[-1].rows + 1)]
    )
    assert not is_over(ended)


def test_it_is_not_over_while_nothing_is_decided(study):
    assert not is_over(study)
    formats.write_json(study.verdict, {})
    assert not is_over(study)


# ---- the table


def shown(study, width, now=NOW):
    """The table as text of so many columns, styles included."""
    console = Console(
        file=io.StringIO(), width=width, record=True, force_terminal=True, legacy_windows=False
    )
    console.print(watch.view("golf", status.read_states(study, now), console))
    return console


def test_the_table_shows_each_chain_and_marks_the_one_that_stalls(study):
    console = shown(study, 200)
    styled = console.export_text(styles=True, clear=False)
    header, stalled, *_, summary = console.export_text().splitlines()
    for heading in ("fit", "phase", "step size", "leapfrogs", "accept", "div", "cut", "metric"):
        assert heading in header
    assert "warmup 100/500" in stalled
    assert "7 8 412! 9" in stalled
    assert "0.12 0.12 0.12 0.12" in stalled
    assert "62 s (30 s..2 min)" in stalled
    assert "chain 2 stalls" in stalled
    (row,) = [text for text in styled.splitlines() if "subset-01" in text]
    assert "\x1b[1;31m" in row  # bold red
    assert summary.startswith("golf: 1 of 7 fits done, 1 running, 1 starting, 1 sampled, 1 waiting")
    assert summary.rstrip().endswith("left for those that run")


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 160])
def test_no_line_is_wider_than_the_terminal_and_every_fit_keeps_its_row(study, width):
    lines = shown(study, width).export_text().splitlines()
    assert all(len(text) <= width for text in lines)
    assert sum(text.startswith(("su", "lev", "in")) for text in lines) == len(FITS)
    if width >= 120:
        assert "chain 2 stalls" in "\n".join(lines)
        assert "7..412" in "\n".join(lines)


def test_what_is_silent_says_since_when(study):
    text = shown(study, 200, NOW + 300).export_text()
    assert text.count("no news for 5 min") == 2


def test_a_skip_gives_its_reason_and_a_fit_that_is_done_what_it_took(study):
    text = shown(study, 200).export_text()
    assert "increment-01 (500 rows) was fou…" in text
    assert "took 17 s" in text


def test_a_fit_without_lines_is_done_all_the_same(study):
    study.progress("increment-01").unlink()
    assert states_of(study)["increment-01"].state == "done"
    assert "took 17 s" in shown(study, 120).export_text()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((0.2, 0.4, 0.9), "1 s"),
        ((10.0, 20.0, 40.0), "20 s (10..40 s)"),
        ((10.0, 100.0, 1000.0), "100 s (10 s..17 min)"),
        ((3600.0, 9000.0, 20000.0), "2.5 h (60 min..5.6 h)"),
        ((None, None, None), ""),
    ],
)
def test_a_time_left_is_written_with_its_interval(seconds, expected):
    assert watch.interval(seconds) == expected


def test_the_summary_gives_the_time_of_the_fit_that_takes_longest(study):
    path = study.progress("subset-02")
    formats.append_line(
        path, line("subset-02", 500, told(seconds_left=TimeLeft(3.5, 600.5, 700.5)))
    )
    os.utime(path, (NOW - 5, NOW - 5))
    assert "10 min (30 s..12 min) left" in watch.summary("golf", status.read_states(study, NOW))


# ---- the program


def run_program(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["scalecheck-watch", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_once_prints_the_table_and_ends(study, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    run_program(monkeypatch, study.path, "--once")
    printed = capsys.readouterr().out
    assert "subset-01" in printed
    assert "golf: 1 of 7 fits done" in printed


def test_with_a_verdict_the_program_ends_by_itself(ended, monkeypatch, capsys):
    run_program(monkeypatch, ended.path)
    n_fits = len(formats.read_plan(ended.plan))
    assert f"small: {n_fits} of {n_fits} fits done" in capsys.readouterr().out


def test_ctrl_c_ends_it_quietly(study, monkeypatch, capsys):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupt)
    run_program(monkeypatch, study.path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (None, "{path}: no plan.csv: not the results of a study, or not planned yet"),
        ("a,b\n1,2\n", "{path}/plan.csv: not a plan of scalecheck: delete it and run again"),
        (
            "fit,kind,axis,level,rows,new_rows\nx,subset,,,many,0\n",
            "{path}/plan.csv: not a plan of scalecheck: delete it and run again",
        ),
    ],
)
def test_a_folder_that_is_none_of_a_study_is_an_error_in_one_line(
    tmp_path, monkeypatch, capsys, plan, expected
):
    if plan is not None:
        (tmp_path / "plan.csv").write_text(plan)
    with pytest.raises(SystemExit) as ended:
        run_program(monkeypatch, tmp_path, "--once")
    assert ended.value.code == 1
    assert capsys.readouterr().err == expected.format(path=tmp_path) + "\n"
    with pytest.raises(StudyError):
        status.read_states(StudyFolder(tmp_path), NOW)


def test_watching_imports_neither_jax_nor_what_reads_posteriors():
    code = "import sys, scalecheck.pipeline.watch; print({'jax', 'numpyro', 'xarray', 'pandas'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("set()\n", "")
