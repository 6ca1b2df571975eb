"""One cluster and one cache of compiled programs for all tests."""

from collections.abc import Iterator
from pathlib import Path

import cluster as clusters
import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[clusters.Cluster]:
    """Slurm on the loopback."""
    if reason := clusters.why_not():
        pytest.skip(reason)
    pytest.importorskip(
        "snakemake_executor_plugin_slurm", reason="no executor: pip install -e '.[slurm]'"
    )
    with clusters.running() as started:
        yield started


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")
