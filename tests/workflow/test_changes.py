"""What a change fits again, in real Snakemake runs: those fits that depend on it, and no other."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import clinics
import pandas as pd
import pytest

pytestmark = pytest.mark.long

RESULTS = Path("results/clinics")
SUBSETS = {f"subset-{number:02d}" for number in (1, 2, 3)}
BY_CLINIC = {"level-clinic-01", "level-clinic-02"}
INCREMENTS = {"increment-01", "increment-02"}
EVERY = SUBSETS | BY_CLINIC | INCREMENTS

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study after its fits; compiled programs are kept beside it, for all runs of this file."""
    folder = tmp_path_factory.mktemp("changes") / "clinics"
    clinics.write_study(folder)
    # Two more columns: an axis that is not there yet, and one that nothing reads.
    table = pd.read_csv(folder / "visits.csv")
    table["shift"] = ["day", "night"] * (len(table) // 2)
    table["note"] = 1
    table["day"] = range(
        len(table)
    )  # rows of one day would be shuffled, otherwise when more arrive
    table.to_csv(folder / "visits.csv", index=False)
    assert made(folder, {}) == EVERY
    return folder


def made(folder: Path, before: dict[str, int]) -> set[str]:
    """Run all fits, and nothing after them; name those whose draws were written."""
    environment = clinics.environment(folder) | {
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent.parent / "jax")
    }
    n_parts = 2 if "batches: 2" in (folder / "study.yaml").read_text() else 1
    parts = [f"batch-{number}-of-{n_parts}" for number in range(1, n_parts + 1)]
    targets = [f"{RESULTS}/fits/{name}.json" for name in ("increments", *parts)]
    # `--configfile` would take targets for files of settings, but for an option between them.
    command = clinics.command(folder, "--nolock", *targets)
    run = clinics.forks.snakemake(command, environment, folder)
    assert run.returncode == 0, run.stderr
    now = written(folder)
    return {name for name, when in now.items() if before.get(name) != when}


def written(folder: Path) -> dict[str, int]:
    """When the draws of each fit were written."""
    paths = folder.glob(f"{RESULTS}/fits/*/posterior.nc")
    return {path.parent.name: path.stat().st_mtime_ns for path in paths}


def touch(*names: str) -> Change:
    """Give files a newer date, as a checkout does."""
    later = time.time() + 5
    return lambda folder: [os.utime(folder / name, (later, later)) for name in names]


def edit(old: str, new: str, name: str = "study.yaml") -> Change:
    """Replace a text in a file."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def add(lines: str) -> Change:
    """Add lines to the study file."""

    def change(folder: Path) -> None:
        with (folder / "study.yaml").open("a") as file:
            file.write(lines)

    return change


def table(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Change:
    """Change the table."""

    def write(folder: Path) -> None:
        path = folder / "visits.csv"
        change(pd.read_csv(path)).to_csv(path, index=False)

    return write


def later_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Add rows after all others."""
    return pd.concat([frame, frame.tail(20).assign(day=999)], ignore_index=True)


def other_first_row(frame: pd.DataFrame) -> pd.DataFrame:
    """Turn the outcome of the row that arrived first, which increments read."""
    frame.loc[0, "recovered"] = 1 - frame.loc[0, "recovered"]
    return frame


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "a newer date of data and model": (touch("visits.csv", "model.py"), set()),
    "a comment in the model": (
        edit("import numpyro\n", "import numpyro  # a comment\n", "model.py"),
        set(),
    ),
    "a column that nothing reads": (table(lambda frame: frame.assign(note=2)), set()),
    "another format of the study file": (edit("seed: 7", "seed:   7  # the seed"), set()),
    "fewer subsets": (edit("count: 3", "count: 2"), set()),
    "no axis": (edit("  axes: [clinic]\n", ""), set()),
    "more batches": (add("batches: 2\n"), set()),
    "another error rate": (add("verdict: {alpha: 0.1}\n"), set()),
    "a price": (add("budget: {price_per_hour: 2.5}\n"), set()),
    "a budget that is not exceeded": (add("budget: {seconds: 9000}\n"), set()),
    "a search for remedies": (add("remedies: auto\n"), set()),
    "more subsets": (edit("count: 3", "count: 4"), {"subset-04"}),
    "one more axis": (
        edit("axes: [clinic]", "axes: [clinic, shift]"),
        {"level-shift-01", "level-shift-02"},
    ),
    "larger subsets": (edit("size: 60", "size: 61"), SUBSETS | BY_CLINIC),
    "a later end": (edit("end: 120", "end: 240"), {"increment-03"}),
    "a smaller factor": (
        edit("{start: 60, end: 120}", "{start: 60, end: 120, factor: 1.5}"),
        {"increment-02", "increment-03"},
    ),
    "an earlier start": (edit("start: 60", "start: 40"), {*INCREMENTS, "increment-03"}),
    "cold increments": (edit("end: 120}", "end: 120, warm: false}"), {"increment-02"}),
    "more draws": (edit("draws: 100", "draws: 101"), EVERY),
    "a longer warmup": (edit("warmup: 100", "warmup: 101"), EVERY),
    "another seed": (edit("seed: 7", "seed: 8"), EVERY),
    "another prior": (edit("1.5", "1.4", "model.py"), EVERY),
    "rows that arrive later": (table(later_rows), SUBSETS | BY_CLINIC),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_fits_again_what_depends_on_it(finished: Path, tmp_path: Path, name: str) -> None:
    change, expected = CHANGES[name]
    folder = Path(shutil.copytree(finished, tmp_path / "changes" / "clinics"))
    shutil.copytree(finished.parent.parent / "jax", tmp_path / "jax", dirs_exist_ok=True)
    before = written(folder)
    change(folder)
    assert made(folder, before) == expected


def test_a_changed_value_fits_again_the_fits_that_read_its_row(
    finished: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "changes" / "clinics"))
    before = written(folder)
    table(other_first_row)(folder)
    found = made(folder, before)
    assert found > INCREMENTS
    assert found & SUBSETS < SUBSETS
