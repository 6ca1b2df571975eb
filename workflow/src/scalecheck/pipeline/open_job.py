"""Open a job of fits: the device first, and only then what imports JAX."""

import json
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import device, program
from scalecheck.study import settings

if TYPE_CHECKING:
    from scalecheck.fitting.fit_job import Job


def open_job(options: Namespace, log: program.Log) -> "Job":
    """Choose the device of a program of fits, and make its job.

    Parameters
    ----------
    options
        With `settings`, `folder`, `gpu` and `gres`.
    """
    study = settings.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    gpus = device.count_gpus(options.gpu, options.gres)
    device.choose_device(gpus, study.sampler.precision, folder.cache, log)
    from scalecheck.fitting import fit_job

    found = device.check_device(gpus)
    if found["note"]:
        log(found["note"])
    importing = (time.perf_counter() - program.BEGAN, time.process_time())
    return fit_job.Job(folder, study, json.loads(options.settings), found, importing, log)
