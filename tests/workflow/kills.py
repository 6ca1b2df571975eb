"""Kill a running study at random moments, and see that it ends as one that was never killed.

    make test-kills

Each round runs the study in a new folder, with up to ten kills: of everything, of Snakemake alone (whose jobs go
on) or of one of its jobs, by turns, at moments drawn at random: at any, while a fit is saved and goes on, and
while a program runs that does not fit. What is run while a job of the run before is still there may be refused,
and is run again. Every third round goes through Slurm on the loopback, where there is one: there jobs are also
cancelled, and the node goes down. At last the study is run to its end: every array of every posterior has to have
the same bits as in the run that was left alone, on this machine, and verdict.json to be the same but for its
seconds, and the seconds and price of the forecast. One line for each kill is added to results/kills.csv, with what
was running and had been kept by then, and how the round ended, well or not: no round is tried twice. A program that
was stopped goes on with the next round.
"""

import argparse
import contextlib
import csv
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import clinics
from endings import RESULTS, differences
from here import Blow, Here, Place
from moments import await_moment, draw, programs_of

TABLE = Path(__file__).parent / "results" / "kills.csv"
KILLS_PER_ROUND = 10
ROUNDS_PER_QUEUE = 3  # one in so many goes through Slurm
MOST = 20.0  # seconds until a kill at any moment, of a study from nothing
SURVIVED = "same bits"

# Few fits, each long enough to be killed in, and saved many times.
CHANGES = {
    "  axes: [clinic]\n": "",
    "count: 3": "count: 2",
    "sampler: {chains: 2, warmup: 100, draws: 100}": "sampler: {chains: 2, warmup: 400, draws: 1200}",
}


class Kill(NamedTuple):
    """What was killed, and what the study had by then.

    Attributes
    ----------
    second
        Since the run began.
    running
        Programs that ran.
    fits_done, checkpoints
        Fits that were done, and that were saved.
    outcome
        Of its round: `SURVIVED`, or what was otherwise.
    """

    round: int
    place: str
    victim: str
    by: str
    second: float
    running: str
    fits_done: int
    checkpoints: int
    outcome: str = ""


class Run(NamedTuple):
    """A run of a study.

    Attributes
    ----------
    may_fail
        Whether jobs of a run before were there when it began, or something of it was struck.
    """

    process: subprocess.Popen[str]
    began: float
    may_fail: bool


def write_study(folder: Path) -> None:
    """Write the small study, with chains that take a while."""
    clinics.write_study(folder)
    text = clinics.STUDY
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "study.yaml").write_text(text)


def start(place: Place, folder: Path) -> Run:
    """Start a run, whatever is left of one before."""
    is_late = bool(place.left(folder))
    return Run(place.start(folder), time.monotonic(), is_late)


def end(place: Place, folder: Path, run: Run | None = None) -> float:
    """Let a run end, and run again where it may have failed; give the seconds of the last."""
    while True:
        run = run or start(place, folder)
        if run.process.wait(timeout=1200) == 0:
            return time.monotonic() - run.began
        assert run.may_fail, folder.with_suffix(".out").read_text()
        _await_jobs(place, folder)
        run = None


def _await_jobs(place: Place, folder: Path) -> None:
    """Wait until nothing works in a folder, of a run that has ended."""
    for _ in range(6000):
        if not (left := place.left(folder)):
            return
        time.sleep(0.1)
    raise TimeoutError(f"{folder}: after ten minutes there is still {', '.join(left)}")


def kill(
    place: Place, folder: Path, run: Run, blow: Blow, number: int, rng: random.Random
) -> Kill | None:
    """Kill what is named of a run, now; None where there was nothing to kill."""
    seconds = time.monotonic() - run.began
    running = "+".join(
        sorted({name.removeprefix("scalecheck-") for name in programs_of(folder).values()})
    )
    fits = folder / RESULTS / "fits"
    done, saved = (
        len(list(fits.glob(name))) for name in ("*/record.json", "*/checkpoint/state.npz")
    )
    if not place.strike(blow, run.process, folder, rng):
        return None
    return Kill(number, place.name, *blow, round(seconds, 1), running, done, saved)


