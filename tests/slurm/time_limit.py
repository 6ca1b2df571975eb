"""A fit that takes longer than the time limit of its job is told to end by Slurm, and goes on at the next try.

    sudo python tests/slurm/time_limit.py

Six minutes or more, and no test: Slurm kills by whole minutes, and sends the signal of `--signal=TERM@60` up to 60 s
early, so that a fit has to take minutes. An increment whose job may take two minutes, then four (as each try asks
for more), is fitted through Slurm with the profile that is shipped; then alone, on this machine. It prints when
each job began and ended and what the log says, and fails where a bit of the posteriors differs, where the fit was
not told to end by the limit, or did not go on from what was saved.
"""

import json
import re
import sys
import tempfile
from pathlib import Path

import cluster as clusters
import putts
import xarray as xr
from cluster import Cluster

FIT = "results/putts/fits/increment-01"
LOG = "logs/putts/fits/increments.log"


def fit(folder: Path, cache: Path, warmup: int, cluster: Cluster | None = None) -> None:
    """Fit the first increment, through Slurm where there is a cluster."""
    sampler = {"chains": 2, "warmup": warmup, "draws": 100}
    putts.write_study(folder, {"increments": {"start": 60, "end": 60}, "sampler": sampler})
    plan = putts.on_this_machine(folder, "--cores", "1", "--", "results/putts/plan.csv")
    putts.run(plan, folder, putts.environment(cache))
    target = ["--", "results/putts/fits/increments.json"]
    limits = ["--resources", "gpu=0", "--set-resources", "fit_increments:runtime=attempt * 2"]
    command = (
        putts.through_slurm(folder, *limits, *target)
        if cluster
        else putts.on_this_machine(folder, "--cores", "1", *target)
    )
    own = putts.environment(cache, cluster) | {"SCALECHECK_CHECKPOINT_SECONDS": "60"}
    with folder.with_suffix(".out").open("a") as output:
        if putts.start(command, folder, own).wait() != 0:
            raise SystemExit(Path(output.name).read_text())


def jobs(cluster: Cluster, folder: Path) -> list[str]:
    """What Slurm knows of the jobs of a folder, in their order."""
    numbers = sorted(cluster.jobs("all"), key=int)
    shown = [cluster.ask("scontrol", "show", "job", number) for number in numbers]
    return [one for one in shown if f"WorkDir={folder}\n" in one]


def differences(one: Path, other: Path) -> list[str]:
    """Groups of two posteriors that are not the same, bit for bit."""
    with (
        xr.open_datatree(one / FIT / "posterior.nc") as first,
        xr.open_datatree(other / FIT / "posterior.nc") as second,
    ):
        return [
            group
            for group in sorted({*first.groups, *second.groups})
            if group not in first.groups
            or group not in second.groups
            or not first[group].to_dataset().identical(second[group].to_dataset())
        ]


def main(warmup: int) -> None:
    """Fit with a time limit and without, and compare."""
    with tempfile.TemporaryDirectory(prefix="scalecheck-limit-") as scratch:
        limited, alone, cache = (Path(scratch) / name for name in ("limited", "alone", "cache"))
        with clusters.running() as cluster:
            fit(limited, cache, warmup, cluster)
            ended = jobs(cluster, limited)
        for job in ended:
            print(*re.findall(r"(?:JobState|RunTime|TimeLimit)=\S+", job))
        told = "".join(
            path.read_text() for path in limited.glob(".snakemake/slurm_logs/rule_fit_*/**/*.log")
        )
        log = (limited / LOG).read_text()
        print(*log.splitlines()[:4], sep="\n")
        fit(alone, cache, warmup)
        seconds = json.loads((alone / FIT / "record.json").read_text())["seconds"]
        print(f"alone: {sum(seconds.values()):.0f} s")
        wrong = differences(limited, alone)
        if len(ended) < 2 or "goes on from its checkpoint" not in log:
            raise SystemExit(f"the fit ended within its limit: take a longer warmup\n{told}")
        if wrong:
            raise SystemExit(f"differs in {', '.join(wrong)}")
        print("the same bits")


if __name__ == "__main__":
    if reason := clusters.why_not():
        raise SystemExit(reason)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 150_000)
