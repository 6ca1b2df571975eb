"""Open a job of fits: the device first, and only then what imports JAX."""

import json
import time
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline.assignment import Assignment
from scalecheck.runtime import device, program
from scalecheck.study import settings

if TYPE_CHECKING:
    from scalecheck.fitting.fit_job import Job


def assign(options: Namespace, log: program.Log) -> Assignment:
    """Read what a program of fits is to do, before it needs a device.

    Parameters
    ----------
    options
        With `settings`, `folder`, `gpu` and `gres`.
    """
    study = settings.read_settings(options.settings)
    gpus = device.count_gpus(options.gpu, options.gres)
    return Assignment(
        StudyFolder(options.folder),
        study,
        json.loads(study.sections()),
        device.platform_of(gpus),
        log,
        _OpenedOnce(lambda: open_job(options, log)),
    )


class _OpenedOnce:
    """Opens a job at the first call; later ones give it again, without what importing took, which is told once."""

    def __init__(self, open_job: Callable[[], "Job"]) -> None:
        self._open, self._job = open_job, None

    def __call__(self) -> "Job":
        job = self._job or self._open()
        self._job = job._replace(importing=(0.0, 0.0))
        return job


def open_job(options: Namespace, log: program.Log) -> "Job":
    """Choose the device of a program of fits, and make its job.

    Parameters
    ----------
    options
        With `settings`, `folder`, `gpu` and `gres`.
    """
    study = settings.read_settings(options.settings)
    folder = StudyFolder(options.folder)
    gpus = device.count_gpus(options.gpu, options.gres)
    device.choose_device(gpus, study.sampler.precision, folder.cache, log)
    from scalecheck.fitting import fit_job

    found = device.check_device(gpus)
    if found["note"]:
        log(found["note"])
    importing = (time.perf_counter() - program.BEGAN, time.process_time())
    return fit_job.Job(folder, study, json.loads(study.sections()), found, importing, log)
