"""The device is set before JAX is imported, asserted and recorded."""

import os
import subprocess
import sys

import pytest

from scalecheck.errors import StudyError
from scalecheck.runtime import device

READ_BY_JAX = (
    "JAX_PLATFORMS",
    "JAX_ENABLE_X64",
    "CUDA_VISIBLE_DEVICES",
    "SCALECHECK_PLATFORM",
    "SLURM_JOB_ID",
)


@pytest.fixture
def environment(monkeypatch):
    """An environment without any of our settings, as a dictionary of what is set."""
    for name in READ_BY_JAX:
        monkeypatch.delenv(name, raising=False)
    return os.environ


@pytest.fixture
def four_gpus(environment, monkeypatch, tmp_path):
    """Leases of a machine with four GPUs, in a folder of their own; given back at the end."""
    leases = []
    monkeypatch.setattr(device, "_listed_gpus", lambda: ["0", "1", "2", "3"])
    monkeypatch.setattr(device, "_leases", leases)
    monkeypatch.setattr(device, "LEASES", tmp_path)
    yield leases
    for lease in leases:
        lease.close()


def untold(line):
    pytest.fail(f"nothing was to be said: {line}")


def choose(gpus, log=untold):
    device.set_environment(gpus, "float32", log)


@pytest.mark.parametrize(
    ("gpus", "override", "expected"),
    [(0, None, "cpu"), (1, None, None), (1, "cpu", "cpu"), (0, "cuda", "cuda"), (0, "", "cpu")],
)
def test_no_gpu_means_the_processor_and_the_variable_overrides(
    environment, monkeypatch, gpus, override, expected
):
    monkeypatch.setattr(device, "_listed_gpus", list)
    if override is not None:
        monkeypatch.setenv("SCALECHECK_PLATFORM", override)
    choose(gpus)
    assert environment.get("JAX_PLATFORMS") == expected
    assert environment["JAX_ENABLE_X64"] == "0"


def test_float64_is_passed_on(environment):
    device.set_environment(0, "float64", untold)
    assert environment["JAX_ENABLE_X64"] == "1"


@pytest.mark.parametrize(
    ("gpu", "gres", "expected"),
    [
        (0, "", 0),
        (1, "", 1),
        (2, "", 2),
        (0, "gpu", 1),
        (0, "gpu:2", 2),
        (0, "gpu:a100", 1),
        (0, "gpu:a100:3", 3),
        (0, "gpu:v100-32gb:1", 1),
        (0, "lustre:4", 0),
        (0, "shard:2,gpu:1", 1),
    ],
)
def test_gpus_are_counted_by_number_and_by_gres(gpu, gres, expected):
    assert device.count_gpus(gpu, gres) == expected


def test_jobs_of_one_machine_take_different_gpus(environment, monkeypatch, four_gpus):
    taken = []
    for _ in range(4):
        choose(1)
        taken.append(environment["CUDA_VISIBLE_DEVICES"])
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert taken == ["0", "1", "2", "3"]
    four_gpus.pop(2).close()  # the third job ends
    choose(1)
    assert environment["CUDA_VISIBLE_DEVICES"] == "2"


def test_a_lease_ends_with_its_process_however_that_ends(environment, tmp_path, four_gpus):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from scalecheck.runtime import device\n"
        "device._listed_gpus, device.LEASES = lambda: ['0'], Path(sys.argv[1])\n"
        "device.set_environment(1, 'float32', print)\n"
        "print('taken', flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "taken\n"
        choose(1)
        assert environment.pop("CUDA_VISIBLE_DEVICES") == "1"
        process.kill()
    choose(1)
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"


def test_who_waits_for_a_gpu_says_so_once(environment, monkeypatch, four_gpus):
    for _ in range(4):
        choose(1)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    lines, naps = [], []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            four_gpus.pop(1).close()

    monkeypatch.setattr(device.time, "sleep", nap)
    choose(1, lines.append)
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert lines == ["waits for a GPU: other jobs have taken 0, 1, 2, 3"]
    assert len(naps) == 3


@pytest.mark.parametrize("shown", ["", "-1"])
def test_where_no_gpu_is_shown_none_is_leased(environment, monkeypatch, shown):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    monkeypatch.setattr(device, "_lease", lambda *_: pytest.fail("leased"))
    choose(1)
    assert environment["CUDA_VISIBLE_DEVICES"] == shown


