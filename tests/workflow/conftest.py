"""A small study that was run: shared by all tests of the workflow."""

import shutil
from pathlib import Path

import pytest
from clinics import kill_when, snakemake, write_study


@pytest.fixture(scope="session")
def killed_and_finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study that was killed in the middle of its fits, unlocked and run to its end."""
    folder = tmp_path_factory.mktemp("clinics")
    write_study(folder)
    kill_when(folder, ["logs/clinics/fits/increments.log", "logs/clinics/fits/batch-1-of-1.log"])
    assert not list(folder.glob("results/clinics/fits/*/record.json"))
    assert snakemake(folder, "--unlock").returncode == 0
    run = snakemake(folder)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture
def copy_of_finished(killed_and_finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study, mtimes and Snakemake's memory included, to change freely."""
    folder = tmp_path / "clinics"
    shutil.copytree(killed_and_finished, folder)
    return folder
