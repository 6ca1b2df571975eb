"""The workflow as a user meets it: real Snakemake runs of a small study."""

import json
import math
import os
import re
import time
from pathlib import Path

import forks
import pandas as pd
import pytest
import xarray as xr
from clinics import MODEL, command, environment, rules_run, snakemake, write_study

FITS = {"fit_batch", "fit_increments"}


def later(path: Path) -> None:
    """Give a file a newer modification time, as a git checkout does."""
    os.utime(path, (time.time() + 5, time.time() + 5))


def test_a_killed_run_resumes_and_ends_with_a_verdict_and_a_page(killed_and_finished: Path) -> None:
    results = killed_and_finished / "results" / "clinics"
    verdict = json.loads((results / "verdict.json").read_text())
    assert verdict["study"] == "clinics"
    assert verdict["rows"]["total"] == 400
    assert (results / "report.html").read_text().startswith("<!DOCTYPE html>")
    plan = pd.read_csv(results / "plan.csv")
    assert list(plan.columns) == ["fit", "kind", "axis", "level", "rows", "new_rows", "start"]
    assert plan.kind.value_counts().to_dict() == {
        "subset": 3,
        "level": 2,
        "increment": 2,
    }
    assert sorted(p.parent.name for p in results.glob("fits/*/record.json")) == sorted(plan.fit)
    assert not list(results.rglob("*.part"))


def test_a_site_indexed_by_a_category_has_its_labels(killed_and_finished: Path) -> None:
    path = killed_and_finished / "results/clinics/fits/increment-02/posterior.nc"
    with xr.open_datatree(path) as tree:
        shift = tree["posterior"]["shift"]
        assert shift.dims == ("chain", "draw", "clinic")
        assert list(shift["clinic"].to_numpy()) == ["north", "south", "west"]


def test_a_fit_says_where_it_is(killed_and_finished: Path) -> None:
    log = (killed_and_finished / "logs/clinics/fits/increments.log").read_text().splitlines()
    line = re.compile(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d increment-02: (warmup|sampling) \d+/\d+, step size [\d.]+, "
        r"[\d.]+ leapfrogs per iteration, \d+ divergences, \d+ (s|min) left"
    )
    assert sum(bool(line.fullmatch(text)) for text in log) >= 4


def test_a_rerun_does_nothing(copy_of_finished: Path) -> None:
    run = snakemake(copy_of_finished)
    assert run.returncode == 0
    assert rules_run(run) == []


def test_a_checkout_of_the_same_content_runs_nothing(copy_of_finished: Path) -> None:
    for name in ("visits.csv", "model.py", "study.yaml"):
        later(copy_of_finished / name)
    assert rules_run(snakemake(copy_of_finished, "--dry-run")) == []


def test_a_table_is_made_by_the_program_of_the_study_and_its_error_is_one_line(
    tmp_path: Path,
) -> None:
    write_study(tmp_path)
    table, study = tmp_path / "visits.csv", tmp_path / "study.yaml"
    study.write_text(study.read_text().replace("visits.csv", "new/visits.csv\n  made_by: make.py"))
    program = tmp_path / "make.py"
    program.write_text("import sys\nsys.exit('make.py: needs a package')\n")
    run = snakemake(tmp_path, "--until", "prepare_study")
    assert run.returncode == 1
    assert run.stderr.count("\nmake.py: needs a package\n") == 1
    assert "Traceback" not in run.stderr
    program.write_text(f"import shutil, sys\nshutil.copy({str(table)!r}, sys.argv[1])\n")
    run = snakemake(tmp_path, "--until", "prepare_study")
    assert run.returncode == 0, run.stderr
    assert rules_run(run) == ["make_table", "prepare_study"]
    assert rules_run(snakemake(tmp_path, "--until", "prepare_study")) == []


def test_a_changed_model_refits(copy_of_finished: Path) -> None:
    (copy_of_finished / "model.py").write_text(MODEL.replace("1.5", "1.4"))
    # Up to the checkpoint, after which Snakemake knows the fits.
    run = snakemake(copy_of_finished, "--until", "prepare_study")
    assert run.returncode == 0, run.stderr
    assert set(rules_run(snakemake(copy_of_finished, "--dry-run"))) >= FITS


