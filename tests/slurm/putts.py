"""A small study like golf, and runs of it: through Slurm with the profile that is shipped, and on this machine."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from cluster import Cluster

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "workflow/profiles/slurm"

STUDY = {
    "study": "putts",
    "seed": 3,
    "data": {"file": "putts.csv", "outcome": "holed", "order": "year", "axes": []},
    "model": {"file": "model.py"},
    "subsets": {"count": 8, "size": 60, "levels": 2},
    "increments": {"start": 60, "end": 120},
    "sampler": {"chains": 2, "warmup": 100, "draws": 100},
    "batches": 8,
}
BATCHES = [f"results/putts/fits/batch-{number}-of-8.json" for number in range(1, 9)]


def write_study(folder: Path, changes: Mapping[str, Any] | None = None, ballast: str = "") -> None:
    """Write the study's three files.

    Parameters
    ----------
    changes
        Sections in place of the study's own.
    ballast
        A line at the end of the model file.
    """
    rng = np.random.default_rng(3)
    n_rows = 800
    distance = rng.uniform(2, 20, n_rows)
    sd = np.degrees(np.arctan(1.3 / distance)) / 1.5
    table = pd.DataFrame(
        {
            "year": rng.integers(1990, 2020, n_rows),
            "distance": distance,
            "holed": (np.abs(rng.normal(0, 1, n_rows)) < sd / 2).astype(int),
        }
    )
    folder.mkdir(parents=True)
    table.to_csv(folder / "putts.csv", index=False)
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | dict(changes or {})))
    model = (ROOT / "config/studies/golf/model.py").read_text()
    (folder / "model.py").write_text(f"{model}\n{ballast}\n")


def environment(cache: Path, cluster: Cluster | None = None) -> dict[str, str]:
    """No device but the processor, fits saved all the time, one cache of compiled programs; a cluster."""
    of_cluster = {} if cluster is None else cluster.environment
    return (
        os.environ
        | of_cluster
        | {
            "PATH": _path(*([] if cluster is None else [cluster.programs])),
            "SCALECHECK_PLATFORM": "cpu",
            "SCALECHECK_CHECKPOINT_SECONDS": "0.05",
            "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
            "XDG_CACHE_HOME": str(cache),
        }
    )


def _path(*programs: Path) -> str:
    return ":".join(map(str, [*programs, Path(sys.executable).parent, os.environ["PATH"]]))


def through_slurm(folder: Path, *arguments: str) -> list[str]:
    """Command line of a run in a folder, as a user of a cluster gives it."""
    snakemake = [sys.executable, str(Path(__file__).parent / "polling.py")]
    return [*snakemake, *_what(folder), "--workflow-profile", str(PROFILE), *arguments]


def on_this_machine(folder: Path, *arguments: str) -> list[str]:
    """Command line of a run without Slurm."""
    return [sys.executable, "-m", "snakemake", *_what(folder), *arguments]


def _what(folder: Path) -> list[str]:
    study = ["--directory", str(folder), "--configfile", str(folder / "study.yaml")]
    return ["--snakefile", str(ROOT / "Snakefile"), *study]


def start(command: list[str], folder: Path, own: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a run whose output is kept beside its folder."""
    with folder.with_suffix(".out").open("a") as output:
        return subprocess.Popen(
            command, cwd=folder, env=dict(own), stdout=output, stderr=output, text=True
        )


def finish(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait for a run that has to end well."""
    assert process.wait(timeout=600) == 0, folder.with_suffix(".out").read_text()


def run(command: list[str], folder: Path, own: Mapping[str, str]) -> None:
    """Run to the end, which has to be a good one."""
    finish(start(command, folder, own), folder)


# JAX computes on the processor and says that it is a GPU; a batch goes on when all eight of them have taken theirs,
# so that no device can be another's before.
PRETENDING = """\
#!{python}
import os, runpy, sys, time
from pathlib import Path
from types import SimpleNamespace

from scalecheck.runtime import device

first_device = device._first_device


def pretended():
    first_device()
    if "--part" in sys.argv:
        (Path({meeting!r}) / os.environ["CUDA_VISIBLE_DEVICES"]).touch()
        for _ in range(3000):
            if len(os.listdir({meeting!r})) == 8:
                break
            time.sleep(0.1)
        else:
            raise SystemExit("eight batches never ran at the same time on eight devices")
    return SimpleNamespace(platform="gpu", device_kind="pretended GPU")


device._first_device = pretended
runpy.run_path({script!r}, run_name="__main__")
"""

LISTING = """\
#!/bin/sh
seq 0 7
"""


def pretend_gpus(folder: Path, own: Mapping[str, str], *, listed: bool) -> dict[str, str]:
    """Write a program of fits to whom JAX says that it has a GPU; give an environment that finds it.

    Parameters
    ----------
    own
        The environment otherwise.
    listed
        Whether a program nvidia-smi lists eight GPUs.
    """
    programs, meeting = folder / "programs", folder / "meeting"
    for path in (programs, meeting):
        path.mkdir(parents=True)
    values = {
        "python": sys.executable,
        "meeting": str(meeting),
        "script": str(ROOT / "scripts/fit.py"),
    }
    texts = {"scalecheck-fit": PRETENDING.format(**values)} | (
        {"nvidia-smi": LISTING} if listed else {}
    )
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    changed = {
        "PATH": f"{programs}:{own['PATH']}",
        "SCALECHECK_PLATFORM": "",
    }
    return dict(own) | changed
