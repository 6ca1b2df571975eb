"""Which device a fit runs on: chosen before JAX is imported, asserted and recorded after."""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from scalecheck.errors import StudyError
from scalecheck.runtime import compiled_programs
from scalecheck.runtime.program import Log

PLATFORM = "SCALECHECK_PLATFORM"
VISIBLE = "CUDA_VISIBLE_DEVICES"

# Names that JAX takes for a platform whose devices it then calls `gpu`.
_KINDS_OF_GPU = ("cuda", "rocm")

# Not TMPDIR's, which users and jobs have of their own.
LEASES = Path("/tmp")
# Held until the process ends, however it ends: the lock goes with the open file.
_leases: list[IO[bytes]] = []


def count_gpus(gpu: int, gres: str) -> int:
    """GPUs that a job was given, by number or by Slurm's gres: `gpu`, `gpu:2`, `gpu:a100:1`.

    Parameters
    ----------
    gres
        Generic resources, several by commas; those that are no GPU do not count.
    """
    found = [re.fullmatch(r"gpu(?::[^:]*[^:\d][^:]*)?(?::(\d+))?", one) for one in gres.split(",")]
    return gpu + sum(int(one[1] or 1) for one in found if one)


def platform_of(gpus: int) -> str:
    """Give the kind of device that a job computes on, as JAX will call it: `cpu` or `gpu`, or what overrides it.

    Parameters
    ----------
    gpus
        GPUs that the scheduler gave this job.
    """
    platform = os.environ.get(PLATFORM) or ("gpu" if gpus else "cpu")
    return "gpu" if platform in _KINDS_OF_GPU else platform


def choose_device(gpus: int, precision: str, cache: Path, log: Log) -> None:
    """Choose the device and the folder of compiled programs, and import JAX, which goes by them.

    Parameters
    ----------
    gpus
        GPUs that the scheduler gave this job; 0 means the processor. `SCALECHECK_PLATFORM`
        overrides.
    precision
        `float32` or `float64`.
    cache
        Folder of compiled programs, where the user's own cannot be written to.
    log
        Takes a line when all GPUs are taken and the job has to wait.

    Raises
    ------
    StudyError
        When an environment variable of ours has a value that cannot be.
    """
    bound = compiled_programs.choose_folder(cache, log)
    set_environment(gpus, precision, log)
    compiled_programs.share(bound)


def set_environment(gpus: int, precision: str, log: Log) -> None:
    """Set the environment that JAX reads at its import; parameters as of `choose_device`."""
    platform = os.environ.get(PLATFORM) or ("cpu" if gpus == 0 else "")
    if platform:
        os.environ["JAX_PLATFORMS"] = platform
    if platform != "cpu":
        _take_gpu(log)
    os.environ["JAX_ENABLE_X64"] = "1" if precision == "float64" else "0"


def _take_gpu(log: Log) -> None:
    """Leave this process one GPU: Snakemake counts GPUs but assigns none.

    A batch queue assigns one by showing no other: of these, too, jobs that share an allocation take one each.
    """
    shown = os.environ.get(VISIBLE)
    devices = _listed_gpus() if shown is None else [name for name in shown.split(",") if name]
    if devices and devices != ["-1"]:  # CUDA's word for none
        os.environ[VISIBLE] = _lease(devices, log)


def _lease(devices: list[str], log: Log) -> str:
    """Take the first GPU that no other process has taken; wait while there is none."""
    # Queues may number the GPUs of each job from 0.
    job = os.environ.get("SLURM_JOB_ID", "")
    has_told = False
    while True:
        for device in devices:
            lease = _open_lock(LEASES / f"scalecheck-gpu-{job}-{quote(device, safe='')}.lock")
            try:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lease.close()
                continue
            _leases.append(lease)
            return device
        if not has_told:
            log(f"waits for a GPU: other jobs have taken {', '.join(devices)}")
            has_told = True
        time.sleep(0.5)


def _open_lock(path: Path) -> IO[bytes]:
    """Open a file that users of one machine share: whoever came first has made it, the others only read it."""
    before = os.umask(0o022)
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o644))
    finally:
        os.umask(before)
    return path.open("rb")


def _listed_gpus() -> list[str]:
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


@contextlib.contextmanager
def on_processor() -> Iterator[None]:
    """Compute on the processor in float32, where nothing else is said, whatever the fits of this process had.

    Where an override leaves JAX no processor, on what there is.
    """
    import jax

    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(False))
        with contextlib.suppress(RuntimeError):
            stack.enter_context(jax.default_device(jax.devices("cpu")[0]))
        yield


def check_device(gpus: int) -> dict[str, Any]:
    """Check that JAX took the device that was chosen, and describe it for the record.

    Raises
    ------
    StudyError
        When JAX runs elsewhere than it was told to, or finds no GPU where one was asked for.
    """
    device = _first_device()
    override = os.environ.get(PLATFORM, "")
    if os.environ.get("JAX_PLATFORMS") == "cpu" and device.platform != "cpu":
        raise StudyError(f"the fit was to run on the processor, but JAX took {device}")
    if gpus and not override and device.platform == "cpu":
        raise StudyError(_missing(gpus))
    idle = not gpus and not override and bool(_listed_gpus())
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "gpu": os.environ.get(VISIBLE) if gpus else None,
        "override": override,
        "note": "a GPU is here and was not asked for: --resources gpu=1" if idle else "",
    }


def _first_device() -> Any:
    import jax

    try:
        return jax.devices()[0]
    except RuntimeError as error:
        raise StudyError(
            f"JAX finds no {os.environ.get('JAX_PLATFORMS')} device: {str(error).splitlines()[0]}"
        ) from None


def _missing(gpus: int) -> str:
    if _listed_gpus():
        why = "JAX cannot use the one that is here: install scalecheck with the extra cuda13 or cuda12"
    else:
        why = "none is here: ask for none with --resources gpu=0"
    return f"--gpu {gpus}: {why}; SCALECHECK_PLATFORM=cpu overrides"
