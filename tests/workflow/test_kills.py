"""A study that is killed again and again ends as one that was left alone."""

import random
from pathlib import Path

import kills
import pytest


@pytest.mark.slow
def test_a_study_killed_ten_times_ends_with_the_same_bits(tmp_path: Path) -> None:
    alone, cache = tmp_path / "alone", tmp_path / "jax"
    kills.write_study(alone)
    seconds = kills.run(alone, cache)
    found: list[kills.Kill] = []
    rng, most = random.Random(1), seconds / 5
    while len(found) < 10:
        # A study that ends before its next kill is followed by another one, killed sooner.
        killed = tmp_path / f"killed-{len(found)}"
        found += kills.run_with_kills(killed, cache, 10 - len(found), rng, most, len(found))
        assert kills.differences(alone, killed) == []
        most /= 2
    assert {(one.signal, one.victim) for one in found} == {
        (one.name, victim) for one in kills.SIGNALS for victim in kills.VICTIMS
    }
