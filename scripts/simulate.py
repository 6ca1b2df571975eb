#!/usr/bin/env python
"""Run the whole plan on data sets simulated from the posterior, and rank the study among them."""

from argparse import ArgumentParser, Namespace

from scalecheck import opening, program, records, study


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    program.add_devices(parser)


def run(options: Namespace, log: program.Log) -> None:
    """Simulate, fit, check and rank."""
    job = opening.open_job(options, log)
    from scalecheck import exact

    table = exact.calibrate_exactly(job.folder, study.Study(**job.sections), log)
    records.write_table(job.folder.table("simulated"), table)


if __name__ == "__main__":
    program.main("scalecheck-simulate", __doc__, run, add_options)
