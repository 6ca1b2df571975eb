"""What comes before and after the fits is done once for the same data, model, settings and fits."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest

from scalecheck.errors import StudyError
from scalecheck.files import checksums, formats
from scalecheck.files.layout import TABLES, StudyFolder
from scalecheck.pipeline import (
    approximate,
    approximate_once,
    check,
    check_study,
    judge_study,
    prepare,
    prepare_study,
    simulate,
)
from scalecheck.pipeline.assignment import Assignment
from scalecheck.simulation import simulated_findings
from scalecheck.study.settings import write_settings

OUTPUTS = ("data.nc", "model.json", "plan.csv")


@pytest.fixture
def study(conjugate, tmp_path, monkeypatch):
    """A copy of the small study and its files, with the fits of now, to be changed."""
    home = Path(shutil.copytree(conjugate.folder.path.parents[1], tmp_path / "home"))
    monkeypatch.chdir(home)
    for name in ("JAX_PLATFORMS", "JAX_ENABLE_X64", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # which the programs set
    data = dataclasses.replace(conjugate.study.data, file=str(home / "data.csv"))
    model = dataclasses.replace(conjugate.study.model, file=str(home / "model.py"))
    own = dataclasses.replace(conjugate.study, data=data, model=model)
    folder = StudyFolder(home / "results" / "small")
    return conjugate._replace(study=own, folder=folder)


def forbid(monkeypatch, module, name):
    def fail(*arguments, **options):
        pytest.fail(f"{name} was called")

    monkeypatch.setattr(module, name, fail)


def prepared(small, **changes):
    """Prepare as the program does, after Snakemake has deleted the outputs; give what the log says."""
    lines = []
    for name in OUTPUTS:
        (small.folder.path / name).unlink(missing_ok=True)
    prepare_study.prepare_study(
        small.folder, dataclasses.replace(small.study, **changes), lines.append
    )
    assert all((small.folder.path / name).exists() for name in OUTPUTS)
    return lines


def test_what_was_prepared_is_prepared_once(study, monkeypatch):
    prepared(study)
    before = [(study.folder.path / name).read_bytes() for name in OUTPUTS]
    forbid(monkeypatch, prepare, "write_data")
    forbid(monkeypatch, check_study, "write_model")
    later = Path(study.study.data.file).stat().st_mtime + 100
    for path in (study.study.data.file, study.study.model.file):
        os.utime(path, (later, later))
    with Path(study.study.model.file).open("a") as file:
        file.write("# a comment\n")
    verdict = dataclasses.replace(study.study.verdict, alpha=0.1)
    lines = prepared(study, verdict=verdict)
    assert lines[:2] == [
        "the data are the same, and are not read again",
        "the model is the same, and is not checked again",
    ]
    assert [(study.folder.path / name).read_bytes() for name in OUTPUTS] == before


@pytest.mark.parametrize("change", ["value", "axis", "seed"])
def test_other_data_or_settings_are_read_again(study, monkeypatch, change):
    monkeypatch.setattr(check_study, "write_model", lambda folder, *more: folder.model.touch())
    monkeypatch.setattr(prepare_study.plan, "write_plan", lambda folder, *more: folder.plan.touch())
    prepared(study)
    settings = {}
    if change == "value":
        path = Path(study.study.data.file)
        path.write_text(pd.read_csv(path).assign(x=2.0).to_csv(index=False))
    elif change == "axis":
        settings["data"] = dataclasses.replace(study.study.data, axes=())
    else:
        settings["seed"] = study.study.seed + 1
    lines = prepared(study, **settings)
    assert "the data are the same, and are not read again" not in lines
    assert any(line.startswith("214 rows of ") for line in lines)


def test_what_was_kept_takes_no_room_while_another_is_made(study, monkeypatch):
    prepared(study)
    judged(study)
    seen = []

    def spy(module, name):
        write = getattr(module, name)

        def called(folder, *more):
            second = [path.name for path in folder.path.rglob(".kept/*")]
            seen.append([one for one in second if not one.endswith(".identity.json")])
            return write(folder, *more)

        monkeypatch.setattr(module, name, called)

    spy(prepare, "write_data")
    spy(check_study, "write_model")
    spy(check, "write_checks")
    prepared(study, seed=study.study.seed + 1)
    judged(study, seed=study.study.seed + 1)
    of_data, of_model, of_checks = map(set, seen)
    assert "data.nc" not in of_data
    assert {"data.nc", "model.json"} & of_model == {"data.nc"}
    assert not of_checks & {study.folder.table(name).name for name in TABLES}


def judged(small, **changes):
    """Judge as the program does, after Snakemake has deleted the outputs; give what the log says."""
    lines = []
    write_settings(small.folder.settings, dataclasses.replace(small.study, **changes))
    for name in TABLES:
        small.folder.table(name).unlink(missing_ok=True)
    path = small.folder.settings
    options = Namespace(settings=path, digest="", folder=small.folder.path, gpu=0, gres="")
    judge_study.judge_study(options, lines.append)
    assert all(small.folder.table(name).exists() for name in TABLES)
    assert small.folder.report.exists()
    return lines


def test_the_same_fits_are_checked_once_whatever_is_made_of_what_was_found(study, monkeypatch):
    judged(study)
    before = {name: small_bytes(study, name) for name in TABLES}
    forbid(monkeypatch, check, "write_checks")
    verdict = dataclasses.replace(study.study.verdict, alpha=0.2)
    budget = dataclasses.replace(study.study.budget, price_per_hour=2.0)
    assert "the fits are the same, and are not checked again" in judged(
        study, verdict=verdict, budget=budget, batches=3
    )
    assert {name: small_bytes(study, name) for name in TABLES} == before
    assert formats.read_json(study.folder.verdict)["alpha"] == 0.2


def editing(small):
    """Give what edits the model of a study in place of a computation."""

    def edit(*given):
        path = Path(small.study.model.file)
        path.write_text(path.read_text() + "\nWIDTH = 2\n")

    return edit


def test_a_model_that_is_edited_while_it_is_checked_is_not_known(study, monkeypatch):
    monkeypatch.setattr(check_study, "write_model", editing(study))
    with pytest.raises(StudyError, match=r"model\.py: changed while the study ran: run again"):
        prepared(study)
    assert not study.folder.known("model").exists()


def test_what_was_checked_while_the_model_was_edited_is_not_kept(study, monkeypatch):
    monkeypatch.setattr(check, "write_checks", editing(study))
    with pytest.raises(StudyError, match=r"model\.py: changed while the study ran: run again"):
        judged(study)
    assert not study.folder.known("checks").exists()


def small_bytes(small, name):
    return small.folder.table(name).read_bytes()


def test_what_a_record_says_of_settings_and_looks_is_no_news_to_the_checks(study):
    record = checksums.read_record(study.folder, "increment-02")
    before = judge_study.identify_checks(study.folder, study.study)
    changed = dataclasses.replace(record, looked="another digest", settings={"seed": 1})
    checksums.write_record(study.folder, changed)
    assert judge_study.identify_checks(study.folder, study.study) == before
    checksums.write_record(study.folder, dataclasses.replace(changed, stop="broke"))
    assert judge_study.identify_checks(study.folder, study.study) != before


def begun(small, open_job, **changes):
    own = dataclasses.replace(small.study, **changes)
    raw = json.loads(own.sections())
    return Assignment(small.folder, own, raw, "cpu", lambda line: None, open_job)


def pretend_simulated(small, monkeypatch):
    table = pd.DataFrame({"data_set": [0], "p": [0.5]})
    monkeypatch.setattr(simulated_findings, "simulate_findings", lambda *given: table)
    return simulate.write_simulated, [small.folder.table("simulated_findings")]


def pretend_approximated(small, monkeypatch):
    files = [small.folder.approximation, small.folder.approximate_posterior]

    def write(job):
        for path in files:
            path.write_text("made")

    monkeypatch.setattr(approximate, "write_approximation", write)
    return approximate_once.approximate_once, files


@pytest.mark.parametrize("pretend", [pretend_simulated, pretend_approximated])
def test_what_comes_of_the_same_fits_is_made_once(study, monkeypatch, pretend):
    run, files = pretend(study, monkeypatch)
    opened = []

    def open_job():
        opened.append(True)
        return study.job()

    run(begun(study, open_job))
    before = [path.read_bytes() for path in files]
    files[0].unlink()  # as Snakemake does
    model = Path(study.study.model.file)
    model.write_text(model.read_text() + "# a comment\n")
    record = checksums.read_record(study.folder, "increment-02")
    changed = dataclasses.replace(record, looked="another digest", settings={"seed": 1})
    checksums.write_record(study.folder, changed)
    run(begun(study, open_job, batches=3, remedies="auto"))
    assert [path.read_bytes() for path in files] == before
    assert len(opened) == 1
    run(begun(study, open_job, seed=2))
    assert len(opened) == 2


def test_all_rows_are_approximated_while_subsets_are_still_fitted(study, monkeypatch):
    run, files = pretend_approximated(study, monkeypatch)
    study.folder.record("subset-01").unlink()
    run(begun(study, study.job))
    assert all(path.exists() for path in files)


def test_where_the_fits_were_checked_a_verdict_needs_no_jax(study):
    judged(study)
    code = (
        "import sys; from argparse import Namespace; from pathlib import Path\n"
        "from scalecheck.pipeline.judge_study import judge_study\n"
        "folder = Path(sys.argv[1])\n"
        "path = folder / 'settings.json'\n"
        "options = Namespace(settings=path, digest='', folder=folder, gpu=0, gres='')\n"
        "judge_study(options, lambda line: None)\n"
        "print('jax._src' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(study.folder.path)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "False"
