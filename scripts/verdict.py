#!/usr/bin/env python
"""Decide the verdict of a study from what its checks found."""

from argparse import Namespace

from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import program
from scalecheck.study import settings


def run(options: Namespace, log: program.Log) -> None:
    """Decide, and say so."""
    sections = settings.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck.pipeline import verdict

    order, limits = sections["increments"]["order"], sections["budget"]
    content = verdict.conclude(
        folder,
        sections["study"],
        order,
        sections["verdict"],
        limits,
        sections["approximation"],
        log,
    )
    line = f"verdict: {content['verdict']} ({folder.verdict})"
    log(line)
    print(line)


if __name__ == "__main__":
    program.main("scalecheck-verdict", __doc__, run)
