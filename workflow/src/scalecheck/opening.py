"""Open a job of fits: the device first, and only then what imports JAX."""

import json
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from scalecheck import device, program, study
from scalecheck.program import Log
from scalecheck.study_folder import StudyFolder

if TYPE_CHECKING:
    from scalecheck.chain import Job


def open_job(options: Namespace, log: Log) -> "Job":
    """Choose the device of a program of fits, and make its job.

    Parameters
    ----------
    options
        With `settings`, `folder`, `gpu` and `gres`.
    """
    sections = study.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    gpus = device.count(options.gpu, options.gres)
    device.choose(gpus, sections["sampler"].precision, folder.cache, log)
    from scalecheck import chain

    found = device.confirm(gpus)
    if found["note"]:
        log(found["note"])
    importing = (time.perf_counter() - program.BEGAN, time.process_time())
    return chain.Job(folder, sections, json.loads(options.settings), found, importing, log)
