#!/usr/bin/env python
"""Run the whole plan on data sets simulated from the posterior, and rank the study among them."""

from argparse import ArgumentParser, Namespace

from scalecheck.pipeline import open_job
from scalecheck.runtime import program


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    program.add_devices(parser)


def run(options: Namespace, log: program.Log) -> None:
    """Simulate, fit, check and rank."""
    job = open_job.open_job(options, log)
    from scalecheck.pipeline import simulate

    simulate.write_ranks(job)


if __name__ == "__main__":
    program.main("scalecheck-simulate", __doc__, run, add_options)
