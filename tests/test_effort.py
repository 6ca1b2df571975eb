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
    )


def level_subsets(leapfrogs, seconds):
    n_fits = len(leapfrogs)
    each = np.repeat(np.array(leapfrogs, dtype=float)[:, None], 4, axis=1)
    names = [f"level-source-{i + 1:02d}" for i in range(n_fits)]
    labels = [chr(ord("a") + i) for i in range(n_fits)]
    return Effort(
        names,
        labels,
        np.full(n_fits, 300),
        each,
        np.full(n_fits, 0.5),
        np.array(seconds, dtype=float),
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


@pytest.mark.parametrize("n_fits", [0, 2])
def test_fewer_than_three_subsets_are_not_compared(n_fits):
    finding, table = effort.check_effort(subsets(np.full((n_fits, 4), 3.0).reshape(n_fits, 4)), {})
    assert finding.p is None
    assert f"at least 3 fitted subsets, got {n_fits}" in finding.message
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
