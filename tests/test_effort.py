"""Effort: the leapfrogs of random subsets against one another."""

import numpy as np
import pytest

from scalecheck.checks import effort
from scalecheck.checks.effort import Confirmation, Effort

RNG = np.random.default_rng
NOISES = ("normal", "t4", "skew", "mixture")


def noise(kind, size, rng):
    """Noise of unit sd: `mixture` is that of a tree depth that flips between two values."""
    match kind:
        case "normal":
            return rng.standard_normal(size)
        case "t4":
            return rng.standard_t(4, size) / np.sqrt(2)
        case "skew":
            return (rng.gamma(2, size=size) - 2) / np.sqrt(2)
        case _:
            flips = np.where(rng.random(size) < 0.5, -1.0, 1.0)
            return (flips + 0.2 * rng.standard_normal(size)) / np.sqrt(1.04)


def rejections(log2, level=0.05):
    """Share of studies `(study, fit, chain)` in which the worst subset is significant."""
    return np.mean([effort.compare_subsets(study).p_worst < level for study in log2])


def subsets(log2, names=None):
    n_fits = len(log2)
    return Effort(
        names or [f"subset-{i + 1:02d}" for i in range(n_fits)],
        [""] * n_fits,
        np.full(n_fits, 300),
        2.0 ** np.asarray(log2),
        np.full(n_fits, 0.5),
        np.full(n_fits, 1e-5),
        np.ones(n_fits, dtype=bool),
    )


def level_subsets(leapfrogs, seconds, timed_rows=300):
    n_fits = len(leapfrogs)
    each = np.repeat(np.array(leapfrogs, dtype=float)[:, None], 4, axis=1)
    names = [f"level-source-{i + 1:02d}" for i in range(n_fits)]
    labels = [chr(ord("a") + i) for i in range(n_fits)]
    return Effort(
        names,
        labels,
        np.broadcast_to(timed_rows, n_fits),
        each,
        np.full(n_fits, 0.5),
        np.array(seconds, dtype=float),
        np.ones(n_fits, dtype=bool),
    )


@pytest.mark.parametrize("sd", [0.05, 0.15, 0.3])
def test_exchangeable_subsets_alarm_in_at_most_one_percent(sd):
    parts = [sd * noise(kind, (500, 8, 4), RNG([1, i])) for i, kind in enumerate(NOISES)]
    assert rejections(np.concatenate(parts)) <= 0.01


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("sd", [0.05, 0.15, 0.3])
def test_a_doubling_is_found_in_95_percent(kind, sd):
    log2 = sd * noise(kind, (400, 8, 4), RNG(2))
    log2[:, 3] += 1
    assert rejections(log2) >= 0.95
    worst = [effort.compare_subsets(study).worst for study in log2]
    assert np.mean(np.array(worst) == 3) >= 0.95


def test_a_doubling_is_found_among_four_subsets():
    log2 = 0.15 * noise("normal", (400, 4, 4), RNG(3))
    log2[:, 0] += 1
    assert rejections(log2) >= 0.95


def test_half_the_leapfrogs_are_no_finding():
    log2 = 0.1 * noise("normal", (1, 8, 4), RNG(4))[0]
    log2[2] -= 3
    assert effort.compare_subsets(log2).p[2] == 1


def test_a_ratio_below_one_and_a_half_is_no_finding_however_sure():
    log2 = np.zeros((60, 4))
    log2[0] = np.log2(1.49)
    assert effort.compare_subsets(log2).p_worst == 1
    log2[0] = np.log2(1.51)
    assert effort.compare_subsets(log2).p_worst < 0.05 / 2


def test_one_stuck_chain_is_left_to_adaptation():
    log2 = 3 + 0.1 * noise("normal", (1, 8, 4), RNG(5))[0]
    log2[4, 2] = 10
    assert effort.compare_subsets(log2).p_worst > 0.01


def test_a_finding_names_the_subset_the_ratio_and_what_to_do():
    log2 = 3 + 0.1 * noise("normal", (1, 8, 4), RNG(6))[0]
    log2[5] += 1.2
    finding, table = effort.check_effort(subsets(log2), {})
    assert (finding.fit, finding.kind, finding.weight) == ("subset-06", "heterogeneous", 1.0)
    assert finding.effect.low < finding.effect.value < finding.effect.high
    assert finding.effect.value == pytest.approx(2**1.2, rel=0.2)
    assert "subset-06 takes" in finding.message
    assert "not yet confirmed" in finding.message
    assert table["ratio"][5] == finding.effect.value
    assert finding.p == pytest.approx(8 * table["p"][5])


def test_only_what_a_second_seed_repeats_is_large():
    log2 = 3 + 0.1 * noise("normal", (1, 8, 4), RNG(6))[0]
    log2[5] += 1.2
    alone, _ = effort.check_effort(subsets(log2), {})
    repeated, _ = effort.check_effort(
        subsets(log2), {}, Confirmation("subset-06", np.full(4, 19.0))
    )
    refuted, _ = effort.check_effort(subsets(log2), {}, Confirmation("subset-06", np.full(4, 8.3)))
    assert (alone.large, repeated.large, refuted.large) == (False, True, False)
    assert repeated.p == alone.p < 0.001
    assert refuted.p == 1
    assert "times with another seed" in repeated.message
    assert "a refit with another seed did not repeat it" in refuted.message


