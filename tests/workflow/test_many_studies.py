"""Many studies of many fits in one run: what Snakemake is asked for, whatever the fits compute."""

import csv
import shutil
from pathlib import Path

import pretending
import pytest

pytestmark = pytest.mark.long

N_STUDIES, N_SUBSETS, BATCHES = 3, 200, 4
N_INCREMENTS = 5


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """Three studies that are planned; what Snakemake said."""
    folder = tmp_path_factory.mktemp("many")
    files = pretending.write_studies(folder, N_STUDIES, N_SUBSETS, BATCHES)
    return folder, files, pretending.run(folder, files, "--cores", "2", "--until", "prepare_study")


@pytest.fixture(scope="module")
def finished(studies: tuple[Path, list[str], str]) -> tuple[Path, list[str], str]:
    """The same three, run to their end with every command printed."""
    folder, files, _ = studies
    return folder, files, pretending.run(folder, files, "--cores", "2", "--printshellcmds")


def test_jobs_are_as_many_as_batches_and_not_as_fits(
    studies: tuple[Path, list[str], str],
) -> None:
    folder, files, _ = studies
    planned = pretending.jobs(pretending.run(folder, files, "--cores", "2", "--dry-run"))
    assert planned["fit_batch"] == N_STUDIES * BATCHES
    assert planned["fit_increments"] == N_STUDIES
    assert planned["total"] == N_STUDIES * (BATCHES + 2) + 1


def test_every_fit_is_made_once(finished: tuple[Path, list[str], str]) -> None:
    folder, files, _ = finished
    for name in files:
        results = folder / "results" / Path(name).stem
        with (results / "plan.csv").open() as file:
            fits = [row["fit"] for row in csv.DictReader(file)]
        assert len(fits) == N_SUBSETS + N_INCREMENTS
        assert {path.parent.name for path in results.glob("fits/*/record.json")} == set(fits)
        assert (results / "report.html").exists()


def test_a_command_line_stays_short_however_many_fits_a_job_makes(
    finished: tuple[Path, list[str], str],
) -> None:
    _, _, said = finished
    of_subsets = [
        line for line in said.splitlines() if "scalecheck-fit" in line and "--part" in line
    ]
    assert len(of_subsets) == N_STUDIES * BATCHES
    assert max(map(len, of_subsets)) < 300
    assert "subset-01" not in said


def test_a_subset_more_starts_the_jobs_of_one_study_and_of_no_other(
    finished: tuple[Path, list[str], str], tmp_path: Path
) -> None:
    before, files, _ = finished
    folder = Path(shutil.copytree(before, tmp_path / "more"))
    study = folder / files[0]
    study.write_text(study.read_text().replace("count: 200", "count: 201"))
    pretending.run(folder, files, "--cores", "2", "--until", "prepare_study")
    jobs = pretending.jobs(pretending.run(folder, files, "--cores", "2", "--dry-run"))
    assert jobs["fit_batch"] == BATCHES
    assert jobs["fit_increments"] == 1
