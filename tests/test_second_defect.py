"""What is wrong beside an axis: named where it stays when levels are taken out, and not where levels did it."""

import numpy as np
import pytest

from scalecheck.checks import second_defect, statistic_design
from scalecheck.checks.replicate_statistics import Members, measure_replicates
from scalecheck.checks.statistic_design import BlockColumn, Design
from scalecheck.checks.surprise import NewRows
from scalecheck.examine import run_surprise

N, LEVELS = 800, 8
STEP = NewRows("increment-04", 801, 1600, 800, ("increment-03", "increment-04"), 1.0)


def look(seed, change):
    """Look beside `source` at rows whose z-scores are changed by `change(rng, z, source)`."""
    rng = np.random.default_rng(seed)
    source, x = rng.integers(LEVELS, size=N), rng.standard_normal(N)
    z = rng.standard_normal((1000, N))
    z[0] = change(rng, z[0], source, x)
    columns = (BlockColumn("x", x, True),), (BlockColumn("source", source, False),)
    design = Design(*columns, True, np.ones(N, bool), np.ones(N, bool), ("source",))
    statistics, weights = statistic_design.lay_out(design, np.zeros(N), (), scored=False)
    values = measure_replicates(weights, Members(z, z, z, None, None))
    return second_defect.find_second_defect(statistics, values, ["source"], step=STEP, rng=rng)


def levels_differ(rng, z, source, x):
    return z + 0.4 * rng.standard_normal(LEVELS)[source]


def slopes_differ(rng, z, source, x):
    return z + 0.4 * rng.standard_normal(LEVELS)[source] * x


def scales_differ(rng, z, source, x):
    return z * np.where(source == 0, 2.0, 1.0) / np.sqrt(1 + 3 / LEVELS)


@pytest.mark.parametrize("change", [levels_differ, slopes_differ, scales_differ])
def test_levels_that_differ_are_no_second_defect(change):
    assert [look(seed, change) for seed in range(20)] == [None] * 20


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rng, z: 1.4 * z, "allow for overdispersion"),
        (lambda rng, z: np.where(rng.random(N) < 0.02, 6 * z, z), "look for outliers"),
    ],
)
def test_what_stays_within_levels_is_named_beside_them(change, words):
    for seed in range(5):
        found = look(seed, lambda rng, *rest: change(rng, levels_differ(rng, *rest)))
        assert found is not None
        assert found.startswith("beside source, rows 801 to 1600 ")
        assert words in found


def test_nothing_is_said_where_levels_explain_most_of_the_spread():
    def far(rng, z, source, x):
        return np.where(rng.random(N) < 0.02, 6 * z, z) + 2 * (source < 4) - 1

    assert look(1, far) is None


def test_rows_that_scatter_less_than_a_scale_fitted_to_all_levels_are_no_second_defect():
    assert look(1, lambda rng, z, source, x: 0.9 * levels_differ(rng, z, source, x)) is None


def taken_out(**groups):
    """Ask whether groups of these codes can be taken out of rows with one covariate."""
    every = np.ones(N, bool)
    columns = tuple(BlockColumn(name, codes, False) for name, codes in groups.items())
    x = (BlockColumn("x", np.arange(N) % 7, True),)
    return run_surprise._can_be_taken_out(
        Design(x, columns, True, every, every, ("source", "arrival"))
    )


def test_an_axis_is_taken_out_whole_or_nothing_is_said():
    some, blocks = np.arange(N) % LEVELS, np.arange(N) * 8 // N
    assert taken_out(source=some, arrival=blocks)
    assert not taken_out(source=some)  # of the other nothing is known
    assert not taken_out(source=np.zeros(N, int), arrival=blocks)  # new rows of one source
    assert not taken_out(source=np.arange(N) // 3, arrival=blocks)  # too few rows each
