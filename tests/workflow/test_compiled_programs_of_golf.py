"""How many programs a whole study compiles: golf with an empty cache, and again with another seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COUNTING = ROOT / "tests" / "benchmarks" / "counting"

pytestmark = pytest.mark.long


def events(folder: Path, results: str, *settings: str) -> list[str]:
    """Run golf in a folder; say of each program of XLA whether it was compiled or read."""
    counts = folder / f"{results}.counts"
    environment = {name: value for name, value in os.environ.items() if "CACHE" not in name}
    environment |= {
        "PYTHONPATH": os.pathsep.join(
            [str(COUNTING), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
        "SCALECHECK_CACHE": str(folder / "cache"),
        "SCALECHECK_COUNTS": str(counts),
    }
    study = ROOT / "config" / "studies" / "golf" / "study.yaml"
    command = ["snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", study]
    command += ["--cores", "2", "--config", f"results={results}", *settings]
    run = subprocess.run(
        [Path(sys.executable).parent / command[0], *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [line.partition("\t")[0] for line in counts.read_text().splitlines()]


def test_golf_compiles_few_programs_and_with_another_seed_hardly_any(tmp_path):
    (tmp_path / "config").symlink_to(ROOT / "config")
    first = events(tmp_path, "first")
    assert first.count("start") == 5  # Snakemake, and four programs
    assert 10 < first.count("compiled") <= 40
    again = events(tmp_path, "again", "seed=77")
    assert again.count("compiled") <= 5
    assert again.count("read") > 20
