"""Kill a running study at random moments, and see that it ends as one that was never killed.

    make test-kills

Each round runs the study in a new folder, with up to ten kills: SIGKILL or SIGTERM, by turns, to everything,
to Snakemake alone (whose jobs go on) or to one of its jobs; two at any moment, the next two while some fit is
saved and goes on, and so forth, at a moment drawn at random. What is run while a job of the run before is
still there is refused, and run again. At last the study is run to its end: every array of
every posterior has to have the same bits as in the run that was left alone, and verdict.json to be the
same but for seconds and the forecast. One line for each kill is added to results/kills.csv, with what
had been kept by then; a stopped program goes on with the next round.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import clinics
import psutil
import xarray as xr

RESULTS = Path(__file__).parent / "results" / "kills.csv"
COLUMNS = ("round", "signal", "victim", "second", "fits_done", "checkpoints")
KILLS_PER_ROUND = 10
VICTIMS = ("everything", "snakemake", "a job")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)

# Few fits, each long enough to be killed in, and saved many times.
CHANGES = {
    "  axes: [clinic]\n": "",
    "count: 3": "count: 2",
    "sampler: {chains: 2, warmup: 100, draws: 100}": "sampler: {chains: 2, warmup: 400, draws: 1600}",
}
EVERY = "0.05"


class Kill(NamedTuple):
    """What was killed: by which signal, after how many seconds, and what the study had by then."""

    signal: str
    victim: str
    second: float
    fits_done: int
    checkpoints: int


def write_study(folder: Path) -> None:
    """Write the small study, with chains that take a while."""
    clinics.write_study(folder)
    text = clinics.STUDY
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "study.yaml").write_text(text)


def environment(folder: Path, cache: Path) -> dict[str, str]:
    """Save often, and compile once for all runs."""
    return clinics.environment(folder) | {
        "SCALECHECK_CHECKPOINT_SECONDS": EVERY,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
    }


def run(folder: Path, cache: Path) -> float:
    """Run a study to its end, again while jobs that outlived their Snakemake are there; give its seconds."""
    began = time.monotonic()
    while True:
        done = subprocess.run(
            clinics.command(folder, "--nolock"), env=environment(folder, cache), cwd=folder,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return time.monotonic() - began
        assert "is being written by another job" in done.stderr, done.stderr
        wait_for_jobs(folder)


def kill(
    folder: Path,
    cache: Path,
    second: float,
    with_signal: signal.Signals,
    victim: str,
    *,
    in_fit: bool = False,
    again: bool = True,
) -> Kill | None:
    """Start a study and kill what is named of it; None where it ended before.

    Parameters
    ----------
    second
        When: from the start or, with `in_fit`, a twentieth of it from when a fit was saved.
    victim
        One of `VICTIMS`.
    again
        Whether to begin anew, once, where it is refused.
    """
    process = subprocess.Popen(
        clinics.command(folder, "--nolock"), env=environment(folder, cache), cwd=folder,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    began = time.time()
    fits = folder / "results" / "clinics" / "fits"
    if in_fit:
        while process.poll() is None and not _is_saved_since(began, fits):
            time.sleep(0.02)
        second /= 20
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=second)
    while process.poll() is None and victim == "a job" and not jobs_of(folder):
        time.sleep(0.02)
    if process.poll() == 0:
        return None
    if process.poll() is not None:
        # Refused, because of a job that outlived its Snakemake; whatever else it is, `run` says it.
        wait_for_jobs(folder)
        if not again:
            return None
        return kill(folder, cache, second, with_signal, victim, in_fit=in_fit, again=False)
    _send(with_signal, victim, process.pid, folder)
    seconds = time.time() - began
    try:
        process.wait(timeout=120)
    finally:
        if victim != "snakemake":
            with_group_gone(process.pid)
    return Kill(
        with_signal.name,
        victim,
        seconds,
        len(list(fits.glob("*/record.json"))),
        len(list(fits.glob("*/checkpoint/state.npz"))),
    )


def _send(with_signal: signal.Signals, victim: str, snakemake: int, folder: Path) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have ended meanwhile
        match victim:
            case "everything":
                os.killpg(snakemake, with_signal)
            case "snakemake":
                os.kill(snakemake, with_signal)
            case _:
                for job in jobs_of(folder)[:1]:
                    os.kill(job, with_signal)


def jobs_of(folder: Path) -> list[int]:
    """Processes of the programs that run in a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            programs = [Path(part).name for part in process.cmdline()[1:2]]
            if any(name.startswith("scalecheck-") for name in programs) and (
                Path(process.cwd()) == folder.resolve()
            ):
                found.append(process.pid)
    return found


