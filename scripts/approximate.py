#!/usr/bin/env python
"""Approximate the posterior of all rows, if the study asks for it, and say whether to believe it."""

import json
import time
from argparse import ArgumentParser, Namespace

from scalecheck import program, records, study


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    parser.add_argument("--gpu", type=int, default=0, help="GPUs that the scheduler gave this job")


def run(options: Namespace, log: program.Log) -> None:
    """Choose the device, then approximate."""
    from scalecheck import device

    sections = study.parse_sections(options.settings)
    folder = records.StudyFolder(options.folder)
    device.choose(options.gpu, sections["sampler"].precision, folder.cache)
    from scalecheck import chain
    from scalecheck.variational import job

    found = device.confirm(options.gpu)
    importing = (time.perf_counter() - program.BEGAN, time.process_time())
    raw = json.loads(options.settings)
    job.write_approximation(chain.Job(folder, sections, raw, found, importing, log))


if __name__ == "__main__":
    program.main("scalecheck-approximate", __doc__, run, add_options)
