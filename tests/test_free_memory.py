"""What is free: of the machine and of the control groups around a process, in folders made up as Linux has them."""

from types import SimpleNamespace

import jax
import pytest

from scalecheck.errors import StudyError
from scalecheck.runtime import free_memory
from scalecheck.runtime.free_memory import Free

MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemFree: 100 kB\nMemAvailable: 5000 kB\n"}


def version_2(path, limit, used, stat="anon 5\ninactive_file 0\n"):
    group = f"sys/fs/cgroup{path}"
    return {
        f"{group}/memory.max": f"{limit}\n",
        f"{group}/memory.current": f"{used}\n",
        f"{group}/memory.stat": stat,
    }


def version_1(path, limit, used, cached=0):
    group = f"sys/fs/cgroup/memory{path}"
    return {
        f"{group}/memory.limit_in_bytes": f"{limit}\n",
        f"{group}/memory.usage_in_bytes": f"{used}\n",
        f"{group}/memory.stat": f"inactive_file 7\ntotal_inactive_file {cached}\n",
    }


def within(*lines):
    return {"proc/self/cgroup": "".join(f"{line}\n" for line in lines)}


SLURM_2 = "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
SLURM_1 = "/slurm/uid_7/job_7/step_0"

CASES = {
    "no control groups": ({}, 5_120_000),
    "a container, which sees its own group as the top": (
        within("0::/") | version_2("", 3_000_000, 1_000_000),
        2_000_000,
    ),
    "no limit": (within("0::/") | version_2("", "max", 1_000_000), 5_120_000),
    "files that can be had back": (
        within("0::/") | version_2("", 3_000_000, 2_500_000, "anon 5\ninactive_file 1500000\n"),
        2_000_000,
    ),
    "no word of what can be had back": (
        within("0::/") | version_2("", 3_000_000, 2_500_000, "anon 5\n"),
        500_000,
    ),
    "more used than the limit": (within("0::/") | version_2("", 3_000_000, 3_500_000), 0),
    "a limit on the way up": (
        within(f"0::{SLURM_2}")
        | version_2(SLURM_2, "max", 400_000)
        | version_2("/system.slice/slurmstepd.scope/job_7", 2_000_000, 500_000)
        | version_2("/system.slice", 4_000_000, 900_000),
        1_500_000,
    ),
    "a limit at the bottom": (
        within(f"0::{SLURM_2}")
        | version_2(SLURM_2, 1_000_000, 400_000)
        | version_2("/system.slice/slurmstepd.scope/job_7", 2_000_000, 500_000),
        600_000,
    ),
    "the group of another process": (
        within("0::/user.slice") | version_2("/system.slice", 1_000_000, 400_000),
        5_120_000,
    ),
    "a group that is not there, below one that is": (
        within("0::/docker/abc") | version_2("", 3_000_000, 1_000_000),
        2_000_000,
    ),
    "version 1, a limit on the way up": (
        within("9:cpu,cpuacct:/x", f"4:memory:{SLURM_1}", "0::/")
        | version_1("/slurm/uid_7/job_7", 2_000_000, 1_500_000, 700_000)
        | version_1(SLURM_1, 2**63 - 4096, 300_000),
        1_200_000,
    ),
    "version 1, a container": (
        within("4:memory:/docker/abc") | version_1("", 2_000_000, 500_000),
        1_500_000,
    ),
    "version 1, controllers joined": (
        within("4:cpu,memory:/x") | version_1("/x", 2_000_000, 500_000),
        1_500_000,
    ),
}


@pytest.mark.parametrize(("files", "expected"), CASES.values(), ids=CASES)
def test_the_smallest_of_what_machine_and_control_groups_leave_is_free(tmp_path, files, expected):
    for name, text in (MACHINE | files).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert free_memory.free_on_host(tmp_path) == expected


@pytest.mark.parametrize("text", [None, "MemTotal: 9000 kB\nMemFree: 100 kB\n"])
def test_without_a_word_of_linux_it_is_the_memory_of_the_machine(tmp_path, text):
    if text is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "meminfo").write_text(text)
    assert free_memory.free_on_host(tmp_path) > 1e7


GPU = SimpleNamespace(
    platform="gpu", memory_stats=lambda: {"bytes_limit": 80_000, "bytes_in_use": 30_000}
)


@pytest.mark.parametrize(
    ("device", "given", "expected"),
    [
        (SimpleNamespace(platform="cpu"), None, Free(7.0)),
        (SimpleNamespace(platform="cpu"), "2", Free(2e9)),
        (GPU, None, Free(7.0, 50_000.0)),
        (GPU, "2", Free(2e9, 2e9)),
    ],
)
def test_host_and_gpu_have_each_their_own(monkeypatch, device, given, expected):
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    monkeypatch.setattr(free_memory, "free_on_host", lambda: 7.0)
    monkeypatch.delenv(free_memory.VARIABLE, raising=False)
    if given:
        monkeypatch.setenv(free_memory.VARIABLE, given)
    assert free_memory.free() == expected


@pytest.mark.parametrize("given", ["much", "0", "-2", "nan"])
def test_memory_that_is_given_must_be_a_positive_number(monkeypatch, given):
    monkeypatch.setenv(free_memory.VARIABLE, given)
    with pytest.raises(StudyError, match=f"must be a positive number of GB, not '{given}'"):
        free_memory.free()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"SLURM_MEM_PER_NODE": "3000"}, 3000),
        ({"SLURM_MEM_PER_CPU": "500", "SLURM_CPUS_ON_NODE": "4"}, 2000),
        ({"SLURM_MEM_PER_CPU": "500"}, 500),
        ({"SLURM_MEM_PER_NODE": "0"}, None),
        ({"SLURM_MEM_PER_NODE": "4G"}, None),
        ({}, None),
    ],
)
def test_what_slurm_gave_a_job_counts_where_nothing_enforces_it(monkeypatch, given, expected):
    for name in ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    taken = SimpleNamespace(ru_maxrss=100 * 1024)
    monkeypatch.setattr(free_memory.resource, "getrusage", lambda _: taken)
    found = free_memory._of_job(free_memory.os.environ)
    assert found == (float("inf") if expected is None else (expected - 100) * 2**20)