def wait_for_jobs(folder: Path) -> None:
    """Wait until the jobs of a run that was killed have ended."""
    while jobs_of(folder):
        time.sleep(0.1)


def _is_saved_since(began: float, fits: Path) -> bool:
    """Whether some fit was saved after a time; what was left by a run before does not count."""
    for path in fits.glob("*/checkpoint/state.npz"):
        with contextlib.suppress(FileNotFoundError):  # a fit may end meanwhile
            if path.stat().st_mtime > began:
                return True
    return False


def with_group_gone(group: int) -> None:
    """Wait until no process of a group is left; after a while, make it so."""
    for _ in range(300):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)


def differences(one: Path, other: Path) -> list[str]:
    """Name what differs between two finished studies, but for what time decides."""
    found = []
    names = sorted(path.parent.name for path in one.glob("results/clinics/fits/*/posterior.nc"))
    assert names
    for name in names:
        trees = []
        for folder in (one, other):
            path = folder / "results" / "clinics" / "fits" / name / "posterior.nc"
            with xr.open_datatree(path) as tree:
                trees.append(tree.load())
        for group in trees[0].groups[1:]:
            if not trees[0][group].to_dataset().identical(trees[1][group].to_dataset()):
                found.append(f"{name}{group}")
    if verdict(one) != verdict(other):
        found.append("verdict.json")
    return found


def verdict(folder: Path) -> dict[str, Any]:
    """Read a verdict without what time decides."""
    content = json.loads((folder / "results" / "clinics" / "verdict.json").read_text())
    return {name: part for name, part in content.items() if name not in ("seconds", "forecast")}


def run_with_kills(
    folder: Path,
    cache: Path,
    n_kills: int,
    rng: random.Random,
    most: float,
    first: int = 0,
) -> list[Kill]:
    """Run a study to its end with so many kills, fewer where it ends before.

    Parameters
    ----------
    most
        Seconds until a kill, at most.
    first
        Number of the first kill: signals go by turns.
    """
    write_study(folder)
    kills = []
    for number in range(first, first + n_kills):
        second, in_fit, victim = rng.uniform(0.1, 1) * most, number % 4 > 1, VICTIMS[number % 3]
        killed = kill(folder, cache, second, SIGNALS[number % 2], victim, in_fit=in_fit)
        if killed is None:
            break
        kills.append(killed)
    run(folder, cache)
    return kills


def main() -> None:
    """Kill studies until there are as many kills as asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    done = list(csv.DictReader(RESULTS.open())) if RESULTS.exists() else []
    if len(done) >= options.kills:
        print(f"{len(done)} kills, all of them survived")
        return
    with tempfile.TemporaryDirectory(prefix="scalecheck-kills-") as scratch:
        alone, cache = Path(scratch) / "alone", Path(scratch) / "jax"
        write_study(alone)
        run(alone, cache)
        shutil.rmtree(alone)
        write_study(alone)
        seconds = run(alone, cache)  # with everything compiled
        print(f"left alone: {seconds:.0f} s", flush=True)
        number = 1 + max((int(row["round"]) for row in done), default=0)
        n_kills = len(done)
        while n_kills < options.kills:
            folder = Path(scratch) / f"round-{number}"
            # What is left of a study gets shorter by each kill: half of its seconds is late enough.
            kills = run_with_kills(
                folder, cache, KILLS_PER_ROUND, random.Random(number), seconds / 2, n_kills
            )
            found = differences(alone, folder)
            if found:
                raise SystemExit(f"round {number}: {kills}: differs in {', '.join(found)}")
            shutil.rmtree(folder)
            _add(number, kills)
            n_kills += len(kills)
            print(f"round {number}: {len(kills)} kills survived, {n_kills} in all", flush=True)
            number += 1


def _add(number: int, kills: list[Kill]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    is_new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        for one in kills:
            writer.writerow(
                [
                    number,
                    one.signal,
                    one.victim,
                    f"{one.second:.1f}",
                    one.fits_done,
                    one.checkpoints,
                ]
            )


if __name__ == "__main__":
    main()