def run_with_kills(
    place: Place,
    folder: Path,
    n_kills: int,
    rng: random.Random,
    most: float,
    number: int = 1,
    first: int = 0,
    kills: list[Kill] | None = None,
) -> list[Kill]:
    """Run a study to its end with so many kills, fewer where it ends before.

    Parameters
    ----------
    most
        Seconds until a kill, at most.
    number
        Of the round.
    first
        Number of the first kill here: blows go by turns.
    kills
        Takes them as they are dealt, for whoever wants to know of a round that fails.
    """
    write_study(folder)
    kills = [] if kills is None else kills
    run: Run | None = None
    with _none_left(place, folder):
        while len(kills) < n_kills:
            run = run or start(place, folder)
            await_moment(draw(rng, folder, most), run.process, folder)
            if run.process.poll() == 0:
                return kills
            if run.process.poll() is not None:
                assert run.may_fail, folder.with_suffix(".out").read_text()
                _await_jobs(place, folder)
                run = None
                continue
            blow = place.blows[(first + len(kills)) % len(place.blows)]
            killed = kill(place, folder, run, blow, number, rng)
            kills += [killed] if killed else []
            run = None if blow.is_deadly else run._replace(may_fail=True)
        end(place, folder, run)
    return kills


@contextlib.contextmanager
def _none_left(place: Place, folder: Path) -> Iterator[None]:
    """Leave no process of a folder behind, also where these tests are stopped."""
    try:
        yield
    finally:
        for one in place.left(folder):
            kind, number = one.split()
            with contextlib.suppress(ProcessLookupError):
                if kind == "process":
                    os.kill(int(number), signal.SIGKILL)


@contextlib.contextmanager
def _queue(cache: Path) -> Iterator[Place | None]:
    """Slurm on the loopback; none, and why, where it cannot be started."""
    sys.path.append(str(Path(__file__).parents[1] / "slurm"))
    import cluster
    import queued

    if reason := cluster.why_not():
        print(f"without Slurm: {reason}", flush=True)
        yield None
        return
    with cluster.running() as started:
        yield queued.Queue(started, cache)


def main() -> None:
    """Kill studies until there are as many kills as asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left behind
    if len(_rows()) < options.kills:
        with tempfile.TemporaryDirectory(prefix="scalecheck-kills-") as scratch:
            _kill_until(options.kills, Path(scratch))
    print(_summary())


def _kill_until(n_kills: int, scratch: Path) -> None:
    """Run rounds until there are so many kills."""
    alone, cache = scratch / "alone", scratch / "jax"
    here = Here(cache)
    with _queue(cache) as queue:
        write_study(alone)
        seconds = end(here, alone)
        print(f"left alone: {seconds:.0f} s", flush=True)
        for number in itertools.count(1 + max((int(row["round"]) for row in _rows()), default=0)):
            if (left := n_kills - len(_rows())) <= 0:
                return
            place = queue if queue and number % ROUNDS_PER_QUEUE == 0 else here
            folder = scratch / f"round-{number}"
            first = sum(row["place"] == place.name for row in _rows())
            kills: list[Kill] = []
            try:
                run_with_kills(
                    place,
                    folder,
                    min(KILLS_PER_ROUND, left),
                    random.Random(number),
                    MOST,
                    number,
                    first,
                    kills,
                )
                found = differences(alone, folder)
                outcome = f"differs in {', '.join(found)}" if found else SURVIVED
            except Exception as error:
                _add(kills, f"{type(error).__name__}: {error}"[:500])
                raise
            _add(kills, outcome)
            print(f"round {number}, {place.name}: {len(kills)} kills, {outcome}", flush=True)
            if outcome != SURVIVED:
                raise SystemExit(f"round {number} of {kills}")
            shutil.rmtree(folder)


def _rows() -> list[dict[str, str]]:
    """Give the kills that were dealt."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def _add(kills: list[Kill], outcome: str) -> None:
    """Write down the kills of a round and how it ended, in one line each."""
    TABLE.parent.mkdir(exist_ok=True)
    is_new = not TABLE.exists()
    with TABLE.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        told = [one._replace(outcome=" ".join(outcome.split())) for one in kills]
        writer.writerows([Kill._fields, *told] if is_new else told)


def _summary() -> str:
    """Say how many kills of which kind were dealt, and how many survived."""
    rows = _rows()
    kinds = Counter((row["place"], row["victim"], row["by"]) for row in rows)
    lines = [f"{count:4d}  {', '.join(kind)}" for kind, count in sorted(kinds.items())]
    survived = sum(row["outcome"] == SURVIVED for row in rows)
    return "\n".join([f"{survived} of {len(rows)} kills survived", *lines])


if __name__ == "__main__":
    main()
