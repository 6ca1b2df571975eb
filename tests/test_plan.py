"""Facts about plans: which rows each fit has, on orders that are made up."""

import numpy as np
import pytest

from scalecheck.errors import StudyError
from scalecheck.study.plan import Levels, Order, Slice, increment_sizes, locate, make_plan
from scalecheck.study.settings import IncrementSettings, SubsetSettings

RNG = np.random.default_rng(3)


def increments(start=100, factor=2.0, end=None, order="arrival"):
    return IncrementSettings(start, factor, end, order, "misfit", False, 4)


def rows(n_rows):
    return Order(n_rows, None, "data.csv")


def units(sizes):
    ends = np.cumsum(sizes)
    return Order(int(ends[-1]), ends, "data.csv")


def planned(kind, plan):
    return [fit for fit in plan if fit.kind == kind]


def plan_of(every, *, axes=None, count=4, size=100, levels=8, blocks=False, **keys):
    subsets = SubsetSettings(count, size, levels)
    return make_plan(every, every, axes or {}, subsets, increments(**keys), blocks=blocks)


# ---- increments


@pytest.mark.parametrize(
    ("n_rows", "keys", "sizes"),
    [
        (100_000, {}, [100, 200, 400, 800, 1600, 3200]),  # null: 32 x start
        (100_000, {"factor": 4.0}, [100, 400, 1600, 3200]),
        (1000, {}, [100, 200, 400, 1000]),  # all where there are fewer; 800 is too near
        (1600, {}, [100, 200, 400, 800, 1600]),
        (1600, {"end": "all"}, [100, 200, 400, 800, 1600]),
        (10_000, {"end": "all", "factor": 10.0}, [100, 1000, 10_000]),
        (10_000, {"end": 100}, [100]),
        (10_000, {"end": 300}, [100, 200, 300]),  # 1.5 is more than the square root of 2
        (10_000, {"end": 270}, [100, 270]),
        (10_000, {"end": 120}, [100, 120]),  # nothing before it but the first
        (10_000, {"end": 400}, [100, 200, 400]),
        (10_000, {"end": 401}, [100, 200, 401]),
        (10_000, {"end": 1000, "factor": 1.5}, [100, 150, 225, 338, 507, 760, 1000]),
        (100, {}, [100]),
        (100, {"end": "all"}, [100]),
    ],
)
def test_increments_grow_by_the_factor_up_to_the_end(n_rows, keys, sizes):
    assert increment_sizes(rows(n_rows), increments(**keys)) == sizes


@pytest.mark.parametrize("factor", [1.2, 1.5, 2.0, 3.7, 10.0])
@pytest.mark.parametrize("end", [100, 101, 333, 5000, "all"])
def test_a_step_is_never_shorter_than_the_square_root_of_the_factor(factor, end):
    sizes = np.array(increment_sizes(rows(9_999), increments(factor=factor, end=end)))
    assert sizes[0] == 100
    assert sizes[-1] == (9_999 if end == "all" else end)
    steps = sizes[1:] / sizes[:-1]
    assert (steps[1:] >= factor**0.5 - 1e-9).all()
    assert (steps <= factor**1.5 * 1.01).all()


def test_increments_are_nested_and_say_what_is_new():
    found = planned("increment", plan_of(rows(3200)))
    assert [fit.fit for fit in found] == [f"increment-{n:02d}" for n in range(1, 7)]
    assert all(fit.slices == (Slice("arrival", 0, fit.rows),) for fit in found)
    assert sum(fit.new_rows for fit in found) == found[-1].rows == 3200


@pytest.mark.parametrize("order", ["arrival", "random"])
def test_increments_read_the_order_that_the_study_names(order):
    found = planned("increment", plan_of(rows(3200), order=order))
    assert {fit.slices[0].order for fit in found} == {order}


