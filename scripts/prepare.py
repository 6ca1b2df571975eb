#!/usr/bin/env python
"""Read the data of a study, check them, and store them in the orders in which fits read them."""

from argparse import Namespace

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import program
from scalecheck.study import settings


def run(options: Namespace, log: program.Log) -> None:
    """Prepare the data."""
    study = settings.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck.pipeline import prepare

    meta = prepare.prepare(folder, study.data, study.model, study.subsets.levels, study.seed, log)
    log(f"{meta.n_rows} rows of {meta.file}; left out: {meta.dropped or 'none'}")


if __name__ == "__main__":
    program.main("scalecheck-prepare", __doc__, run)
