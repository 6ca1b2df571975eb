#!/usr/bin/env python
"""Measure what one gradient of a study costs, by device, precision and size, and what a fit would take."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import device, program
from scalecheck.study import read_study


def run(options: Namespace, log: program.Log) -> None:
    """Choose the device, then measure and print the table."""
    study = read_study.read_study(options.study)
    folder = StudyFolder(Path(study.results) / study.study)
    device.choose_device(1, "float32", folder.cache, log)
    from scalecheck.pipeline import profile

    print(profile.profile_study(folder, study, options.rows, options.csv, log))


def main() -> None:
    """Measure, with progress and errors on stderr."""
    parser = ArgumentParser(prog="scalecheck-profile", description=__doc__)
    parser.add_argument("study", nargs="?", default="config/config.yaml", help="its file")
    parser.add_argument("--rows", type=int, help="rows of the largest size; default: all")
    parser.add_argument("--csv", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    with program.logged(None) as log:
        run(options, log)


if __name__ == "__main__":
    main()
