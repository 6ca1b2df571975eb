"""Open a job of fits: the device first, and only then what imports JAX."""

import json
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from scalecheck import device, program, study
from scalecheck.program import Log
from scalecheck.records import StudyFolder

if TYPE_CHECKING:
    from scalecheck.chain import Job


def open_job(options: Namespace, log: Log) -> "Job":
    """Choose the device of a program of fits, and make its job.

    Parameters
    ----------
    options
        With `settings`, `folder` and `gpu`.
    """
    sections = study.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    device.choose(options.gpu, sections["sampler"].precision, folder.cache)
    from scalecheck import chain

    found = device.confirm(options.gpu)
    importing = (time.perf_counter() - program.BEGAN, time.process_time())
    return chain.Job(folder, sections, json.loads(options.settings), found, importing, log)