def test_what_only_the_verdict_uses_refits_nothing(copy_of_finished: Path) -> None:
    page = Path(copy_of_finished / "results/clinics/report.html")
    page.unlink()
    ran = rules_run(snakemake(copy_of_finished, "--dry-run"))
    assert set(ran) == {"judge_study", "all"}


def test_results_move_by_config(copy_of_finished: Path) -> None:
    ran = snakemake(copy_of_finished, "--config", "results=elsewhere", "--until", "prepare_study")
    assert ran.returncode == 0, ran.stderr
    assert (copy_of_finished / "elsewhere/clinics/plan.csv").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"size: 60": "size: 6000"}, "subsets.size must be at most the 400 rows"),
        ({"outcome: recovered": "outcome: recoverd"}, "has no argument recoverd"),
    ],
)
def test_a_broken_setting_is_one_line_and_no_fit(
    copy_of_finished: Path, change: dict[str, str], expected: str
) -> None:
    study = (copy_of_finished / "study.yaml").read_text()
    for old, new in change.items():
        study = study.replace(old, new)
    (copy_of_finished / "study.yaml").write_text(study)
    run = snakemake(copy_of_finished)
    assert run.returncode == 1
    lines = run.stderr.splitlines()
    # As it happens, and as the last that a user sees.
    assert len([line for line in lines if expected in line]) == 2
    assert expected in lines[-1]
    assert "Traceback" not in run.stderr
    assert not FITS & set(rules_run(run))


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ([], {"--gpu 0 --gres="}),
        (["--resources", "gpu=2"], {"--gpu 1 --gres="}),
        # A cluster that knows GPUs as gres alone.
        (
            ["--resources", "gpu=0", "--set-resources", "fit_batch:gres=gpu:1"],
            {"--gpu 0 --gres=", "--gpu 0 --gres=gpu:1"},
        ),
    ],
)
def test_a_fit_asks_for_a_gpu_where_snakemake_was_told_of_one(
    copy_of_finished: Path, options: list[str], given: set[str]
) -> None:
    rules = sorted(FITS | {"judge_study"})
    run = snakemake(copy_of_finished, "-n", "-p", *options, "--forcerun", *rules)
    assert set(re.findall(r"--gpu \d --gres=\S*", run.stdout)) == given


def test_jobs_ask_for_the_memory_and_the_time_of_their_own_fits(copy_of_finished: Path) -> None:
    run = snakemake(copy_of_finished, "-n", "--forcerun", *sorted(FITS | {"judge_study"}))
    model = json.loads((copy_of_finished / "results/clinics/model.json").read_text())
    # Of any number of rows: there are few, and all of a job run at once.
    one_fit = model["demand"]["held"]["fixed"] + model["demand"]["running"]["fixed"]
    # Five subsets and levels; one increment at a time; and the check of all seven.
    expected = [2000 + math.ceil(2 * n * one_fit / 1e6) for n in (5, 1, 7)]
    assert sorted(map(int, re.findall(r"mem_mb=(\d+)", run.stdout))) == sorted(expected)
    assert sorted(re.findall(r"runtime=(\d+)", run.stdout)) == ["30", "30"]


def test_few_small_fits_are_one_job_of_those_that_choose_themselves(copy_of_finished: Path) -> None:
    run = snakemake(copy_of_finished, "-n", "--config", "batches=auto")
    assert not FITS & set(rules_run(run))


def test_programs_are_found_without_an_activated_environment(
    copy_of_finished: Path, tmp_path: Path
) -> None:
    bare = environment(copy_of_finished) | {"PATH": "/usr/bin:/bin"}
    again = ("--forcerun", "judge_study")
    run = forks.snakemake(command(copy_of_finished, *again), bare, copy_of_finished)
    assert run.returncode == 0, run.stderr
    assert rules_run(run) == ["judge_study", "all"]


def test_settings_are_written_where_they_change_and_by_no_dry_run(copy_of_finished: Path) -> None:
    path = copy_of_finished / "results/clinics/settings.json"
    before = path.stat()
    snakemake(copy_of_finished, "-n", "--config", "seed=8")
    assert path.stat() == before
    path.unlink()
    run = snakemake(copy_of_finished, "-n", "-p", "--config", "seed=8")
    assert not path.exists()
    commands = [line for line in run.stdout.splitlines() if "scalecheck-" in line]
    assert len(commands) == 2
    assert max(map(len, commands)) < 250
