"""The workflow as a user meets it: real Snakemake runs of a small study."""

import json
import math
import os
import re
import time
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr
from clinics import MODEL, rules_run, snakemake, write_study

FITS = {"fit_subsets", "fit_axis", "fit_increment"}


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
        "axis": 1,
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
    log = (killed_and_finished / "logs/clinics/fits/increment-02.log").read_text().splitlines()
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
    run = snakemake(tmp_path, "--until", "prepare_data")
    assert run.returncode == 1
    assert run.stderr.count("\nmake.py: needs a package\n") == 1
    assert "Traceback" not in run.stderr
    program.write_text(f"import shutil, sys\nshutil.copy({str(table)!r}, sys.argv[1])\n")
    run = snakemake(tmp_path, "--until", "prepare_data")
    assert run.returncode == 0, run.stderr
    assert rules_run(run) == ["make_table", "prepare_data"]
    assert rules_run(snakemake(tmp_path, "--until", "prepare_data")) == []


def test_a_changed_model_refits(copy_of_finished: Path) -> None:
    (copy_of_finished / "model.py").write_text(MODEL.replace("1.5", "1.4"))
    # Up to the checkpoint, after which Snakemake knows the fits.
    run = snakemake(copy_of_finished, "--until", "plan_fits")
    assert run.returncode == 0, run.stderr
    assert set(rules_run(snakemake(copy_of_finished, "--dry-run"))) >= FITS


@pytest.mark.long
def test_a_changed_number_of_subsets_refits_no_increment(copy_of_finished: Path) -> None:
    records = {
        path: path.read_bytes()
        for path in copy_of_finished.glob("results/clinics/fits/[ai]*/record.json")
    }
    run = snakemake(copy_of_finished, "--config", "subsets={count: 4, size: 60, levels: 2}")
    assert run.returncode == 0, run.stderr
    ran = rules_run(run)
    assert "fit_subsets" in ran
    assert not {"fit_increment", "fit_axis", "prepare_data"} & set(ran)
    assert all(path.read_bytes() == content for path, content in records.items())
    assert (copy_of_finished / "results/clinics/fits/subset-04/record.json").exists()


@pytest.mark.parametrize("budget", ["{price_per_hour: 2.5}", "{seconds: 0.001}", "{seconds: 9000}"])
def test_another_budget_refits_nothing_that_is_done(copy_of_finished: Path, budget: str) -> None:
    run = snakemake(copy_of_finished, "--dry-run", "--config", f"budget={budget}")
    # Only a budget of seconds can ask for an approximation.
    approximates = {"approximate"} if "seconds" in budget else set()
    assert set(rules_run(run)) == {"decide_verdict", "write_report", "all"} | approximates


def test_another_budget_asks_again_what_was_skipped(copy_of_finished: Path) -> None:
    record = copy_of_finished / "results/clinics/fits/increment-02/record.json"
    record.write_text(record.read_text().replace('"done"', '"skipped"'))
    run = snakemake(copy_of_finished, "--dry-run", "--config", "budget={seconds: 9000}")
    assert rules_run(run).count("fit_increment") == 1


def test_what_only_the_verdict_uses_refits_nothing(copy_of_finished: Path) -> None:
    page = Path(copy_of_finished / "results/clinics/report.html")
    page.unlink()
    ran = rules_run(snakemake(copy_of_finished, "--dry-run"))
    assert set(ran) == {"write_report", "all"}


def test_results_move_by_config(copy_of_finished: Path) -> None:
    ran = snakemake(copy_of_finished, "--config", "results=elsewhere", "--until", "plan_fits")
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
    ours = [line for line in run.stderr.splitlines() if expected in line and line[0] != " "]
    assert len(ours) == 1
    assert "Traceback" not in run.stderr
    assert not FITS & set(rules_run(run))


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ([], {"--gpu 0 --gres="}),
        (["--resources", "gpu=2"], {"--gpu 1 --gres="}),
        # A cluster that knows GPUs as gres alone.
        (
            ["--resources", "gpu=0", "--set-resources", "fit_axis:gres=gpu:1"],
            {"--gpu 0 --gres=", "--gpu 0 --gres=gpu:1"},
        ),
    ],
)
def test_a_fit_asks_for_a_gpu_where_snakemake_was_told_of_one(
    copy_of_finished: Path, options: list[str], given: set[str]
) -> None:
    rules = sorted(FITS | {"confirm_effort"})
    run = snakemake(copy_of_finished, "-n", "-p", *options, "--forcerun", *rules)
    assert set(re.findall(r"--gpu \d --gres=\S*", run.stdout)) == given


def test_jobs_ask_for_the_memory_and_the_time_of_their_own_fits(copy_of_finished: Path) -> None:
    rules = sorted(FITS | {"confirm_effort", "check_fits"})
    run = snakemake(copy_of_finished, "-n", "--forcerun", *rules)
    model = json.loads((copy_of_finished / "results/clinics/model.json").read_text())
    # Of any number of rows: there are few, and all of a job run at once.
    one_fit = model["demand"]["held"]["fixed"] + model["demand"]["running"]["fixed"]
    # Five subsets and levels, a pooled fit, two increments, the fit that confirms and the check of all eight.
    expected = [2000 + math.ceil(2 * n * one_fit / 1e6) for n in (5, 1, 1, 1, 1, 8)]
    assert sorted(map(int, re.findall(r"mem_mb=(\d+)", run.stdout))) == sorted(expected)
    # The first increment knows nothing, the second what the first one took; batches guess by their shapes.
    assert sorted(re.findall(r"runtime=(\d+)", run.stdout)) == ["240", "30", "30", "30"]


def test_few_small_fits_are_one_job_of_those_that_choose_themselves(copy_of_finished: Path) -> None:
    run = snakemake(copy_of_finished, "-n", "--config", "batches=auto")
    assert not FITS & set(rules_run(run))
