"""Chains that stall in warmup restart or end their fit: the same however the run is cut, and no other is touched."""

import numpy as np
import pytest
from two_modes import FAR, back_near, run, run_killed, same

from scalecheck.sampler.stall import earliest_stall, first_stall

NAN = np.nan


@pytest.fixture(scope="module")
def restarted():
    return run(restart=back_near)


@pytest.fixture(scope="module")
def ignored():
    return run()


@pytest.fixture(scope="module")
def stopped():
    return run(stops_stalled=True)


def test_a_chain_that_stalls_restarts_and_is_recorded(restarted, ignored):
    assert (ignored.z[1]["x"][2] > FAR / 2).all()
    assert list(ignored.discarded) == []
    (one,) = restarted.discarded
    assert (one.fit, one.chain) == (1, 2)
    assert one.iterations in (100, 150, 250)
    assert one.leapfrogs == ignored.iterations[1].n_steps[2, : one.iterations].sum()
    assert (np.abs(restarted.z[1]["x"]) < FAR / 2).all()
    assert restarted.iterations[1].n_steps.shape == (4, 400)


def test_the_other_chains_are_not_touched(restarted, ignored):
    for fit in (0, 1):
        same = [chain for chain in range(4) if (fit, chain) != (1, 2)]
        np.testing.assert_array_equal(restarted.z[fit]["x"][same], ignored.z[fit]["x"][same])


def test_which_chains_restart_does_not_depend_on_how_steps_are_cut(restarted):
    same(run(restart=back_near, steps=61), restarted)


def test_a_run_with_a_discarded_chain_is_resumed_with_the_same_bits(restarted):
    def is_due(state, n):
        return len(state["progress:restarts"]) and n % 3 == 0 and n < 40

    same(run_killed(is_due, restart=back_near, steps=200), restarted)


def test_a_chain_restarts_twice_at_most():
    asked = []

    def back(fit, chain, times):
        asked.append((fit, chain, times))
        return {"x": np.full(2, FAR, "float32")}

    found = run(restart=back)
    assert asked == [(1, 2, 1), (1, 2, 2)]
    assert len(found.discarded) == 2
    assert (found.z[1]["x"][2] > FAR / 2).all()


@pytest.mark.parametrize(
    ("leapfrogs", "expected"),
    [
        ([[3, 3, 3], [3, 3, 3]], [-1, -1, -1]),
        ([[3, 99, 3], [3, 99, 3], [3, 3, 3]], [-1, 1, -1]),
        ([[3, 99, 3], [3, 3, 3], [3, 99, 3]], [-1, -1, -1]),
        # The second window has not ended for all.
        ([[3, 99, 3], [3, 99, NAN]], [-1, -1, -1]),
        ([[3, 99, 3]], [-1, -1, -1]),
        ([[99], [99], [99]], [-1]),
    ],
)
def test_the_window_in_which_a_chain_first_stalled(leapfrogs, expected):
    assert first_stall(np.array(leapfrogs, float)).tolist() == expected


# ---- instead of a restart, the fit may end


def test_a_fit_ends_at_the_window_by_which_a_chain_is_known_to_stall(stopped, restarted, ignored):
    (one,) = stopped.stopped
    (discarded,) = restarted.discarded
    assert (one.fit, one.why, one.chains) == (1, "stalled", (2,))
    assert one.iterations == (discarded.iterations,) * 4
    seen = ignored.iterations[1].n_steps[:, : discarded.iterations]
    assert one.leapfrogs == tuple(seen.sum(axis=1))
    np.testing.assert_array_equal(stopped.iterations[1].n_steps, seen)
    assert stopped.z[1]["x"].shape == (4, 0, 2)
    assert stopped.discarded == []


def test_windows_that_a_stopped_fit_has_not_ended_are_unknown(stopped, ignored):
    stop = stopped.stopped[0].iterations[0]
    for one, other in zip(stopped.windows, ignored.windows, strict=True):
        for name in ("step_size", "acceptance_rate", "inverse_mass_matrix"):
            found, expected = getattr(one, name), getattr(other, name)
            np.testing.assert_array_equal(found[0], expected[0])
            if one.stop <= stop:
                np.testing.assert_array_equal(found[1], expected[1])
            else:
                assert np.isnan(found[1]).all()


def test_the_other_fits_are_not_touched(stopped, ignored):
    np.testing.assert_array_equal(stopped.z[0]["x"], ignored.z[0]["x"])


def test_where_a_fit_ends_does_not_depend_on_how_steps_are_cut(stopped):
    same(run(stops_stalled=True, steps=61), stopped)


@pytest.mark.long
def test_a_run_with_a_stopped_fit_is_resumed_with_the_same_bits(stopped):
    def is_due(state, n):
        return n in (3, 15, 30)

    same(run_killed(is_due, stops_stalled=True, steps=200), stopped)


@pytest.mark.long
def test_numpyro_ends_a_fit_by_the_same_rule():
    stopped, ignored = run("numpyro", stops_stalled=True), run("numpyro")
    (one,) = stopped.stopped
    assert (one.fit, one.why, one.chains) == (1, "stalled", (2,))
    n_steps = ignored.iterations[1].n_steps
    stops = [window.stop for window in ignored.windows]
    by_window = np.stack([part.mean(axis=1) for part in np.split(n_steps, stops, axis=1)[:-1]])
    assert one.iterations == (stops[first_stall(by_window)[2]],) * 4
    np.testing.assert_array_equal(stopped.iterations[1].n_steps, n_steps[:, : one.iterations[0]])
    assert stopped.z[1]["x"].shape == (4, 0, 2)
    np.testing.assert_array_equal(stopped.z[0]["x"], ignored.z[0]["x"])


@pytest.mark.parametrize(
    ("leapfrogs", "expected"),
    [
        ([[3, 3, 3], [3, 3, 3]], None),
        ([[3, 99, 3], [3, 99, 3], [3, 3, 3]], (1, (1,))),
        # Two stall, one of them a window earlier: what the other did then is not known to whoever
        # looked as soon as the first was seen.
        ([[3, 99, 3, 3, 3], [3, 99, 3, 99, 3], [3, 99, 3, 99, 3]], (1, (1,))),
        ([[3, 99, 3, 99, 3], [3, 99, 3, 99, 3]], (1, (1, 3))),
    ],
)
def test_the_first_of_all_stalls(leapfrogs, expected):
    assert earliest_stall(np.array(leapfrogs, float)) == expected
