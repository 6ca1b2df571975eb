#!/usr/bin/env python
"""Fit the model to slices of the data: a part of subsets, levels and axes, or all increments."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from scalecheck.files import formats, layout
from scalecheck.pipeline import fit, open_job
from scalecheck.runtime import program
from scalecheck.study import jobs


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    which = parser.add_mutually_exclusive_group(required=True).add_argument
    which("--part", help="2-of-5: the second of five parts of subsets, levels and axes")
    which("--increments", action="store_true", help="one after the other, each looked at")
    parser.add_argument("--manifest", type=Path, required=True, help="written when all is done")
    program.add_devices(parser)


def fits_of(options: Namespace) -> list[str]:
    """Name the fits that are asked for: once, so that those are written that are claimed."""
    plan = formats.read_plan(layout.StudyFolder(options.folder).plan)
    increments = [row.fit for row in plan if row.kind == "increment"]
    options.fits = increments if options.increments else jobs.fits_of(plan, options.part)
    return options.fits


def run(options: Namespace, log: program.Log) -> None:
    """Fit what is not there yet."""
    fit.write(open_job.assign(options, log), options)


if __name__ == "__main__":
    program.main("scalecheck-fit", __doc__, run, add_options, fits_of)