@pytest.mark.parametrize(
    ("n_rows", "keys", "message"),
    [
        (99, {}, "increments.start must be at most the 99 rows of data.csv, got 100"),
        (500, {"end": 501}, "increments.end must be between increments.start 100 and the 500 rows"),
        (500, {"end": 99}, "increments.end must be between increments.start 100 and the 500 rows"),
        (500, {"start": 2, "factor": 1.01}, "increments.factor must add at least a row to"),
    ],
)
def test_increments_that_cannot_be_are_refused(n_rows, keys, message):
    with pytest.raises(StudyError, match=message):
        increment_sizes(rows(n_rows), increments(**keys))


# ---- subsets


def test_subsets_are_disjoint_and_of_the_size():
    found = planned("subset", plan_of(rows(400)))
    assert [fit.fit for fit in found] == ["subset-01", "subset-02", "subset-03", "subset-04"]
    assert [fit.slices for fit in found] == [
        (Slice("random", start, start + 100),) for start in (0, 100, 200, 300)
    ]
    assert all(fit.rows == fit.new_rows == 100 for fit in found)


@pytest.mark.parametrize(
    ("order", "keys", "message"),
    [
        (rows(99), {}, "subsets.size must be at most the 99 rows of data.csv, got 100"),
        (
            rows(399),
            {},
            "subsets.count must be at most 3 disjoint subsets of subsets.size 100 in the 399 rows of data.csv, got 4",
        ),
        (
            units([60] * 7),
            {},
            "subsets.count must be at most 3 disjoint subsets of whole units with subsets.size 100 in the 420 rows",
        ),
        (
            units([50] * 20 + [101]),
            {},
            "subsets.size must be at least the 101 rows of the largest unit in data.csv, got 100",
        ),
    ],
)
def test_subsets_that_cannot_be_are_refused(order, keys, message):
    with pytest.raises(StudyError, match=message):
        plan_of(order, **keys, start=50)


def test_blocks_lie_all_over_the_order_of_arrival():
    found = planned("subset", plan_of(rows(1050), count=10, blocks=True))
    assert [fit.start for fit in found] == [0, 500, 200, 700, 100, 600, 300, 800, 400, 900]
    assert all(fit.slices == (Slice("arrival", fit.start, fit.start + 100),) for fit in found)
    few = planned("subset", plan_of(rows(1050), count=3, blocks=True))
    assert few == found[:3]  # another count fits none anew


def test_blocks_are_of_whole_units():
    sizes = RNG.integers(1, 60, size=200)
    found = planned("subset", plan_of(units(sizes), count=8, size=120, blocks=True))
    ends = {0, *np.cumsum(sizes).tolist()}
    assert all({fit.start, fit.start + fit.rows} <= ends for fit in found)
    found.sort(key=lambda fit: fit.start)
    gaps = np.diff([fit.start for fit in found])
    assert (gaps >= [fit.rows for fit in found[:-1]]).all()


@pytest.mark.parametrize("blocks", [False, True])
def test_as_many_subsets_as_there_are_rows_for_can_be_planned(blocks):
    for count in (1, 2, 3, 7):
        found = planned("subset", plan_of(rows(count * 100), count=count, blocks=blocks))
        starts = sorted(part.start for fit in found for part in fit.slices)
        assert starts == [100 * number for number in range(count)]
    with pytest.raises(StudyError, match="subsets.count must be at most 7 disjoint"):
        plan_of(rows(799), count=8, blocks=blocks)


def test_no_subsets_may_be_wanted_of_few_rows():
    assert planned("subset", plan_of(rows(120), count=0, size=1000)) == []


def test_a_changed_count_changes_no_other_fit():
    axes = {"site": Levels(["a", "b"], [rows(300), rows(60)])}
    few, many = (plan_of(rows(1000), axes=axes, count=count) for count in (2, 9))
    assert [fit for fit in few if fit.kind != "subset"] == [
        fit for fit in many if fit.kind != "subset"
    ]
    assert planned("subset", few) == planned("subset", many)[:2]


# ---- levels


