"""Surprise of all steps together, of statistics whose distribution is known."""

import numpy as np
import pytest
from scipy.stats import kstest

from scalecheck.checks import statistic_design
from scalecheck.checks.statistic_design import Statistic
from scalecheck.checks.statistic_messages import Setting
from scalecheck.checks.summed_surprise import StepAgain, StepMembers, check_all_steps

LAG, VARIANCE, LOW_TAIL, SPREAD, MEAN, GROUP = (
    Statistic(statistic_design.LAG),
    Statistic(statistic_design.VARIANCE),
    Statistic(statistic_design.LOW_TAIL),
    Statistic(statistic_design.SPREAD, "x"),
    Statistic(statistic_design.MEAN),
    Statistic(statistic_design.GROUP, None, "site"),
)
MEMBERS = 400
ROWS = (100, 200, 400)
SETTING = Setting("day", learned=True)


def steps_of(rng, observed, statistics=(VARIANCE, LAG)):
    """Steps of ROWS new rows, of independent normal statistics, the observed ones given as `(step, statistic)`."""
    found, start = [], 100
    for number, (n_rows, own) in enumerate(zip(ROWS, observed, strict=True), 2):
        values = rng.standard_normal((MEMBERS, len(own)))
        values[0] = own
        fits = (f"increment-0{number - 1}", f"increment-0{number}")
        found.append(
            StepMembers(statistics[: len(own)], values, start + 1, start + n_rows, n_rows, fits, "")
        )
        start += n_rows
    return found


def never():
    raise AssertionError("asked without need")


def again(rng, steps, n_chunks=3):
    """Measure steps once more."""
    fresh = []
    for step in steps:
        values = rng.standard_normal(step.values.shape)
        values[0] = step.values[0]
        chunks = [rng.standard_normal(step.values.shape) for _ in range(n_chunks)]
        fresh.append(StepAgain(step.statistics, values, chunks))
    return fresh


def check(steps, rng, longer=None):
    return check_all_steps(steps, longer or (lambda: again(rng, steps)), setting=SETTING, rng=rng)


def test_p_values_of_a_true_model_are_uniform():
    rng = np.random.default_rng(1)
    p = [check(steps_of(rng, rng.standard_normal((3, 2))), rng).p for _ in range(1000)]
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


def test_what_each_step_shows_a_little_shows_in_all_together():
    """1.9 sds, 5 % of replicates have at each step: together 3.1 sds, .2 %."""
    rng = np.random.default_rng(2)
    finding = check(steps_of(rng, [(0.0, 1.9)] * 3), rng)
    total = sum(np.sqrt(n) * 1.9 for n in ROWS) / np.sqrt(sum(ROWS))
    assert finding.effect.name == "studentised lag 1"
    assert finding.effect.value == pytest.approx(total, rel=0.15)
    assert finding.p < 0.01
    assert not finding.large
    assert (finding.family, finding.weight, finding.fit) == ("surprise", 0.5, None)
    assert finding.fits == tuple(f"increment-0{number}" for number in (1, 2, 3, 4))
    assert finding.message.startswith("rows 101 to 800 resemble the row before them: ")
    assert finding.message.endswith("sds from the predictions, over 3 steps)")


def test_opposite_deviations_cancel_and_need_no_longer_comparison():
    rng = np.random.default_rng(3)
    finding = check(steps_of(rng, [(4.0, 0.0), (-4.0, 0.0), (1.0, 0.3)]), rng, never)
    assert finding.p > 0.01
    assert finding.message.startswith(
        "rows 101 to 800, 3 steps together, look like what was predicted"
    )


def test_steps_weigh_as_the_roots_of_their_rows():
    rng = np.random.default_rng(4)
    late = check(steps_of(rng, [(0.0, 0.0), (0.0, 0.0), (4.0, 0.0)]), rng)
    early = check(steps_of(rng, [(4.0, 0.0), (0.0, 0.0), (0.0, 0.0)]), rng)
    # Both to the rounding of sds that 400 members have.
    ratio = late.effect.value / early.effect.value
    assert ratio == pytest.approx(np.sqrt(ROWS[2] / ROWS[0]), rel=0.15)


def test_a_statistic_that_a_step_lacks_is_summed_over_the_others():
    """A value may be frequent in the larger steps alone."""
    rng = np.random.default_rng(5)
    statistics = (VARIANCE, LAG, SPREAD)
    observed = [(0.0, 0.0), (0.0, 0.0, 3.0), (0.0, 0.0, 3.0)]
    finding = check(steps_of(rng, observed, statistics), rng)
    assert finding.effect.name == "studentised z^2 ~ x"
    expected = 3 * (np.sqrt(200) + np.sqrt(400)) / np.sqrt(600)
    assert finding.effect.value == pytest.approx(expected, rel=0.15)
    assert (finding.kind, finding.axis) == ("misfit", "x")


def test_only_a_low_tail_below_the_prediction_says_anything():
    rng = np.random.default_rng(6)
    found = [
        check(steps_of(rng, [(0.0, sign * 3.0)] * 3, (VARIANCE, LOW_TAIL)), rng) for sign in (-1, 1)
    ]
    assert found[0].p < 0.01 < found[1].p


def test_what_drift_and_the_axes_ask_of_all_rows_is_left_out():
    rng = np.random.default_rng(8)
    found = check(steps_of(rng, [(0.5, 9.0, 9.0)] * 3, (LAG, MEAN, GROUP)), rng, never)
    assert found.effect.name == "studentised lag 1"
    assert found.p > 0.05


def test_the_longer_comparison_resolves_a_small_p():
    rng = np.random.default_rng(7)
    steps = steps_of(rng, [(6.0, 0.0)] * 3)
    finding = check(steps, rng, lambda: again(rng, steps, 20))
    assert finding.p == 1 / (20 * MEMBERS + 1)
    assert finding.large
    assert (finding.kind, finding.axis) == ("misfit", None)


def test_the_longer_comparison_is_studentised_without_the_observed_rows():
    """Ten replicates and the observed one at 1e4: counted in, it would make the sd about 3,000."""
    rng = np.random.default_rng(9)
    steps = [step._replace(values=step.values[:11]) for step in steps_of(rng, [(1e4, 0.0)] * 3)]
    fresh = []
    for step in steps:
        values = rng.standard_normal((11, 2))
        values[0] = 1e4, 0.0
        chunk = rng.standard_normal((MEMBERS, 2))
        chunk[0] = (
            2e3,
            0.0,
        )  # less than the observed, and more than its share of an sd that counts it in
        chunk[1] = 0.0, 1e5
        fresh.append(StepAgain(step.statistics, values, [chunk]))
    first = check(steps, rng, lambda: fresh)
    assert first.p == 2 / (MEMBERS + 1)


def test_rows_that_no_step_has_are_left_out_of_the_message_and_notes_are_kept():
    rng = np.random.default_rng(10)
    first, _, last = steps_of(rng, [(0.0, 0.0)] * 3)
    steps = [first._replace(note="3 rows are masked and take no part"), last]
    message = check(steps, rng, never).message
    assert message.startswith("rows 101 to 200 and 401 to 800, 2 steps together, look like")
    assert message.endswith("; 3 rows are masked and take no part")
