"""Studies through a real Slurm, with the profile that is shipped."""

import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import putts
import pytest
import xarray as xr
from cluster import Cluster
from gpus import gpus_of_batches

pytestmark = pytest.mark.long


def wait_until(has_happened: Callable[[], object], process) -> None:
    """Look ten times a second, as long as a run goes on."""
    while not has_happened():
        assert process.poll() is None, "the run ended before"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def eight(cluster: Cluster, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose eight batches have run, each on a GPU that Slurm counted out to it."""
    home = tmp_path_factory.mktemp("eight")
    folder = home / "putts"
    putts.write_study(folder)
    own = putts.environment(cache, cluster)
    pretended = putts.pretend_gpus(home / "pretended", own, listed=False)
    putts.run(putts.through_slurm(folder, "--", *putts.BATCHES), folder, pretended)
    return folder


def test_eight_batches_run_on_the_eight_gpus_that_slurm_assigned(eight: Path) -> None:
    assert gpus_of_batches(eight) == {str(number) for number in range(8)}


class Resumed(NamedTuple):
    """A fit that was told to end in its warmup and went on.

    Attributes
    ----------
    folder
        Of its study.
    phase
        Its phase when it ended.
    log
        What it said until then.
    """

    folder: Path
    phase: str
    log: str


FIRST = "results/putts/fits/increment-01"
INCREMENTS = "results/putts/fits/increments.json"
LONG_WARMUP = {
    "batches": 1,
    "increments": {"start": 60, "end": 60},
    "sampler": {"chains": 2, "warmup": 20_000, "draws": 100},
}


@pytest.fixture(scope="module")
def two_at_once(
    cluster: Cluster, cache: Path, eight: Path, tmp_path_factory: pytest.TempPathFactory
) -> Resumed:
    """The rest of the first study beside an increment of another one, whose job gets SIGTERM in its warmup."""
    own = putts.environment(cache, cluster)
    folder = tmp_path_factory.mktemp("resumed") / "putts"
    putts.write_study(folder, LONG_WARMUP)
    planned = putts.on_this_machine(folder, "--cores", "2", "--", "results/putts/plan.csv")
    putts.run(planned, folder, own)
    # As on a cluster whose GPUs are gres alone.
    gres = ["--resources", "gpu=0", "--set-resources", "fit_increments:gres=gpu:1"]
    other = putts.start(putts.through_slurm(eight), eight, own)
    one = putts.start(putts.through_slurm(folder, *gres, "--", INCREMENTS), folder, own)
    try:
        wait_until((folder / FIRST / "checkpoint/state.npz").exists, one)
        jobs = cluster.jobs("RUNNING")
        (number,) = [
            n
            for n, comment in jobs.items()
            if "rule_fit_increments" in comment and own_job(cluster, n, folder)
        ]
        cluster.ask("scancel", "--signal=TERM", number)
        log = folder / "logs/putts/fits/increments.log"
        wait_until(lambda: "told to end" in log.read_text(), one)
        told = log.read_text()
        last = json.loads((folder / FIRST / "progress.jsonl").read_text().splitlines()[-1])
        putts.finish(one, folder)
        putts.finish(other, eight)
    finally:
        for process in (one, other):
            process.kill()
    return Resumed(folder, last["phase"], told)


def own_job(cluster: Cluster, number: str, folder: Path) -> bool:
    return f"WorkDir={folder}\n" in cluster.ask("scontrol", "show", "job", number)


def test_two_studies_at_once_both_end(eight: Path, two_at_once: Resumed) -> None:
    verdict = json.loads((eight / "results/putts/verdict.json").read_text())
    assert verdict["study"] == "putts"
    assert (eight / "results/putts/report.html").exists()
    record = json.loads((two_at_once.folder / FIRST / "record.json").read_text())
    assert record["status"] == "done"


def test_a_gpu_of_gres_is_counted_out_too_and_an_override_is_recorded(two_at_once: Resumed) -> None:
    record = json.loads((two_at_once.folder / FIRST / "record.json").read_text())
    assert record["gpu"] in set("01234567")
    assert (record["platform"], record["override"]) == ("cpu", "cpu")


def test_a_fit_that_was_told_to_end_in_its_warmup_ends_with_the_same_bits(
    two_at_once: Resumed, cache: Path, tmp_path: Path
) -> None:
    assert two_at_once.phase == "warmup"
    assert "told to end, and saved: run again to go on" in two_at_once.log
    assert "goes on from its checkpoint" not in two_at_once.log
    resumed = two_at_once.folder / FIRST
    assert "goes on from its checkpoint" in log_of(two_at_once.folder)
    alone = tmp_path / "putts"
    shutil.copytree(two_at_once.folder, alone)
    shutil.rmtree(alone / FIRST)
    (alone / INCREMENTS).unlink()
    command = putts.on_this_machine(alone, "--cores", "1", "--", INCREMENTS)
    putts.run(command, alone, putts.environment(cache))
    assert "goes on" not in log_of(alone)
    with (
        xr.open_datatree(resumed / "posterior.nc") as one,
        xr.open_datatree(alone / FIRST / "posterior.nc") as other,
    ):
        assert len(one.groups) > 3
        assert one.groups == other.groups
        for group in one.groups:
            assert one[group].to_dataset().identical(other[group].to_dataset()), group


def log_of(folder: Path) -> str:
    return (folder / "logs/putts/fits/increments.log").read_text()


class BadDay(NamedTuple):
    """A study whose node went down and whose model took more memory than was asked for.

    Attributes
    ----------
    prepared
        What Slurm knows of every job of `prepare_study`, in order.
    logs
        What those wrote that failed.
    """

    folder: Path
    prepared: list[str]
    logs: str


# More than the profile asks for at first, and less than at the second try.
BALLAST = "import numpy as np\n\nBALLAST = np.ones(400_000_000)  # 3.2 GB"


@pytest.fixture(scope="module")
def bad_day(cluster: Cluster, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> BadDay:
    folder = tmp_path_factory.mktemp("bad_day") / "putts"
    putts.write_study(folder, ballast=BALLAST)
    own = putts.environment(cache, cluster)
    process = putts.start(putts.through_slurm(folder, "--", "results/putts/plan.csv"), folder, own)
    before = set(cluster.jobs("all"))
    try:
        wait_until(lambda: set(cluster.jobs("RUNNING")) - before, process)
        (first,) = set(cluster.jobs("RUNNING")) - before
        cluster.set_node("down")
        wait_until(lambda: first not in cluster.jobs("RUNNING"), process)
        cluster.set_node("resume")
        putts.finish(process, folder)
    finally:
        process.kill()
    numbers = sorted(set(cluster.jobs("all")) - before, key=int)
    paths = folder.glob(".snakemake/slurm_logs/*rule_prepare_study/**/*.log")
    logs = "".join(path.read_text() for path in paths)
    return BadDay(folder, [cluster.ask("scontrol", "show", "job", one) for one in numbers], logs)


def test_a_job_whose_node_goes_down_runs_again_when_it_is_up(bad_day: BadDay) -> None:
    assert "Restarts=1" in bad_day.prepared[0]
    assert (bad_day.folder / "results/putts/data.nc").exists()


def test_a_job_that_is_killed_for_its_memory_is_tried_again_with_twice_as_much(
    bad_day: BadDay,
) -> None:
    assert "exceeded memory limit" in bad_day.logs
    first, second = [int(re.search(r"MinMemoryNode=(\d+)M", job)[1]) for job in bad_day.prepared]
    assert abs(second - 2 * first) <= 1  # rounded
    assert ["JobState=COMPLETED" in job for job in bad_day.prepared] == [False, True]
    assert (bad_day.folder / "results/putts/plan.csv").exists()
