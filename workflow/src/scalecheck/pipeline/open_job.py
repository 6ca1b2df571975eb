"""Open a job of fits: the device first, and only then what imports JAX."""

import json
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline.assignment import Assignment
from scalecheck.runtime import device, program
from scalecheck.study import settings
from scalecheck.study.settings import Study

if TYPE_CHECKING:
    from scalecheck.fitting.fit_job import Job


def assign(options: Namespace, log: program.Log) -> Assignment:
    """Read what a program of fits is to do, before it needs a device.

    Parameters
    ----------
    options
        With `settings`, `digest`, `folder`, `gpu` and `gres`.
    """
    # Once: a later run may write others while this one waits for its device.
    study = settings.read_settings(options.settings, options.digest)
    raw, folder = json.loads(study.sections()), StudyFolder(options.folder)
    gpus = device.count_gpus(options.gpu, options.gres)
    opened = _OpenedOnce(lambda: open_job(folder, study, raw, gpus, log))
    return Assignment(folder, study, raw, device.platform_of(gpus), log, opened)


class _OpenedOnce:
    """Opens a job at the first call; later ones give it again, without what importing took, which is told once."""

    def __init__(self, open_job: Callable[[], "Job"]) -> None:
        self._open, self._job = open_job, None

    def __call__(self) -> "Job":
        job = self._job or self._open()
        self._job = job._replace(importing=(0.0, 0.0))
        return job


def open_job(
    folder: StudyFolder, study: Study, raw: Mapping[str, Any], gpus: int, log: program.Log
) -> "Job":
    """Choose the device of a program of fits, and make its job.

    Parameters
    ----------
    folder, study, raw, log
        As of `Assignment`.
    gpus
        From `device.count_gpus`.
    """
    device.choose_device(gpus, study.sampler.precision, folder.cache, log)
    from scalecheck.fitting import fit_job

    found = device.check_device(gpus)
    if found["note"]:
        log(found["note"])
    importing = (time.perf_counter() - program.BEGAN, time.process_time())
    return fit_job.Job(folder, study, raw, found, importing, log)
