"""Which device a fit runs on: chosen before JAX is imported, asserted and recorded after."""

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from scalecheck.errors import StudyError

# Held until the process ends; the lock goes with the open file.
_leases: list[IO[str]] = []


def choose(gpus: int, precision: str, cache: Path) -> None:
    """Set the environment that JAX reads at its import.

    Parameters
    ----------
    gpus
        GPUs that the scheduler gave this job; 0 means the processor. `SCALECHECK_PLATFORM`
        overrides.
    precision
        `float32` or `float64`.
    cache
        Folder of compiled programs, shared by all jobs; `JAX_COMPILATION_CACHE_DIR` overrides.
    """
    platform = os.environ.get("SCALECHECK_PLATFORM") or ("cpu" if gpus == 0 else "")
    if platform:
        os.environ["JAX_PLATFORMS"] = platform
    if platform != "cpu" and "CUDA_VISIBLE_DEVICES" not in os.environ:
        _lease_gpu()
    os.environ["JAX_ENABLE_X64"] = "1" if precision == "float64" else "0"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache.absolute()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _lease_gpu() -> None:
    """Take one GPU of this machine for this process: Snakemake counts GPUs but assigns none."""
    devices = _visible_gpus()
    while devices:
        for device in devices:
            lease = (
                Path(tempfile.gettempdir()) / f"scalecheck-gpu-{os.getuid()}-{device}.lock"
            ).open("w")
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lease.close()
                continue
            _leases.append(lease)
            os.environ["CUDA_VISIBLE_DEVICES"] = device
            return
        time.sleep(0.5)


def _visible_gpus() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    listed = subprocess.run(
        [program, "--query-gpu=index", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return listed.stdout.split() if listed.returncode == 0 else []


def confirm(gpus: int) -> dict[str, Any]:
    """Check that JAX took the device that was chosen, and describe it for the record.

    Raises
    ------
    StudyError
        When JAX runs elsewhere than it was told to.
    """
    import jax

    try:
        device = jax.devices()[0]
    except RuntimeError as error:
        raise StudyError(
            f"JAX finds no {os.environ.get('JAX_PLATFORMS')} device: {str(error).splitlines()[0]}"
        ) from None
    wanted = os.environ.get("JAX_PLATFORMS", "")
    if wanted == "cpu" and device.platform != "cpu":
        raise StudyError(f"the fit was to run on the processor, but JAX took {device}")
    idle = gpus > 0 and not wanted and device.platform == "cpu" and bool(_visible_gpus())
    note = (
        "a GPU is here but JAX has no CUDA: install scalecheck with the extra cuda13"
        if idle
        else ""
    )
    return {"platform": device.platform, "device": device.device_kind, "note": note}
