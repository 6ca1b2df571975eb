"""A study that is killed again and again ends as one that was left alone."""

import random
from pathlib import Path

import kills
import pytest


@pytest.mark.slow
def test_a_study_killed_five_times_ends_with_the_same_bits(tmp_path: Path) -> None:
    alone, cache = tmp_path / "alone", tmp_path / "jax"
    kills.write_study(alone)
    seconds = kills.run(alone, cache)
    found = kills.run_with_kills(tmp_path / "killed", cache, 5, random.Random(1), seconds / 2)
    assert {one.signal for one in found} == {"SIGKILL", "SIGTERM"}
    assert kills.differences(alone, tmp_path / "killed") == []
