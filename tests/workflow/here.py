"""Runs on this machine: how they begin, and how they are struck."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple, Protocol

import clinics
import psutil
from moments import processes_of, programs_of

EVERY = "0.05"  # seconds between two times of saving a fit


class Blow(NamedTuple):
    """What is struck, and by what."""

    victim: str
    by: str

    @property
    def is_deadly(self) -> bool:
        """Whether Snakemake ends of it."""
        return self.victim in ("everything", "snakemake")


class Place(Protocol):
    """Where studies run and are struck."""

    @property
    def name(self) -> str:
        """As it is written into the table."""
        ...

    @property
    def blows(self) -> tuple[Blow, ...]:
        """What can be done to a run here."""
        ...

    def start(self, folder: Path) -> subprocess.Popen[str]:
        """Start a run, in a group of its own, whose output is added to a file beside its folder."""
        ...

    def left(self, folder: Path) -> list[str]:
        """Name what works in a folder or waits to, Snakemake or not."""
        ...

    def strike(
        self, blow: Blow, run: subprocess.Popen[str], folder: Path, rng: random.Random
    ) -> bool:
        """Strike, and say whether there was something to be struck."""
        ...


def begin(command: list[str], own: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    """Start a command as `Place.start` says."""
    with folder.with_suffix(".out").open("a") as output:
        return subprocess.Popen(
            command,
            env=own,
            cwd=folder,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
        )


def environment(folder: Path, cache: Path) -> dict[str, str]:
    """Save often, and compile once for all runs."""
    return clinics.environment(folder) | {
        "SCALECHECK_CHECKPOINT_SECONDS": EVERY,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
    }


class Here(NamedTuple):
    """This machine: Snakemake starts its jobs itself.

    Attributes
    ----------
    cache
        Of compiled programs.
    """

    cache: Path

    name = "local"
    blows = tuple(
        Blow(victim, by)
        for victim in ("everything", "snakemake", "a job")
        for by in ("SIGKILL", "SIGTERM")
    )

    def start(self, folder: Path) -> subprocess.Popen[str]:
        command = clinics.command(folder, "--nolock")
        return begin(command, environment(folder, self.cache), folder)

    def left(self, folder: Path) -> list[str]:
        return [f"process {number}" for number in processes_of(folder)]

    def strike(
        self, blow: Blow, run: subprocess.Popen[str], folder: Path, rng: random.Random
    ) -> bool:
        if blow.victim == "a job":
            return kill_a_job(blow, run, folder, rng)
        kill_snakemake(blow, run)
        return True


def kill_snakemake(blow: Blow, run: subprocess.Popen[str]) -> None:
    """Send a signal to Snakemake alone or to everything of its group, and wait until they are gone."""
    whole = blow.victim == "everything"
    with contextlib.suppress(ProcessLookupError):  # it may have ended meanwhile
        (os.killpg if whole else os.kill)(run.pid, signal.Signals[blow.by])
    run.wait(timeout=300)
    if whole:
        with_group_gone(run.pid)


def kill_a_job(blow: Blow, run: subprocess.Popen[str], folder: Path, rng: random.Random) -> bool:
    """Send a signal to a process of a job, as soon as there is one."""
    while run.poll() is None:
        if jobs := sorted(programs_of(folder)):
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(rng.choice(jobs)).send_signal(signal.Signals[blow.by])
                return True
        time.sleep(0.02)
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
