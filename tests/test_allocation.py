"""What a batch queue is asked for."""

import json

import pytest

from scalecheck import allocation


def record(folder, **seconds):
    path = folder / "record.json"
    path.write_text(json.dumps({"seconds": seconds}))
    return path


def test_where_nothing_is_known_each_try_asks_for_as_much_again(tmp_path):
    absent = tmp_path / "record.json"
    assert [allocation.minutes(None, 1.0, attempt) for attempt in (1, 2)] == [240, 480]
    assert allocation.minutes(absent, 2.0, 3) == 720


@pytest.mark.parametrize(
    ("seconds", "growth", "attempt", "expected"),
    [
        (600, 2.0, 1, 160),  # ten minutes, twice the rows, and the margin of eight
        (600, 2.0, 3, 480),
        (601, 2.0, 1, 161),
        (3, 2.0, 1, 30),
        (3, 2.0, 2, 60),
        (90_000, 8.0, 1, 1440),
    ],
)
def test_an_increment_asks_for_a_multiple_of_what_the_one_before_took(
    tmp_path, seconds, growth, attempt, expected
):
    before = record(tmp_path, compile=seconds / 3, sampling=seconds - seconds / 3)
    assert allocation.minutes(before, growth, attempt) == expected


def test_a_skipped_increment_took_nothing(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"status": "skipped"}))
    assert allocation.minutes(path, 2.0, 1) == 30


def test_a_damaged_record_says_nothing(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"seconds": {"samp')
    assert allocation.minutes(path, 2.0, 1) == 240
