#!/usr/bin/env python
"""Fit the model to slices of the data: a batch of one shape, or one increment of the chain."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from scalecheck import opening, parts, program, records, study_folder


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--fits", nargs="+", default=[], help="names from plan.csv")
    which.add_argument("--part", help="2-of-5: the second of five parts of all subsets and levels")
    parser.add_argument("--increment", action="store_true", help="look at the fit as it ends")
    parser.add_argument("--after", help="the increment before this one")
    parser.add_argument("--manifest", type=Path, help="written when the whole batch is done")
    program.add_devices(parser)


def fits_of(options: Namespace) -> list[str]:
    """Name the fits that are asked for: once, so that those are written that are claimed."""
    plan = study_folder.StudyFolder(options.folder).plan
    options.fits = options.fits or parts.fits_of(records.read_plan(plan), options.part)
    return options.fits


def run(options: Namespace, log: program.Log) -> None:
    """Choose the device, then fit."""
    job = opening.open_job(options, log)
    from scalecheck import chain

    if options.increment:
        chain.write_increment(job, options.fits[0], options.after)
    else:
        chain.write_batch(job, options.fits, options.manifest)


if __name__ == "__main__":
    program.main("scalecheck-fit", __doc__, run, add_options, fits_of)
