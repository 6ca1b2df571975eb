"""The rule that says which chains stall."""

import numpy as np
import pytest

from scalecheck.sampler.stall import slow, stalled

NAN = np.nan


@pytest.mark.parametrize(
    ("by_window", "expected"),
    [
        ([[9, 9, 9, 9], [9, 9, 9, 9]], []),
        ([[51, 10, 10, 10], [51, 10, 10, 10]], [0]),
        ([[50, 10, 10, 10], [50, 10, 10, 10]], []),  # five times is not over five times
        ([[51, 10, 10, 10]], []),  # one window is not two
        ([[51, 10, 10, 10], [10, 10, 10, 10], [51, 10, 10, 10]], []),  # nor two apart
        ([[51, 10, 10, 10], [51, 10, 10, 10], [10, 10, 10, 10]], []),  # it recovered
        ([[10, 10, 10, 10], [51, 10, 10, 10], [51, 10, 10, 10]], [0]),
        (
            [[90, 90, 10, 10, 10], [90, 90, 10, 10, 10]],
            [0, 1],
        ),  # each against the median of the others
        ([[90, 90, 90, 10], [90, 90, 90, 10]], []),  # most chains take as many
        ([[51, 10], [51, 10]], [0]),
        ([[1000], [1000]], []),  # no siblings
        ([], []),
        (
            [[51, 10, 10, 10], [51, 10, 10, 10], [NAN, 10, 10, 10]],
            [0],
        ),  # what it has not ended does not count
        ([[51, 10, 10, 10], [NAN, 10, 10, 10]], []),
        ([[51, NAN, 10, 10], [51, NAN, 10, 10]], [0]),  # compared with those that ended the window
        ([[51, NAN], [51, NAN]], []),
    ],
)
def test_a_chain_stalls_after_two_windows_over_five_times_the_median_of_its_siblings(
    by_window, expected
):
    n_chains = len(by_window[0]) if by_window else 4
    leapfrogs = np.array(by_window, float).reshape(len(by_window), n_chains)
    assert np.flatnonzero(stalled(leapfrogs)).tolist() == expected


def test_slow_windows_are_told_one_by_one():
    leapfrogs = np.array([[51.0, 10, 10], [10, 10, 10], [NAN, 10, 99]])
    assert np.argwhere(slow(leapfrogs)).tolist() == [[0, 0], [2, 2]]
