#!/usr/bin/env python
"""Search for what would help the geometry of a fit: of a finished study, or of a model without data."""

from argparse import ArgumentParser
from pathlib import Path

from scalecheck.runtime import program


def main() -> None:
    """Search, with progress and errors on stderr."""
    parser = ArgumentParser(prog="scalecheck-remedies", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("study", nargs="?", help="file of a study that has run")
    what.add_argument("--target", help="FILE:FUNCTION, a NumPyro model without arguments")
    parser.add_argument(
        "--gradients", type=int, help="of each chain of a candidate; default 100000"
    )
    parser.add_argument("--depth", type=int, default=10, help="of --target: max_tree_depth")
    parser.add_argument("--csv", type=Path, help="of --target: also write the table to this file")
    program.add_devices(parser)
    parser.add_argument("--log", type=Path, help="file for progress lines; default: stderr")
    options = parser.parse_args()
    with program.errors_in_one_line():
        from scalecheck.pipeline import remedies

        print(remedies.run(options))


if __name__ == "__main__":
    main()
