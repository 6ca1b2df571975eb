#!/usr/bin/env python
"""Compare the fits of a study, decide its verdict, and write its page."""

from argparse import ArgumentParser, Namespace

from scalecheck.runtime import program


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    program.add_devices(parser)


def run(options: Namespace, log: program.Log) -> None:
    """Judge the study."""
    from scalecheck.pipeline import judge_study

    judge_study.judge_study(options, log)


if __name__ == "__main__":
    # A search that a person starts writes what this one writes.
    names = ("scalecheck-judge", "scalecheck-remedies")
    program.main("scalecheck-judge", __doc__, run, add_options, lambda options: names)
