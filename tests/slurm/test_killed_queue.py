"""A study through Slurm that is killed again and again ends as one that was left alone on this machine."""

import random
from pathlib import Path

import kills
import pytest
from cluster import Cluster
from endings import differences
from here import Here
from queued import Queue

pytestmark = pytest.mark.long


def test_a_study_killed_in_the_queue_ends_with_the_same_bits(
    cluster: Cluster, tmp_path: Path
) -> None:
    alone, killed, cache = tmp_path / "alone", tmp_path / "killed", tmp_path / "jax"
    kills.write_study(alone)
    kills.end(Here(cache), alone)
    found = kills.run_with_kills(Queue(cluster, cache), killed, 5, random.Random(1), kills.MOST)
    assert len(found) >= 3
    assert {one.place for one in found} == {"slurm"}
    assert differences(alone, killed) == []
