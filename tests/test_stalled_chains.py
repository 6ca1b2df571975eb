"""Chains that stall in warmup begin anew, the same ones however the run is cut, and no other is touched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scalecheck.sampler import Saved, Settings, sample_lanes
from scalecheck.sampler.stall import first_stall

NAN = np.nan
FAR = 60.0
# Two modes: a standard normal at 0, and far away one so correlated that no diagonal metric helps.
TIGHT = np.linalg.inv(np.array([[1.0, 0.9995], [0.9995, 1.0]])).astype("float32")


def two_modes(tight):
    def potential(z):
        x = z["x"]
        away = x - FAR
        return -jnp.logaddexp(-0.5 * x @ x, -0.5 * away @ tight @ away)

    return potential


def run(anew=lambda fit, chain, times: {"x": np.full(2, 0.1 * times, "float32")}, **options):
    """Two fits of four chains; chain 2 of the second starts in the far mode."""
    starts = np.random.default_rng(1).normal(size=(2, 4, 2)).astype("float32")
    starts[1, 2] = FAR
    return sample_lanes(
        two_modes,
        {"tight": np.stack([TIGHT, TIGHT])},
        {"x": starts},
        Settings(300, 0.8, 10, ()),
        key=jax.random.split(jax.random.PRNGKey(4), 2),
        draws=100,
        anew=anew,
        **options,
    )


@pytest.fixture(scope="module")
def restarted():
    return run()


@pytest.fixture(scope="module")
def ignored():
    return run(anew=None)


def test_a_chain_that_stalls_begins_anew_and_is_recorded(restarted, ignored):
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


def test_which_chains_begin_anew_does_not_depend_on_how_steps_are_cut(restarted):
    other = run(steps=61)
    assert other.discarded == restarted.discarded
    for one, two in zip(other.z, restarted.z, strict=True):
        np.testing.assert_array_equal(one["x"], two["x"])


def test_a_run_with_a_discarded_chain_is_resumed_with_the_same_bits(restarted):
    saved, state = [], []

    class Left(Exception):
        pass

    def keep(take):
        snapshot = take()
        saved.append(snapshot.news)
        state.append(snapshot.state)
        if len(state[-1]["discarded"]) and len(state) % 3 == 0 and len(state) < 40:
            raise Left

    found = None
    while found is None:
        try:
            before = Saved(state[-1], list(saved)) if state else None
            found = run(keep=keep, saved=before, steps=200)
        except Left:
            pass
    assert list(found.discarded) == list(restarted.discarded)
    for one, two in zip(found.z, restarted.z, strict=True):
        np.testing.assert_array_equal(one["x"], two["x"])


def test_a_chain_begins_anew_twice_at_most():
    asked = []

    def back(fit, chain, times):
        asked.append((fit, chain, times))
        return {"x": np.full(2, FAR, "float32")}

    found = run(anew=back)
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
