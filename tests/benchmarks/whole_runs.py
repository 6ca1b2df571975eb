"""Whole runs of the workflow of a commit, in an environment of its own, and what each took."""

import io
import os
import shutil
import signal
import subprocess
import sysconfig
import tarfile
import time
import tomllib
import venv
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from simulated_tables import TABLES

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
# What decides where programs are compiled, on what and how, is set by a run alone.
OURS = ("PYTHONPATH", "XLA_FLAGS", "SCALECHECK_CACHE", "SCALECHECK_PLATFORM")


class Tree(NamedTuple):
    """The files of a commit, and an environment that runs them.

    Attributes
    ----------
    name
        Short hash of the commit, with a `+` where files of the checkout differ from it.
    path
        A copy of its files.
    programs
        Folder with `python`, `snakemake` and its own programs.
    """

    name: str
    path: Path
    programs: Path


class RunCost(NamedTuple):
    """What a run took.

    Attributes
    ----------
    wall_seconds
        From the start of Snakemake to its end.
    cpu_seconds
        Of all processes.
    programs
        Processes of Python, but for Snakemake.
    compiled, read
        Programs that XLA compiled, and that were found in the cache.
    compile_seconds
        Of wall time, of the former, in all processes.
    """

    wall_seconds: float
    cpu_seconds: float
    programs: int
    compiled: int
    read: int
    compile_seconds: float


class RunFailed(Exception):
    """A run ended with an error or took too long: the end of what it said."""


def checkout(scratch: Path) -> Tree:
    """Copy the files of this checkout, edited or not."""
    edited = ["status", "--porcelain", "--", ".", ":!tests/benchmarks/results", ":!docs"]
    name = git("rev-parse", "--short", "HEAD") + ("+" if git(*edited) else "")
    path = scratch / "here"
    for file in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / file).is_file():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, path / file)
    return _with_environment(name, path)


def commit(which: str, scratch: Path) -> Tree:
    """Unpack the files of a commit."""
    name = git("rev-parse", "--short", which)
    packed = subprocess.run(
        ["git", "archive", name], cwd=ROOT, check=True, stdout=subprocess.PIPE
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(scratch / "before", filter="data")
    return _with_environment(name, scratch / "before")


def git(*arguments: str) -> str:
    """Ask git about this checkout."""
    asked = ["git", *arguments]
    return subprocess.run(
        asked, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    ).stdout.strip()


def _with_environment(name: str, path: Path) -> Tree:
    """Make an environment with the packages of this one, its library and its programs."""
    home = path.with_name(f"{path.name}-environment")
    venv.EnvBuilder(symlinks=True, clear=True).create(home)
    places = sysconfig.get_paths("venv", {"base": str(home), "platbase": str(home)})
    packages, programs = Path(places["purelib"]), Path(places["scripts"])
    # A path in a .pth file is only a path: the .pth file there that names this checkout is not read.
    lines = [str(path / "workflow/src"), *dict.fromkeys(_packages())]
    (packages / "whole_runs.pth").write_text("\n".join(lines) + "\n")
    shutil.copy(HERE / "counting/sitecustomize.py", packages)
    project = tomllib.loads((path / "pyproject.toml").read_text())
    scripts = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-scripts"]
    for script, program in scripts.items():
        _write_program(programs / program, (path / script).read_text())
    start = "import sys\nfrom snakemake.cli import main\nsys.exit(main())\n"
    _write_program(programs / "snakemake", start)
    # Or the first run would take longer.
    python = programs / "python"
    subprocess.run([python, "-m", "compileall", "-q", path / "workflow/src"], check=True)
    return Tree(name, path, programs)


def _packages() -> list[str]:
    return [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]


def _write_program(path: Path, text: str) -> None:
    first, rest = text.split("\n", 1)
    kept = rest if first.startswith("#!") else text
    path.write_text(f"#!{path.with_name('python')}\n{kept}")
    path.chmod(0o755)


def write_studies(tree: Tree, work: Path) -> None:
    """Make a working directory with the studies that are shipped and the simulated ones, their tables written."""
    studies = work / "config/studies"
    shutil.copytree(tree.path / "config", work / "config")
    for name, table in TABLES.items():
        shutil.copytree(HERE / "studies" / name, studies / name)
        table().to_csv(studies / name / "rows.csv", index=False)


def write_flights(tree: Tree, work: Path) -> None:
    """Write the table of departures, which takes a while and is a part of no verdict."""
    made = tree.path.parent / "departures.csv.gz"
    if not made.exists():
        program = work / "config/studies/flights/departures.py"
        subprocess.run([tree.programs / "python", program, made], check=True)
    shutil.copy(made, work / "config/studies/flights")


def run(tree: Tree, work: Path, study: str, results: str, seed: int, limit: float) -> RunCost:
    """Run a study to its verdict.

    Parameters
    ----------
    work
        From `write_studies`; also has the cache of compiled programs.
    results
        Folder of results below it.
    limit
        Seconds that it may take.

    Raises
    ------
    RunFailed
        When it fails.
    """
    counts = work / f"{results}.counts"
    command = [tree.programs / "snakemake", "--snakefile", tree.path / "Snakefile", "--cores"]
    command += ["all", "--quiet", "all", "--resources", "gpu=0"]
    command += ["--configfile", f"config/studies/{study}/study.yaml"]
    command += ["--config", f"results={results}", f"seed={seed}"]
    began = time.perf_counter()
    output = work / f"{results}.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=_environment(tree, work, counts),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        status, cpu = _wait(process, limit)
    wall = time.perf_counter() - began
    if status != 0:
        lines = output.read_text(errors="replace").splitlines()
        raise RunFailed("\n".join([f"status {status} after {wall:.0f} s", *lines[-20:]]))
    return count(counts, wall, cpu)


def _environment(tree: Tree, work: Path, counts: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in OURS and not name.startswith("JAX_")
    }
    return kept | {
        "PATH": f"{tree.programs}:{kept['PATH']}",
        "SCALECHECK_PLATFORM": "cpu",
        "SCALECHECK_CACHE": str(work / "compiled"),
        "SCALECHECK_COUNTS": str(counts),
    }


def _wait(process: subprocess.Popen[bytes], limit: float) -> tuple[int, float]:
    """Wait for a process; give its status, and the processor seconds of all that it waited for."""
    end = time.monotonic() + limit
    while True:
        found, status, used = os.wait4(process.pid, os.WNOHANG)
        if found:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, used.ru_utime + used.ru_stime
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            end = float("inf")
        time.sleep(0.05)


def count(counts: Path, wall: float, cpu: float) -> RunCost:
    """Read what was counted of a run."""
    lines = [line.split("\t") for line in counts.read_text().splitlines()]
    started = [line[1] for line in lines if line[0] == "start"]
    compiled = [float(line[1]) for line in lines if line[0] == "compiled"]
    return RunCost(
        wall,
        cpu,
        sum("snakemake" not in one for one in started),
        len(compiled),
        sum(line[0] == "read" for line in lines),
        sum(compiled),
    )


def compiled_names(work: Path, results: str) -> pd.DataFrame:
    """Say how often a run compiled each program, and wall seconds of all of them, the longest first."""
    rows = [
        line.split("\t")[1:]
        for line in (work / f"{results}.counts").read_text().splitlines()
        if line.startswith("compiled\t")
    ]
    found = pd.DataFrame(rows, columns=["seconds", "name"]).astype({"seconds": float})
    by = found.groupby("name")["seconds"].agg(times="count", seconds="sum")
    return by.sort_values("seconds", ascending=False)
