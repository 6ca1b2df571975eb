#!/usr/bin/env python
"""Plan which rows belong to which fit."""

from argparse import Namespace

from scalecheck import program, records, study
from scalecheck.study_folder import StudyFolder


def run(options: Namespace, log: program.Log) -> None:
    """Write plan.csv."""
    sections = study.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck import plan, store

    orders = store.read_orders(folder.data)
    fits = plan.make_plan(*orders, sections["subsets"], sections["increments"])
    records.write_plan(folder.plan, [fit[: len(records.PLAN_COLUMNS)] for fit in fits])
    log(f"{len(fits)} fits")


if __name__ == "__main__":
    program.main("scalecheck-plan", __doc__, run)
