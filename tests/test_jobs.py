"""Facts about the jobs among which fits that wait for no other are divided."""

import pytest

from scalecheck.errors import StudyError
from scalecheck.files.formats import PlannedRow
from scalecheck.study.jobs import digest, fits_of, parts


def planned(fit, kind):
    return PlannedRow(fit, kind, "", "", 100, 100)


PLAN = [
    *(planned(f"subset-{n:02d}", "subset") for n in range(1, 6)),
    *(planned(f"level-a-{n:02d}", "level") for n in range(1, 4)),
    planned("increment-01", "increment"),
]
ALONE = [row.fit for row in PLAN[:8]]


@pytest.mark.parametrize("batches", [1, 2, 3, 8, 100])
def test_every_fit_but_increments_is_in_one_job_and_no_job_is_empty(batches: int) -> None:
    jobs = [fits_of(PLAN, part) for part in parts(PLAN, batches)]
    assert len(jobs) == min(batches, 8)
    assert all(jobs)
    assert sorted(fit for job in jobs for fit in job) == sorted(ALONE)
    assert max(map(len, jobs)) - min(map(len, jobs)) <= 1


def test_a_plan_of_increments_alone_has_no_job() -> None:
    assert parts(PLAN[8:], 3) == []


@pytest.mark.parametrize("part", ["9-of-9", "0-of-2", "3-of-2", "2", "a-of-b", "1-of-", "-1-of-2"])
def test_a_part_that_is_none_is_refused(part: str) -> None:
    with pytest.raises(StudyError, match=f"--part must .*, got {part}$"):
        fits_of(PLAN, part)


def test_other_fits_or_another_order_have_another_digest() -> None:
    lists = [ALONE, ALONE[:-1], ALONE[::-1], [], ["a", "b"], ["ab"]]
    assert len({digest(names) for names in lists}) == len(lists)
    assert all(len(digest(names)) == 16 for names in lists)
