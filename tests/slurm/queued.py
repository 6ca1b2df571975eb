"""Runs through Slurm: how they begin, and how they are struck."""

import contextlib
import random
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import here
import putts
from cluster import Cluster
from here import Blow
from moments import processes_of

# What each client or signal does to a job: scancel alone sends SIGTERM to its steps, and SIGKILL 30 s later.
BLOWS = (
    Blow("everything", "SIGKILL"),
    Blow("a job", "SIGKILL"),
    Blow("snakemake", "SIGKILL"),
    Blow("a job", "scancel"),
    Blow("snakemake", "SIGTERM"),
    Blow("a job", "scancel -s TERM"),
    Blow("snakemake", "SIGINT"),
    Blow("node", "down"),
)


class Queue(NamedTuple):
    """A cluster: Snakemake hands its jobs to Slurm, and they go on without it.

    Attributes
    ----------
    cluster
        A Slurm that runs.
    cache
        Of compiled programs.
    """

    cluster: Cluster
    cache: Path

    name = "slurm"
    blows = BLOWS

    def start(self, folder: Path) -> subprocess.Popen[str]:
        own = here.environment(folder, self.cache) | self.cluster.environment
        own["PATH"] = f"{self.cluster.programs}:{own['PATH']}"
        command = putts.through_slurm(folder, "--resources", "gpu=0", "--nolock")
        return here.begin(command, own, folder)

    def left(self, folder: Path) -> list[str]:
        jobs = [f"job {number}" for number in self._jobs(folder)]
        return jobs + [f"process {number}" for number in processes_of(folder)]

    def strike(
        self, blow: Blow, run: subprocess.Popen[str], folder: Path, rng: random.Random
    ) -> bool:
        match blow:
            case Blow("a job", "SIGKILL"):
                return here.kill_a_job(blow, run, folder, rng)
            case Blow("a job", client):
                return self._cancel(client.split(), run, folder, rng)
            case Blow("node"):
                return self._lose_node(run, folder)
            case _:
                here.kill_snakemake(blow, run)
                return True

    def _cancel(
        self, client: list[str], run: subprocess.Popen[str], folder: Path, rng: random.Random
    ) -> bool:
        """Cancel a job, or send it a signal, as soon as one is there."""
        while run.poll() is None:
            if jobs := self._jobs(folder):
                with contextlib.suppress(subprocess.CalledProcessError):  # it may just have ended
                    self.cluster.ask(*client, rng.choice(jobs))
                    return True
            time.sleep(0.1)
        return False

    def _lose_node(self, run: subprocess.Popen[str], folder: Path) -> bool:
        """Let the node be down until none of its jobs runs."""
        while not (there := self._jobs(folder, "RUNNING")) and run.poll() is None:
            time.sleep(0.1)
        self.cluster.set_node("down")
        while self._jobs(folder, "RUNNING"):
            time.sleep(0.1)
        self.cluster.set_node("resume")
        return bool(there)

    def _jobs(self, folder: Path, *states: str) -> list[str]:
        """Numbers of the jobs that were submitted from a folder: in these states, or of all that are not over."""
        asked = [f"--states={','.join(states)}"] if states else []
        lines = self.cluster.ask("squeue", "--noheader", "--format=%i %Z", *asked).splitlines()
        return sorted(
            n for n, where in (line.split(maxsplit=1) for line in lines) if Path(where) == folder
        )
