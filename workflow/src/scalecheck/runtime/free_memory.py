"""How much memory is free for fits: of the machine, or of this job's share of it, and of the GPU."""

import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import jax

from scalecheck.runtime import environment

VARIABLE = "SCALECHECK_MEMORY_GB"
GB = 1e9


class Free(NamedTuple):
    """Bytes.

    Attributes
    ----------
    host
        Of the machine, or of this job's share of it.
    gpu
        Of the GPU; None where fits run on the processor.
    """

    host: float
    gpu: float | None = None


class _Files(NamedTuple):
    """Where a control group says its limit, what is used of it, and what of that can be had back."""

    folder: str
    limit: str
    used: str
    reclaimable: str


_VERSION_1 = _Files(
    "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
)
_VERSION_2 = _Files("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


def free() -> Free:
    """Say what is free where fits run; of every memory, what the environment variable says.

    Raises
    ------
    StudyError
        When the environment variable is no positive number.
    """
    given = environment.positive_number(VARIABLE, "GB")
    host = given * GB if given else free_on_host()
    device = jax.local_devices()[0]
    stats = None if device.platform == "cpu" else device.memory_stats()
    if not stats:
        return Free(host)
    return Free(host, host if given else float(stats["bytes_limit"] - stats["bytes_in_use"]))


def free_on_host(root: Path = Path("/")) -> float:
    """Give the bytes, a scalar, that are free in the machine, or for this job where that is less.

    Parameters
    ----------
    root
        Folder that holds `proc` and `sys`.
    """
    return min(_of_machine(root), _of_job(os.environ), *_of_groups(root))


def _of_machine(root: Path) -> float:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024.0 * int(line.split()[1])
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _of_job(environ: Mapping[str, str]) -> float:
    """What Slurm gave this job, less what this process has taken: where nothing enforces it but a look now and then."""
    names = ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE")
    given = (environ.get(name, "") for name in names)
    of_node, of_cpu, n_cpus = (int(one) if one.isdecimal() else 0 for one in given)
    megabytes = of_node or of_cpu * (n_cpus or 1)
    if not megabytes:  # 0 is the whole node
        return float("inf")
    return max(0.0, megabytes * 2.0**20 - resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _of_groups(root: Path) -> Iterator[float]:
    """What each control group around this process leaves: a batch system's limit may lie on any of them."""
    yield float("inf")
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            files = _VERSION_2
        elif "memory" in controllers.split(","):
            files = _VERSION_1
        else:
            continue
        top = root / files.folder
        # A container sees its own group as the top one, under a path that may not be there.
        group = top / path.lstrip("/")
        yield from (_left(one, files) for one in (group, *group.parents) if one.is_relative_to(top))


def _left(group: Path, files: _Files) -> float:
    """What a control group leaves; infinite where it has no limit, or is not there."""
    try:
        limit, used = int(_text(group / files.limit)), int(_text(group / files.used))
    except ValueError:
        return float("inf")
    return float(max(0, limit - max(0, used - _reclaimable(group, files))))


def _reclaimable(group: Path, files: _Files) -> int:
    """Files that were read and that nobody uses: the kernel lets go of them before it refuses anything."""
    found = dict(line.split() for line in _text(group / "memory.stat").splitlines())
    return int(found.get(files.reclaimable, 0))


def _text(path: Path) -> str:
    """Text of a file of the kernel; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
