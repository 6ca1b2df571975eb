"""scalecheck as a module of another workflow, run to its end, and what Snakemake's report carries of it."""

import fcntl
import json
import re
import zipfile
from pathlib import Path

import hosts
import pytest
from clinics import rules_run

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime.locks import claim_run

pytestmark = pytest.mark.long

# A second module beside the first, with the configuration of a study itself, and under no prefix.
SECOND = """

module other:
    snakefile:
        "{workflow}"
    config:
        config["other"]


use rule * from other as other_*


rule both:
    input:
        rules.scalecheck_all.input,
        rules.other_all.input,
"""


def compiled(folder: Path) -> set[str]:
    """Programs of the sampler that were compiled."""
    names = {path.name for path in (folder / ".cache/scalecheck").rglob("*-cache")}
    return {name for name in names if name.startswith(("jit_advance", "jit_init", "jit_check"))}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workflow of somebody else after its first study."""
    folder = tmp_path_factory.mktemp("host")
    hosts.write_host(folder)
    run = hosts.snakemake(folder, "checks/results/clinics/report.html")
    assert run.returncode == 0, run.stderr
    assert "make_visits" in rules_run(run)
    return folder


@pytest.fixture(scope="module")
def finished(host: Path) -> tuple[Path, set[str]]:
    """The same after both studies; and what was compiled for the first."""
    before = compiled(host)
    run = hosts.snakemake(host)
    assert run.returncode == 0, run.stderr
    return host, before


def test_a_module_writes_below_its_prefix_and_nowhere_else(finished: tuple[Path, set[str]]) -> None:
    folder, _ = finished
    assert json.loads((folder / "summary.txt").read_text())["study"] == "again"
    assert (folder / "checks/results/clinics/report.html").exists()
    assert (folder / "checks/logs/clinics/fits/increments.log").exists()
    assert not (folder / "results").exists()
    assert not (folder / "logs").exists()


def test_a_second_study_of_the_same_model_and_shapes_compiles_no_sampler_again(
    finished: tuple[Path, set[str]],
) -> None:
    folder, before = finished
    assert before
    assert compiled(folder) == before


def test_a_finished_module_has_nothing_to_run(finished: tuple[Path, set[str]]) -> None:
    assert rules_run(hosts.snakemake(finished[0], "--dry-run")) == []


def test_a_report_of_snakemake_carries_pages_and_figures_with_their_captions(
    finished: tuple[Path, set[str]],
) -> None:
    folder, _ = finished
    run = hosts.snakemake(folder, "--report", "report.zip", "scalecheck_all")
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(folder / "report.zip") as written:
        names = written.namelist()
        index = written.read("report/report.html").decode()
        pages = [written.read(name) for name in names if "/raw/" in name and name.endswith("html")]
    results = folder / "checks/results"
    assert sorted(pages) == sorted(path.read_bytes() for path in results.glob("*/report.html"))
    for study in ("clinics", "again"):
        figures = {path.name for path in (results / study / "figures").glob("*.svg")}
        assert {"forest.svg", "effort.svg", "cost.svg"} <= figures
        assert figures <= {Path(name).name for name in names}
        assert f"The verdict of study {study}" in index
        caption = (results / study / "figures/cost.rst").read_text()
        assert re.sub(r"\W+", " ", caption)[:60] in re.sub(r"\W+", " ", index)


def test_a_module_runs_again_what_depends_on_what_changed_in_one_study(
    finished: tuple[Path, set[str]],
) -> None:
    folder, _ = finished
    study = folder / "again.yaml"
    before = study.read_text()
    study.write_text(before.replace("draws: 50", "draws: 60"))
    ran = rules_run(hosts.snakemake(folder, "--dry-run", "scalecheck_all"))
    study.write_text(before)
    # Up to the checkpoint, after which Snakemake knows the fits.
    assert ran.count("scalecheck_prepare_study") == 1


def test_two_runs_on_one_folder_of_results_are_refused_to_a_module_as_well(
    finished: tuple[Path, set[str]],
) -> None:
    folder, _ = finished
    (folder / "summary.txt").unlink()
    with claim_run(StudyFolder(folder / "checks/results/again")) as claimed:
        assert isinstance(fcntl.fcntl(claimed, fcntl.F_GETFD), int)
        run = hosts.snakemake(folder)
    assert run.returncode == 1
    assert "checks/results/again: another run" in run.stderr
    assert not (folder / "summary.txt").exists()


@pytest.mark.parametrize("second_first", [False, True])
def test_two_modules_keep_their_own_studies(tmp_path: Path, *, second_first: bool) -> None:
    hosts.write_host(tmp_path, hosts.SNAKEFILE + SECOND)
    (tmp_path / "raw.csv").rename(tmp_path / "visits.csv")
    other = {"study": "clinics", "seed": 3, "data": {"file": "visits.csv", "outcome": "recovered"}}
    other |= {"model": {"file": "model.py"}, "results": "other"}
    config = json.dumps(other if second_first else other | {"study": "lone"})
    (tmp_path / "config.yaml").write_text(hosts.CONFIG + f"other: {config}\n")
    run = hosts.snakemake(tmp_path, "--dry-run", "--printshellcmds", "both")
    assert run.returncode == 0, run.stderr
    ran = rules_run(run)
    assert ran.count("scalecheck_prepare_study") == 2
    assert ran.count("other_prepare_study") == 1
    name = "clinics" if second_first else "lone"
    folders = set(re.findall(r"scalecheck-prepare --settings (\S+)/settings.json", run.stdout))
    assert folders == {"checks/results/clinics", "checks/results/again", f"other/{name}"}


def test_the_default_target_stays_that_of_whoever_comes_first(tmp_path: Path) -> None:
    hosts.write_host(tmp_path)
    assert rules_run(hosts.snakemake(tmp_path, "--dry-run"))[-1] == "everything"
    start, end = (hosts.SNAKEFILE.index(part) for part in ("module scalecheck", "rule summarise"))
    alone = 'configfile: "config.yaml"\n\n\n' + hosts.SNAKEFILE[start:end]
    (tmp_path / "Snakefile").write_text(alone.format(workflow=hosts.WORKFLOW))
    (tmp_path / "raw.csv").rename(tmp_path / "visits.csv")
    assert rules_run(hosts.snakemake(tmp_path, "--dry-run"))[-1] == "scalecheck_all"


def test_pathvars_of_a_module_move_its_results(tmp_path: Path) -> None:
    moved = hosts.SNAKEFILE.replace(
        '    prefix:\n        "checks"', '    pathvars:\n        results="found"'
    )
    hosts.write_host(tmp_path, moved.replace("checks/results", "found"))
    run = hosts.snakemake(tmp_path, "--dry-run", "--printshellcmds")
    assert run.returncode == 0, run.stderr
    folders = set(re.findall(r"scalecheck-prepare --settings (\S+)/settings.json", run.stdout))
    assert folders == {"found/clinics", "found/again"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            "{study: a, data: {file: visits.csv}, model: {file: model.py}}",
            "the configuration: the key data.outcome is missing",
        ),
        ("{}", "the configuration must have the key study, study_file or studies"),
    ],
)
def test_a_mistake_in_the_configuration_of_a_module_is_one_line(
    tmp_path: Path, config: str, expected: str
) -> None:
    hosts.write_host(tmp_path)
    (tmp_path / "config.yaml").write_text(f"scalecheck: {config}\n")
    run = hosts.snakemake(tmp_path, "--dry-run")
    assert run.returncode == 1
    said = run.stdout + run.stderr  # a dry run says everything on stdout
    assert sum(expected in line for line in said.splitlines()) == 1
    assert "Traceback" not in said
