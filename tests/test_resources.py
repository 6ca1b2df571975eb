"""What a batch queue is asked for."""

import functools
import json

import pytest
from recorded import recorded

from scalecheck.errors import StudyError
from scalecheck.files import formats
from scalecheck.files.record import as_json
from scalecheck.study import resources


def record(folder, status="done", **seconds):
    path = folder / "record.json"
    formats.write_json(path, as_json(recorded(status=status, seconds=seconds)))
    return path


def test_where_nothing_is_known_each_try_asks_for_as_much_again(tmp_path):
    absent = [(tmp_path / "record.json", 100)]
    assert [resources.minutes(absent, attempt) for attempt in (1, 2, 3)] == [240, 480, 720]


@pytest.mark.parametrize(
    ("seconds", "rows", "attempt", "expected"),
    [
        (600, [200], 1, 240),  # ten minutes, twice the rows as well, and the margin of eight
        (600, [200], 3, 720),
        (600, [200, 400], 1, 560),  # both are still to come
        (601, [200], 1, 241),
        (3, [200], 1, 30),
        (3, [200], 2, 60),
        (90_000, [800], 1, 1440),
        (600, [], 1, 80),  # which is made again where the model changed
    ],
)
def test_increments_ask_for_a_multiple_of_what_all_take_by_the_last_one_that_is_done(
    tmp_path, seconds, rows, attempt, expected
):
    first = tmp_path / "first"
    first.mkdir()
    done = record(first, compile=seconds / 3, sampling=seconds - seconds / 3)
    to_come = [(tmp_path / f"{n}.json", n) for n in rows]
    assert resources.minutes([(done, 100), *to_come], attempt) == expected


def test_each_increment_is_asked_for_by_its_own_record_and_by_the_last_where_it_has_none(tmp_path):
    increments = []
    for name, seconds, rows in (
        ("a", 0.0, 50),
        ("b", 60.0, 100),
        ("c", 300.0, 200),
        ("d", 0.0, 400),
    ):
        (tmp_path / name).mkdir()
        path = record(tmp_path / name, sampling=seconds) if seconds else tmp_path / name / "none"
        increments.append((path, rows))
    # 60 and 300 s, and 1.5 s a row for 50 and 400 rows.
    assert resources.minutes(increments, 1) == 138
    # All are there: a changed model makes them again.
    assert resources.minutes(increments[1:3], 1) == 48


def test_a_skipped_increment_took_nothing(tmp_path):
    assert resources.minutes([(record(tmp_path, "skipped"), 100)], 1) == 240


def test_a_damaged_record_says_nothing(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"seconds": {"samp')
    assert resources.minutes([(path, 100)], 1) == 240


DEMAND = {
    "rows": 5000,
    "at_once": 2,
    "held": {"fixed": 1e6, "per_row": 1e4},
    "running": {"fixed": 0.0, "per_row": 1e5},
    "operations": {"fixed": 0.0, "per_row": 2e6},
}


def model(folder, demand=DEMAND):
    path = folder / "model.json"
    path.write_text(json.dumps({"demand": demand}))
    return path


@pytest.mark.parametrize(
    ("rows", "attempt", "expected"),
    [
        ([100], 1, 2024),  # 1 MB, and 100 times 10 kB and 100 kB, twice
        ([100], 3, 6072),
        ([100] * 50, 1, 2240),  # 100 MB held, and 10 MB for each of two
        ([100, 1000, 200], 1, 2272),  # the two that take most
        ([1_000_000], 1, 222_002),
    ],
)
def test_a_job_asks_for_the_data_of_all_its_fits_and_the_chains_of_those_that_run_at_once(
    tmp_path, rows, attempt, expected
):
    assert resources.megabytes(model(tmp_path), rows, attempt) == expected


def test_without_a_forecast_a_job_asks_for_what_surrounds_a_fit(tmp_path):
    assert resources.megabytes(tmp_path / "model.json", [100], 2) == 4000
    asked = resources.megabytes_of_approximation(tmp_path / "model.json", 2, by_unit=True)
    assert asked == 8000


@pytest.mark.parametrize(
    ("attempt", "by_unit", "expected"),
    [
        (1, True, 4102),  # 1 MB, and 5,000 times 10 kB, twice
        (3, True, 3 * 4102),
        (1, False, 5102),  # and 5,000 times 100 kB, twice
    ],
)
def test_an_approximation_asks_for_a_whole_gradient_only_where_it_takes_one(
    tmp_path, attempt, by_unit, expected
):
    path = model(tmp_path)
    assert resources.megabytes_of_approximation(path, attempt, by_unit=by_unit) == expected


def test_jobs_are_as_many_as_let_each_take_some_minutes(tmp_path):
    path, rows = model(tmp_path), [1000] * 200
    # A thousand rows are 2e9 operations, a second of a processor: 16 leapfrogs times ten iterations.
    guessed = resources.seconds(path, rows, 10)
    assert guessed == pytest.approx(200 * 160, rel=1e-3)
    n_jobs = resources.n_jobs("auto", path, rows, 10)
    assert guessed / n_jobs <= resources.AIM < guessed / (n_jobs - 1)


@pytest.mark.parametrize(
    ("asked", "n_fits", "expected"), [("auto", 3, 1), (8, 3, 3), (2, 3, 2), (1, 0, 1)]
)
def test_there_are_no_more_jobs_than_fits_and_one_at_least(tmp_path, asked, n_fits, expected):
    path = model(tmp_path)
    assert resources.n_jobs(asked, path, [10] * n_fits, 10) == expected


@pytest.mark.parametrize("content", [None, '{"demand": {"he', "{}", '{"demand": {"bytes": 1}}'])
def test_where_the_model_says_nothing_auto_is_refused_and_not_one_job(tmp_path, content):
    path = tmp_path / "model.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(
        StudyError, match=r"model.json: is missing, damaged or .*, and batches: auto"
    ):
        resources.n_jobs("auto", path, [10] * 3, 10)
    assert resources.n_jobs(2, path, [10] * 3, 10) == 2


def test_a_batch_asks_for_eight_times_what_is_guessed(tmp_path):
    minutes, path = functools.partial(resources.minutes_of_batch, goes_on=True), model(tmp_path)
    assert minutes(tmp_path / "none.json", [10], 100, 2) == 480
    assert minutes(path, [10], 100, 1) == 30
    assert minutes(path, [10], 100, 2) == 60
    # 16,000 leapfrogs of 0.2 s are 53 minutes; eight times as much is asked for.
    assert minutes(path, [200], 1000, 1) == pytest.approx(8 * 53.4, abs=1)
    assert minutes(path, [5000] * 10, 1000, 3) == 1440


def test_a_batch_that_begins_anew_where_it_is_killed_asks_for_hours(tmp_path):
    minutes, path = functools.partial(resources.minutes_of_batch, goes_on=False), model(tmp_path)
    assert minutes(path, [10], 100, 1) == 240
    assert minutes(path, [10], 100, 2) == 480
    assert minutes(path, [200], 1000, 1) == pytest.approx(8 * 53.4, abs=1)
