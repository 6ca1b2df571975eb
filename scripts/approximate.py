#!/usr/bin/env python
"""Approximate the posterior of all rows, if the study asks for it, and say whether to believe it."""

from argparse import ArgumentParser, Namespace

from scalecheck.pipeline import approximate_once, open_job
from scalecheck.runtime import program


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    program.add_devices(parser)


def run(options: Namespace, log: program.Log) -> None:
    """Approximate, unless the same was."""
    approximate_once.approximate_once(open_job.assign(options, log))


if __name__ == "__main__":
    program.main("scalecheck-approximate", __doc__, run, add_options)
