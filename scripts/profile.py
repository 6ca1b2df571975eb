#!/usr/bin/env python
"""Measure what one gradient of a study costs, by device, precision and size, and what a fit would take."""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from scalecheck import configuration, program, records, study_folder


def run(options: Namespace, log: program.Log) -> None:
    """Measure, and print the table."""
    from scalecheck import device

    study = configuration.read_study(options.study)
    folder = study_folder.StudyFolder(Path(study.results) / study.study)
    device.choose(1, "float32", folder.cache, log)
    from scalecheck import gradient_profile

    costs = gradient_profile.profile(study, options.rows, log)
    seen = gradient_profile.leapfrogs_seen(folder, study)
    table = gradient_profile.table(costs, study, seen)
    if options.csv is not None:
        records.write_table(options.csv, table)
    print(gradient_profile.as_text(table, study, seen, len(os.sched_getaffinity(0))))


def main() -> None:
    """Measure, with progress and errors on stderr."""
    parser = ArgumentParser(prog="scalecheck-profile", description=__doc__)
    parser.add_argument("study", nargs="?", default="config/config.yaml", help="its file")
    parser.add_argument("--rows", type=int, help="rows of the largest size; default: all")
    parser.add_argument("--csv", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    with program.errors_in_one_line():
        run(options, program.open_log(None))


if __name__ == "__main__":
    main()