@pytest.mark.parametrize("shown", ["3", "GPU-5c89fd2b", "MIG-GPU-5c89fd2b/1/0"])
def test_the_only_gpu_that_is_shown_is_leased_as_well(environment, monkeypatch, four_gpus, shown):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    choose(1)
    assert environment["CUDA_VISIBLE_DEVICES"] == shown
    with pytest.raises(pytest.fail.Exception, match=f"waits for a GPU: .* {shown}"):
        choose(1)


def test_a_lease_of_another_user_counts(environment, monkeypatch, tmp_path, four_gpus):
    """Who holds it has a umask, a home and a TMPDIR of its own; others can read its file."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    before = os.umask(0o077)
    try:
        choose(1)
    finally:
        os.umask(before)
    (path,) = tmp_path.glob("scalecheck-gpu-*")
    assert path.stat().st_mode & 0o777 == 0o644
    for name in ("USER", "LOGNAME", "HOME", "TMPDIR"):
        monkeypatch.setenv(name, f"{tmp_path}/another")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(pytest.fail.Exception, match="waits for a GPU"):
        choose(1)


def test_of_several_gpus_that_are_shown_one_is_leased(environment, monkeypatch, four_gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    choose(1)
    assert environment["CUDA_VISIBLE_DEVICES"] == "3"


def test_jobs_of_a_queue_that_numbers_gpus_from_zero_do_not_wait_for_each_other(
    environment, monkeypatch, four_gpus
):
    for job in ("11", "12"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        choose(1)
        assert environment["CUDA_VISIBLE_DEVICES"] == "0"


def test_the_processor_needs_no_lease(environment, monkeypatch, four_gpus):
    choose(0)
    monkeypatch.setenv("SCALECHECK_PLATFORM", "cpu")
    choose(1)
    assert four_gpus == []
    assert "CUDA_VISIBLE_DEVICES" not in environment


ON_THE_PROCESSOR = {"platform": "cpu", "device": "cpu", "gpu": None, "override": "", "note": ""}


def test_the_device_that_jax_took_is_described(environment, monkeypatch):
    monkeypatch.setattr(device, "_listed_gpus", list)
    assert device.check_device(0) == ON_THE_PROCESSOR


def test_an_override_is_described_beside_the_gpu_that_was_assigned(environment, monkeypatch):
    monkeypatch.setenv("SCALECHECK_PLATFORM", "cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    assert device.check_device(1) == ON_THE_PROCESSOR | {"gpu": "5", "override": "cpu"}
    assert device.check_device(0) == ON_THE_PROCESSOR | {"override": "cpu"}


class FakeDevice:
    platform, device_kind = "gpu", "Fake H1"

    def __str__(self):
        return "fake:0"


def test_jax_on_another_device_than_it_was_told_is_an_error(environment, monkeypatch):
    import jax

    monkeypatch.setattr(jax, "devices", lambda: [FakeDevice()])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert device.check_device(1) == {
        "platform": "gpu",
        "device": "Fake H1",
        "gpu": "2",
        "override": "",
        "note": "",
    }
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    with pytest.raises(StudyError, match="was to run on the processor, but JAX took fake:0"):
        device.check_device(0)


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        ([], "none is here: ask for none with --resources gpu=0"),
        (["0"], "JAX cannot use the one that is here: install scalecheck with the extra cuda13"),
    ],
)
def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(
    environment, monkeypatch, listed, why
):
    monkeypatch.setattr(device, "_listed_gpus", lambda: listed)
    with pytest.raises(StudyError, match=f"^--gpu 1: {why}.*; SCALECHECK_PLATFORM=cpu overrides$"):
        device.check_device(1)


def test_a_gpu_that_nobody_asked_for_is_noted(environment, monkeypatch):
    monkeypatch.setattr(device, "_listed_gpus", lambda: ["0"])
    note = "a GPU is here and was not asked for: --resources gpu=1"
    assert device.check_device(0) == ON_THE_PROCESSOR | {"note": note}


def test_a_platform_that_is_not_here_is_one_line(tmp_path):
    program = (
        "from pathlib import Path\n"
        "from scalecheck import errors\n"
        "from scalecheck.runtime import device\n"
        "device.choose_device(0, 'float32', Path('cache'), print)\n"
        "try:\n    device.check_device(0)\n"
        "except errors.StudyError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "SCALECHECK_PLATFORM": "tpu"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("JAX finds no tpu device: ")
    assert done.stdout.count("\n") == 1
