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
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("MemAvailable:"):
            return 1024.0 * int(line.split()[1])
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _of_job(environ: Mapping[str, str]) -> float:
    """What Slurm gave this job, less what this process has taken: where nothing enforces it but a look now and then."""
    for name, times in (("SLURM_MEM_PER_NODE", 1), ("SLURM_MEM_PER_CPU", _n_cpus(environ))):
        given = environ.get(name, "")
        if given.isdecimal() and int(given):  # 0 is the whole node
            taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
            return max(0.0, int(given) * times * 2.0**20 - taken)
    return float("inf")


def _n_cpus(environ: Mapping[str, str]) -> int:
    given = environ.get("SLURM_CPUS_ON_NODE", "")
    return int(given) if given.isdecimal() else 1


def _of_groups(root: Path) -> Iterator[float]:
    """What each control group around this process leaves: a batch system's limit may lie on any of them."""
    yield float("inf")
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    for line in lines.splitlines():
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
        limit = int((group / files.limit).read_text(encoding="ascii"))
        used = int((group / files.used).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return float("inf")
    return float(max(0, limit - max(0, used - _reclaimable(group, files))))


def _reclaimable(group: Path, files: _Files) -> int:
    """Files that were read and that nobody uses: the kernel lets go of them before it refuses anything."""
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = dict(line.split() for line in lines)
    return int(found.get(files.reclaimable, 0))
