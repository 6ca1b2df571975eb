#!/usr/bin/env python
"""Fit the model to slices of the data: a batch of one shape, or one increment."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from scalecheck.files import formats, layout
from scalecheck.pipeline import fit, open_job
from scalecheck.runtime import program
from scalecheck.study import jobs


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    which = parser.add_mutually_exclusive_group(required=True).add_argument
    which("--fits", nargs="+", default=[], help="names from plan.csv")
    which("--part", help="2-of-5: the second of five parts of subsets and levels")
    which("--increments", action="store_true", help="all, one after the other, each looked at")
    parser.add_argument("--increment", action="store_true", help="look at the fit as it ends")
    parser.add_argument("--after", help="the increment before this one")
    parser.add_argument("--manifest", type=Path, help="written when the whole batch is done")
    program.add_devices(parser)


def fits_of(options: Namespace) -> list[str]:
    """Name the fits that are asked for: once, so that those are written that are claimed."""
    plan = formats.read_plan(layout.StudyFolder(options.folder).plan)
    if options.part:
        options.fits = jobs.fits_of(plan, options.part)
    return options.fits or [row.fit for row in plan if row.kind == "increment"]


def run(options: Namespace, log: program.Log) -> None:
    """Fit what is not there yet."""
    fit.write(open_job.assign(options, log), options)


if __name__ == "__main__":
    program.main("scalecheck-fit", __doc__, run, add_options, fits_of)
