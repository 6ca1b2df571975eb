"""Snakemake that looks at its jobs every second.

The executor looks 10 s later each time in which nothing ended, and no option says otherwise: tests would do
little but wait. Jobs start Snakemake as it is.
"""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

SECONDS = 1.0


def _unchanged(executor: RemoteExecutor, seconds: float) -> None:
    """The executor may ask for another interval."""


if __name__ == "__main__":
    RemoteExecutor.next_seconds_between_status_checks = property(lambda _: SECONDS, _unchanged)  # pyright: ignore
    sys.argv[0] = "snakemake"
    main()
