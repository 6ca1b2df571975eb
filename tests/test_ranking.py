"""The ranking of candidates, on known draws: the fastest of those that have the same posterior."""

import numpy as np
import pytest
from scipy import stats

from scalecheck.remedies import ranking
from scalecheck.remedies.ranking import Trial, has_reached, rank_trials

NAMES = ("a", "b", "c")


def trial(seed, phi=0.0, shift=0.0, scale=1.0, n_draws=1000, gradients=10_000):
    """Three autoregressive scalars, whose ESS is (1 - phi) / (1 + phi) of the draws; the second is off."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((4, n_draws, 3))
    for i in range(1, n_draws):
        z[:, i] = phi * z[:, i - 1] + (1 - phi**2) ** 0.5 * z[:, i]
    z[..., 1] = shift + scale * z[..., 1]
    return Trial(z, np.full(4, gradients))


def test_candidates_are_ranked_by_their_lowest_ess_per_gradient():
    trials = {
        "as it is": trial(1, phi=0.5),
        "slower": trial(2, phi=0.8),
        "dearer": trial(3, gradients=100_000),
        "better": trial(4),
    }
    table = rank_trials(trials, NAMES).set_index("candidate")
    assert list(table.index) == ["better", "as it is", "slower", "dearer"]
    assert set(table["status"]) == {"same"}
    # The lowest of three, hence a little less than 4 x 1000 draws per 40,000 gradients.
    assert table["ess_per_1000"]["better"] == pytest.approx(100, rel=0.15)
    expected = {"better": 3.0, "slower": (1 - 0.8) / (1 + 0.8) * 3, "dearer": 0.3}
    for name, gain in expected.items():
        assert table["gain_low"][name] * 0.8 < gain < table["gain_high"][name] * 1.25
    assert np.isnan(table["gain"]["as it is"])
    assert has_reached(table.reset_index())


@pytest.mark.parametrize("wrong", [{"shift": 0.3}, {"scale": 1.3}])
def test_a_candidate_with_another_posterior_is_disqualified_however_fast(wrong):
    trials = {f"right {seed}": trial(seed, phi=0.3) for seed in (1, 2, 3)}
    table = rank_trials(trials | {"wrong": trial(4, **wrong)}, NAMES).set_index("candidate")
    assert table["status"]["wrong"] == "differs"
    assert table["differs_in"]["wrong"] == "b"
    assert (table["status"].drop("wrong") == "same").all()
    assert table.index[-1] == "wrong"


@pytest.mark.long
def test_equal_candidates_are_hardly_ever_disqualified():
    """Of 60 sets of four, at an error rate of 0.001 for each comparison."""
    tables = [
        rank_trials({str(i): trial(4 * seed + i, phi=0.6) for i in range(4)}, NAMES)
        for seed in range(60)
    ]
    assert sum((table["status"] == "differs").any() for table in tables) <= 2


def test_what_has_not_converged_judges_nobody_and_is_not_ranked_first():
    stuck = trial(1, phi=0.0)
    stuck.z[0] += 5
    trials = {
        "as it is": stuck,
        "good": trial(2, phi=0.9),
        "none": Trial(np.zeros((4, 0, 3)), np.full(4, 9)),
    }
    table = rank_trials(trials, NAMES).set_index("candidate")
    assert table["status"].to_dict() == {
        "good": "same",
        "as it is": "not converged",
        "none": "no draws",
    }
    assert not np.isfinite(table["gap"]["as it is"])


def test_the_interval_of_a_rate_covers_it():
    """89 % nominal, of 60 with a standard error of 4 %; the normal's quantile would give less than 80 %."""
    tables = [rank_trials({"one": trial(seed, phi=0.5)}, NAMES) for seed in range(60)]
    expected = 1e3 * 4000 / 3 / 40_000 * 0.93  # the lowest of three is some 7 % below their mean
    covered = [one["low"][0] < expected < one["high"][0] for one in tables]
    assert np.mean(covered) > 0.89 - 2 * 0.04


def test_intervals_know_that_there_are_few_chains():
    t = stats.t.ppf((1 + ranking.INTERVAL) / 2, [3, 6])
    assert ranking._half_width([(0.2, 4)]) == pytest.approx(t[0] * 0.2)
    # Welch: of equal variances the degrees of freedom add up, and a part that is known adds none.
    assert ranking._half_width([(0.3, 4), (0.3, 4)]) == pytest.approx(t[1] * 0.3 * 2**0.5)
    assert ranking._half_width([(0.2, 4), (1e-9, 4)]) == pytest.approx(t[0] * 0.2)
