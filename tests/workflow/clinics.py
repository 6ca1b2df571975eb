"""A small study in a folder of its own, and real Snakemake runs of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import forks
import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2]

STUDY = """\
study: clinics
seed: 7
data:
  file: visits.csv
  outcome: recovered
  order: day
  axes: [clinic]
model:
  file: model.py
  arguments: {clinic: clinic}
subsets: {count: 3, size: 60, levels: 2}
increments: {start: 60, end: 120}
sampler: {chains: 2, warmup: 100, draws: 100}
"""

# Without a covariate apart from a text category: one effect per clinic. Rows can be padded: fits alone share a
# program.
MODEL = """\
import numpyro
import numpyro.distributions as dist


def model(clinic, n_clinic, recovered=None):
    level = numpyro.sample("level", dist.Normal(0, 1.5))
    with numpyro.plate("clinics", n_clinic):
        shift = numpyro.sample("shift", dist.Normal(0, 0.5))
    with numpyro.plate("visits", clinic.shape[0]):
        numpyro.sample("recovered", dist.Bernoulli(logits=level + shift[clinic]), obs=recovered)
"""


def write_study(folder: Path) -> None:
    """Write the study's three files."""
    rng = np.random.default_rng(7)
    n_rows = 400
    table = pd.DataFrame(
        {
            "day": rng.integers(0, 50, n_rows),
            "clinic": rng.choice(["north", "south", "west"], n_rows, p=[0.5, 0.3, 0.2]),
            "recovered": rng.integers(0, 2, n_rows),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "visits.csv", index=False)
    (folder / "study.yaml").write_text(STUDY)
    (folder / "model.py").write_text(MODEL)


def command(folder: Path, *arguments: str) -> list[str]:
    """Command line of a Snakemake run in a folder."""
    return [
        str(Path(sys.executable).parent / "snakemake"),
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--directory",
        str(folder),
        "--cores",
        "2",
        "--rerun-incomplete",
        "--configfile",
        str(folder / "study.yaml"),
        *arguments,
    ]


def environment(folder: Path) -> dict[str, str]:
    """Programs on PATH, no GPU, and a home of its own for Snakemake's cache."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SCALECHECK_PLATFORM": "cpu",
        "XDG_CACHE_HOME": str(folder / ".cache"),
    }


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake to its end."""
    return forks.snakemake(command(folder, *arguments), environment(folder), folder)


def rules_run(run: subprocess.CompletedProcess[str]) -> list[str]:
    """Names of the rules that a run (or a dry run) would execute, in order."""
    lines = (run.stdout + run.stderr).splitlines()
    starts = ("rule ", "localrule ", "checkpoint ", "localcheckpoint ")
    return [line.split()[1].rstrip(":") for line in lines if line.startswith(starts)]


def kill_when(folder: Path, appears: Sequence[str]) -> None:
    """Start a run, and kill it and all its jobs as soon as one of these files appears."""
    process = subprocess.Popen(
        command(folder),
        env=environment(folder),
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not any((folder / name).exists() for name in appears):
        time.sleep(0.05)
    killed = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert killed, "the run ended before it could be killed"
