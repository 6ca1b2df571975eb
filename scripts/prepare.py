#!/usr/bin/env python
"""Read the data of a study, check them, and store them in the orders in which fits read them."""

from argparse import Namespace

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import program
from scalecheck.study import settings


def run(options: Namespace, log: program.Log) -> None:
    """Prepare the data."""
    sections = settings.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck.pipeline import prepare

    levels, seed = sections["subsets"]["levels"], sections["seed"]
    meta = prepare.prepare(folder, sections["data"], sections["model"], levels, seed)
    log(f"{meta.n_rows} rows of {meta.file}; left out: {meta.dropped or 'none'}")


if __name__ == "__main__":
    program.main("scalecheck-prepare", __doc__, run)
