#!/usr/bin/env python
"""Watch the fits of a study while they run: a table in the terminal, from the study's files alone."""

from argparse import ArgumentParser
from pathlib import Path

from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline import watch
from scalecheck.runtime import program


def main() -> None:
    """Show the table until the verdict is there, or once."""
    parser = ArgumentParser(prog="scalecheck-watch", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder results/<study>")
    parser.add_argument("--once", action="store_true", help="print the table once, and end")
    options = parser.parse_args()
    with program.errors_in_one_line():
        watch.watch(StudyFolder(options.folder), once=options.once)


if __name__ == "__main__":
    main()