def test_each_level_that_has_the_rows_of_a_subset_is_fitted():
    axes = {"site": Levels(["a", "b", "c"], [rows(300), rows(99), rows(100)])}
    plan = plan_of(rows(1000), axes=axes)
    first, third = planned("level", plan)
    assert (first.fit, first.axis, first.level, first.rows) == ("level-site-01", "site", "a", 100)
    assert (third.fit, third.level, third.rows) == ("level-site-03", "c", 100)
    assert first.slices == (Slice("axis/site", 0, 100),)
    assert third.slices == (Slice("axis/site", 399, 499),)


def test_fits_come_in_the_order_of_the_contract():
    axes = {name: Levels(["a", "b"], [rows(300), rows(100)]) for name in ("site", "year")}
    kinds = [fit.kind for fit in plan_of(rows(1000), axes=axes)]
    assert kinds == [
        *["subset"] * 4,
        *["level"] * 4,
        *["increment"] * 4,
    ]


def test_names_of_fits_are_names_of_files():
    axes = {"a b/c": Levels(["x", "y"], [rows(300), rows(160)])}
    names = [fit.fit for fit in plan_of(rows(1000), axes=axes) if fit.axis]
    assert names == ["level-a_b_c-01", "level-a_b_c-02"]


# ---- whole units


@pytest.mark.parametrize("seed", range(5))
def test_units_are_never_separated(seed):
    sizes = np.random.default_rng(seed).integers(1, 60, size=200)
    order = units(sizes)
    ends = {0, *np.cumsum(sizes).tolist()}
    axes = {"site": Levels(["a", "b"], [order, order])}
    plan = plan_of(order, axes=axes, count=5, size=120)
    for fit in plan:
        for part in fit.slices:
            # The second level follows the first.
            base = order.n_rows if part.start >= order.n_rows else 0
            assert {part.start - base, part.stop - base} <= ends
    # Whole units are added until the size is reached, and no more.
    for fit in [*planned("subset", plan), *planned("level", plan)]:
        assert 120 <= fit.rows < 120 + sizes.max()
    for fit, size in zip(
        planned("increment", plan), increment_sizes(order, increments()), strict=True
    ):
        assert size <= fit.rows < size + sizes.max()


def test_a_unit_that_fills_two_increments_leaves_one_out():
    order = units([100, 350, 50, 300, 300, 300])
    found = planned("increment", plan_of(order, count=0))
    assert [fit.rows for fit in found] == [100, 450, 800, 1400]
    assert [fit.new_rows for fit in found] == [100, 350, 350, 600]


# ---- plan.csv


@pytest.mark.parametrize("order", ["arrival", "random"])
@pytest.mark.parametrize("whole", [False, True], ids=["rows", "units"])
@pytest.mark.parametrize("blocks", [False, True], ids=["random", "blocks"])
def test_a_fit_is_located_where_it_was_planned(order, whole, blocks):
    sizes = RNG.integers(1, 9, size=4000)
    every = units(sizes) if whole else rows(int(sizes.sum()))
    parts = [units(sizes[:300]), units(sizes[300:330]), units(sizes[330:])]
    if not whole:
        parts = [rows(part.n_rows) for part in parts]
    axes = {"site": Levels(["a", "b", "c"], parts), "a b": Levels(["x", "y"], parts[:2])}
    # More than 99 subsets: their names do not sort as their numbers do.
    plan = plan_of(every, axes=axes, count=120, size=100, order=order, blocks=blocks)
    level_rows = {name: [part.n_rows for part in axis.orders] for name, axis in axes.items()}
    assert locate(plan, [fit.fit for fit in plan], level_rows, order) == plan
    for fit in plan[::50]:
        assert locate(plan, [fit.fit], level_rows, order) == [fit]


def test_a_fit_that_is_not_planned_is_refused():
    with pytest.raises(StudyError, match="plan.csv has no fit subset-1, did you mean subset-01?"):
        locate(plan_of(rows(400)), ["subset-1"], {}, "arrival")
