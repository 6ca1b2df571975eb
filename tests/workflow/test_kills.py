"""A study that is killed again and again ends as one that was left alone."""

import random
from pathlib import Path

import kills
import pytest
from endings import differences
from here import Here


@pytest.mark.long
def test_a_study_killed_ten_times_ends_with_the_same_bits(tmp_path: Path) -> None:
    alone, place = tmp_path / "alone", Here(tmp_path / "jax")
    kills.write_study(alone)
    seconds = kills.end(place, alone)
    found: list[kills.Kill] = []
    rng, most = random.Random(1), seconds / 5
    while len(found) < 10:
        # A study that ends before its next kill is followed by another one, killed sooner.
        killed = tmp_path / f"killed-{len(found)}"
        found += kills.run_with_kills(place, killed, 10 - len(found), rng, most, 1, len(found))
        assert differences(alone, killed) == []
        most /= 2
    assert {(one.victim, one.by) for one in found} == set(place.blows)
