#!/usr/bin/env python
"""Run the whole plan on data sets simulated from the posterior, and check each."""

from argparse import ArgumentParser, Namespace

from scalecheck.pipeline import open_job, simulate
from scalecheck.runtime import program


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    program.add_devices(parser)


def run(options: Namespace, log: program.Log) -> None:
    """Simulate, fit and check."""
    simulate.write_simulated(open_job.assign(options, log))


if __name__ == "__main__":
    program.main("scalecheck-simulate", __doc__, run, add_options)
