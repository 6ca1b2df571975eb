"""The device is set before JAX is imported, asserted and recorded."""

import os
import subprocess
import sys

import pytest

from scalecheck import device
from scalecheck.errors import StudyError

READ_BY_JAX = (
    "JAX_PLATFORMS",
    "JAX_ENABLE_X64",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "CUDA_VISIBLE_DEVICES",
    "SCALECHECK_PLATFORM",
)


@pytest.fixture
def environment(monkeypatch):
    """An environment without any of our settings, as a dictionary of what is set."""
    for name in READ_BY_JAX:
        monkeypatch.delenv(name, raising=False)
    return os.environ


@pytest.mark.parametrize(
    ("gpus", "override", "expected"),
    [(0, None, "cpu"), (1, None, None), (1, "cpu", "cpu"), (0, "cuda", "cuda"), (0, "", "cpu")],
)
def test_no_gpu_means_the_processor_and_the_variable_overrides(
    environment, monkeypatch, tmp_path, gpus, override, expected
):
    monkeypatch.setattr(device, "_visible_gpus", list)
    if override is not None:
        monkeypatch.setenv("SCALECHECK_PLATFORM", override)
    device.choose(gpus, "float32", tmp_path / "cache")
    assert environment.get("JAX_PLATFORMS") == expected
    assert environment["JAX_ENABLE_X64"] == "0"
    assert environment["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "cache")


def test_a_cache_that_is_set_stays_and_float64_is_passed_on(environment, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    device.choose(0, "float64", tmp_path)
    assert environment["JAX_ENABLE_X64"] == "1"
    assert environment["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"


def test_jobs_of_one_machine_take_different_gpus(environment, monkeypatch, tmp_path):
    monkeypatch.setattr(device, "_visible_gpus", lambda: ["0", "1"])
    monkeypatch.setattr(device, "_leases", [])
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    taken = []
    for _ in range(2):
        device.choose(1, "float32", tmp_path)
        taken.append(environment["CUDA_VISIBLE_DEVICES"])
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert taken == ["0", "1"]
    device._leases.pop(0).close()  # the first job ends
    device.choose(1, "float32", tmp_path)
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"
    for lease in device._leases:
        lease.close()


def test_a_gpu_that_was_assigned_is_not_leased_again(environment, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(device, "_lease_gpu", lambda: pytest.fail("leased"))
    device.choose(1, "float32", tmp_path)
    assert environment["CUDA_VISIBLE_DEVICES"] == "3"


def test_the_device_that_jax_took_is_described():
    found = device.confirm(0)
    assert found == {"platform": "cpu", "device": "cpu", "note": ""}


class FakeDevice:
    platform, device_kind = "gpu", "Fake H1"

    def __str__(self):
        return "fake:0"


def test_jax_on_another_device_than_it_was_told_is_an_error(environment, monkeypatch):
    import jax

    monkeypatch.setattr(jax, "devices", lambda: [FakeDevice()])
    assert device.confirm(1) == {"platform": "gpu", "device": "Fake H1", "note": ""}
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    with pytest.raises(StudyError, match="was to run on the processor, but JAX took fake:0"):
        device.confirm(0)


def test_a_gpu_that_jax_cannot_use_is_noted(environment, monkeypatch):
    monkeypatch.setattr(device, "_visible_gpus", lambda: ["0"])
    assert "install scalecheck with the extra cuda13" in device.confirm(1)["note"]
    assert device.confirm(0)["note"] == ""


def test_a_platform_that_is_not_here_is_one_line(tmp_path):
    program = (
        "from pathlib import Path\n"
        "from scalecheck import device, errors\n"
        "device.choose(0, 'float32', Path('cache'))\n"
        "try:\n    device.confirm(0)\n"
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
