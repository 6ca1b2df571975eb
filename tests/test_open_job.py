"""The settings of a job are read once: those with which it began."""

import dataclasses
import os
from argparse import Namespace

import pytest

from scalecheck.errors import StudyError
from scalecheck.pipeline import open_job
from scalecheck.study import read_study, settings

GIVEN = {
    "study": "small",
    "seed": 1,
    "data": {"file": "data.csv", "outcome": "y"},
    "model": {"file": "model.py"},
    "subsets": {"count": 2, "size": 30},
}


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Settings on disk, and the options of a program that is given them."""
    for name in ("JAX_PLATFORMS", "JAX_ENABLE_X64", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # which opening a job sets
    for name in ("data.csv", "model.py"):
        (tmp_path / name).touch()
    study = read_study.build(GIVEN, str(tmp_path / "study.yaml"))
    path = tmp_path / "settings.json"
    settings.write_settings(path, study)
    digest = study.digest("seed")
    return study, Namespace(settings=path, digest=digest, folder=tmp_path, gpu=0, gres="")


def write_others(study, options):
    settings.write_settings(options.settings, dataclasses.replace(study, seed=2))


def test_a_job_that_is_opened_late_has_the_settings_with_which_its_program_began(begun):
    study, options = begun
    assigned = open_job.assign(options, lambda line: None)
    write_others(study, options)
    job = assigned.open_job()
    assert job.study == assigned.study == study
    assert job.raw == assigned.raw
    assert job.raw["seed"] == 1


def test_settings_that_are_written_after_a_program_looked_at_them_are_refused(begun, monkeypatch):
    monkeypatch.setattr(settings, "PAUSE", 0.0)
    study, options = begun
    write_others(study, options)
    with pytest.raises(StudyError, match="holds the settings of another run"):
        open_job.assign(options, lambda line: None)