def test_a_second_fit_of_another_subset_confirms_nothing():
    log2 = 3 + 0.1 * noise("normal", (1, 8, 4), RNG(6))[0]
    log2[5] += 1.2
    finding, _ = effort.check_effort(subsets(log2), {}, Confirmation("subset-01", np.full(4, 19.0)))
    assert not finding.large
    assert "not yet confirmed" in finding.message


def with_unusable(part, *numbers):
    usable = part.usable.copy()
    usable[list(numbers)] = False
    return part._replace(usable=usable)


def test_a_subset_that_cannot_be_used_is_left_out_and_named():
    """Leapfrogs of chains that have not converged are those of a transient: nothing rests on them."""
    log2 = 3 + 0.1 * noise("normal", (1, 8, 4), RNG(6))[0]
    log2[5] += 3
    finding, table = effort.check_effort(with_unusable(subsets(log2), 5, 1), {})
    assert finding.p > 0.05
    assert not {"subset-06", "subset-02"} & set(finding.fits)
    assert "2 subsets that cannot be used are left out, of which subset-06 takes most" in (
        finding.message
    )
    assert table["usable"].tolist() == [i not in (1, 5) for i in range(8)]
    assert table["p"].isna().tolist() == (~table["usable"]).tolist()
    alone, _ = effort.check_effort(with_unusable(subsets(log2), 5), {})
    assert "; subset-06, which cannot be used, is left out (it takes 6" in alone.message
    assert effort.check_effort(subsets(log2), {})[0].p < 0.001


def test_subsets_that_are_left_out_change_nothing_for_the_others():
    log2 = 3 + 0.1 * noise("normal", (1, 8, 4), RNG(6))[0]
    log2[5] += 1.2
    log2[7] += 5
    without, _ = effort.check_effort(subsets(log2[:7]), {})
    beside, _ = effort.check_effort(with_unusable(subsets(log2), 7), {})
    assert (beside.p, beside.effect, beside.fit) == (without.p, without.effect, "subset-06")


def test_two_usable_subsets_of_many_are_not_compared():
    log2 = np.full((6, 4), 3.0)
    finding, table = effort.check_effort(with_unusable(subsets(log2), 0, 1, 2, 3), {})
    assert finding.p is None
    assert "got 2 of 6 fitted" in finding.message
    assert "4 subsets that cannot be used are left out" in finding.message
    assert len(table) == 6


def test_a_second_fit_that_cannot_be_used_may_refute_but_does_not_confirm():
    log2 = 3 + 0.1 * noise("normal", (1, 8, 4), RNG(6))[0]
    log2[5] += 1.2
    bad = Confirmation("subset-06", np.full(4, 19.0), usable=False)
    finding, _ = effort.check_effort(subsets(log2), {}, bad)
    assert not finding.large
    assert "with another seed, in a fit that cannot be used" in finding.message
    refuted, _ = effort.check_effort(subsets(log2), {}, bad._replace(leapfrogs=np.full(4, 8.3)))
    assert refuted.p == 1


def test_levels_are_described_and_not_tested():
    log2 = 3 + 0.1 * noise("normal", (1, 4, 4), RNG(7))[0]
    levels = {"source": level_subsets([8, 8, 30], [1e-5, 1e-5, 4e-5])}
    finding, table = effort.check_effort(subsets(log2), levels)
    assert finding.p > 0.05
    assert "along source, c takes 3.75 times the median leapfrogs and 4 times" in finding.message
    described = table[table["kind"] == "level"]
    assert described["ratio"].tolist() == pytest.approx([1, 1, 3.75])
    assert described["p"].isna().all()
    assert described["level"].tolist() == ["a", "b", "c"]


def test_levels_that_are_alike_are_not_spoken_of():
    levels = {"source": level_subsets([8, 9, 10], [1e-5, 1e-5, 1.3e-5])}
    finding, _ = effort.check_effort(subsets(np.full((3, 4), 3.0)), levels)
    assert "along" not in finding.message


def test_seconds_of_levels_are_compared_by_the_rows_that_were_timed():
    levels = {"source": level_subsets([8, 8], [1e-5, 4e-5], timed_rows=[1024, 4096])}
    finding, table = effort.check_effort(subsets(np.full((3, 4), 3.0)), levels)
    assert table["seconds_ratio"].tolist()[-2:] == pytest.approx([1, 1])
    assert "along" not in finding.message


@pytest.mark.parametrize("n_fits", [0, 2])
def test_fewer_than_three_subsets_are_not_compared(n_fits):
    finding, table = effort.check_effort(subsets(np.full((n_fits, 4), 3.0).reshape(n_fits, 4)), {})
    assert finding.p is None
    assert (
        f"at least 3 subsets that can be used, got {n_fits} of {n_fits} fitted" in finding.message
    )
    assert len(table) == n_fits


def test_a_model_that_is_not_sampled_takes_no_effort():
    still = subsets(np.zeros((4, 2)))._replace(leapfrogs=np.zeros((4, 2)))
    finding, _ = effort.check_effort(still, {"source": level_subsets([0, 0], [0, 0])})
    assert finding.p is None
    assert "nothing is sampled" in finding.message


def test_one_chain_is_enough():
    finding, table = effort.check_effort(subsets(np.array([[3.0], [3.1], [2.9], [5.0]])), {})
    assert finding.fit == "subset-04"
    assert finding.p < 0.05
    assert table["log2_sd"].isna().all()
