"""Facts about the jobs among which fits of one shape are divided."""

import pytest

from scalecheck.errors import StudyError
from scalecheck.files.formats import PlannedRow
from scalecheck.study.jobs import digest, fits_of, parts


def planned(fit, kind):
    return PlannedRow(fit, kind, "", "", 100, 100)


PLAN = [
    *(planned(f"subset-{n:02d}", "subset") for n in range(1, 6)),
    *(planned(f"level-a-{n:02d}", "level") for n in range(1, 3)),
    planned("axis-a", "axis"),
    planned("increment-01", "increment"),
]
ONE_SHAPE = [row.fit for row in PLAN[:7]]


@pytest.mark.parametrize("batches", [1, 2, 3, 7, 100])
def test_every_subset_and_level_is_in_one_job_and_no_job_is_empty(batches: int) -> None:
    jobs = [fits_of(PLAN, part) for part in parts(PLAN, batches)]
    assert len(jobs) == min(batches, 7)
    assert all(jobs)
    assert sorted(fit for job in jobs for fit in job) == sorted(ONE_SHAPE)
    assert max(map(len, jobs)) - min(map(len, jobs)) <= 1


def test_a_plan_without_subsets_and_levels_has_no_job() -> None:
    assert parts(PLAN[7:], 3) == []


@pytest.mark.parametrize("part", ["8-of-8", "0-of-2", "3-of-2", "2", "a-of-b", "1-of-", "-1-of-2"])
def test_a_part_that_is_none_is_refused(part: str) -> None:
    with pytest.raises(StudyError, match=f"--part must .*, got {part}$"):
        fits_of(PLAN, part)


def test_other_fits_or_another_order_have_another_digest() -> None:
    lists = [ONE_SHAPE, ONE_SHAPE[:-1], ONE_SHAPE[::-1], [], ["a", "b"], ["ab"]]
    assert len({digest(names) for names in lists}) == len(lists)
    assert all(len(digest(names)) == 16 for names in lists)
