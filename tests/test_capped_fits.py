"""A fit ends where its chains reach the most gradients that they may take, at the same leapfrog however it is cut."""

import numpy as np
import pytest
from two_modes import back_near, run, run_killed, same

from scalecheck.sampler import Stopped
from scalecheck.sampler.early_stop import why_stopped


@pytest.fixture(scope="module")
def free():
    return run()


def leapfrogs_to(free, fit, iterations):
    """Leapfrogs of each chain of a fit for so many iterations."""
    return free.iterations[fit].n_steps[:, :iterations].sum(axis=1)


@pytest.fixture(scope="module")
def in_warmup(free):
    """The fast chains of the second fit have their draws, the slow one is in warmup."""
    most = int(leapfrogs_to(free, 1, 150)[2]) + 1
    assert most > leapfrogs_to(free, 0, 400).max()
    return most, run(most_gradients=most)


@pytest.fixture(scope="module")
def in_sampling(free):
    """Chains of the first fit have more than half of their draws."""
    most = int(leapfrogs_to(free, 0, 370).max())
    return most, run(most_gradients=most)


def test_a_chain_that_reaches_it_in_warmup_leaves_its_fit_without_draws(in_warmup, free):
    most, capped = in_warmup
    (one,) = capped.stopped
    assert (one.fit, one.why, one.chains) == (1, "capped", (2,))
    assert one.iterations == (400, 400, 150, 400)
    taken = leapfrogs_to(free, 1, 400)
    assert one.leapfrogs == (taken[0], taken[1], most, taken[3])
    n_steps = free.iterations[1].n_steps[:, :150]
    np.testing.assert_array_equal(capped.iterations[1].n_steps, n_steps)
    assert capped.z[1]["x"].shape == (4, 0, 2)
    np.testing.assert_array_equal(capped.z[0]["x"], free.z[0]["x"])


def test_a_chain_that_reaches_it_in_sampling_leaves_the_draws_that_all_chains_have(
    in_sampling, free
):
    most, capped = in_sampling
    first = capped.stopped[0]
    assert (first.fit, first.why) == (0, "capped")
    n_steps = free.iterations[0].n_steps
    reached = (n_steps.cumsum(axis=1) <= most).sum(axis=1)
    assert first.iterations == tuple(reached)
    assert first.chains == tuple(np.flatnonzero(reached < 400))
    assert 370 <= min(reached) < 400
    n_draws = min(reached) - 300
    np.testing.assert_array_equal(capped.z[0]["x"], free.z[0]["x"][:, :n_draws])
    np.testing.assert_array_equal(capped.iterations[0].n_steps, n_steps[:, : min(reached)])


@pytest.mark.long
@pytest.mark.parametrize("fixture", ["in_warmup", "in_sampling"])
def test_where_it_ends_depends_neither_on_cuts_nor_on_kills(fixture, request):
    most, capped = request.getfixturevalue(fixture)
    same(run(most_gradients=most, steps=61), capped)
    killed = run_killed(lambda state, n: n in (3, 20, 45), most_gradients=most, steps=200)
    same(killed, capped)


def test_enough_gradients_change_nothing(free):
    whole = run(most_gradients=int(leapfrogs_to(free, 1, 400).max()))
    assert whole.stopped == []
    same(whole, free)


def test_a_chain_that_reaches_it_at_once_leaves_nothing():
    capped = run(most_gradients=1)
    assert [(one.fit, one.chains, one.leapfrogs) for one in capped.stopped] == [
        (fit, (0, 1, 2, 3), (1, 1, 1, 1)) for fit in (0, 1)
    ]
    assert capped.z[0]["x"].shape == (4, 0, 2)
    assert capped.iterations[1].n_steps.shape[0] == 4


@pytest.mark.long
def test_what_a_discarded_chain_took_counts(free):
    """It restarts with what is left, whenever that was seen."""
    restarted = run(restart=back_near)
    (one,) = restarted.discarded
    taken = one.leapfrogs + int(restarted.iterations[1].n_steps[2].sum())
    same(run(restart=back_near, most_gradients=taken), restarted)
    capped = run(restart=back_near, most_gradients=taken - 1)
    (end,) = capped.stopped
    assert (end.fit, end.chains, end.leapfrogs[2]) == (1, (2,), taken - 1 - one.leapfrogs)
    same(run(restart=back_near, most_gradients=taken - 1, steps=61), capped)


def test_a_fit_that_asks_for_more_draws_gets_them_within_it(free):
    most = int(leapfrogs_to(free, 0, 400).max())
    found = run(most_gradients=most, most_draws=400, enough=lambda fit, z: fit == 1)
    assert found.stopped[0].fit == 0
    assert min(found.stopped[0].iterations) >= 400
    np.testing.assert_array_equal(found.z[0]["x"][:, :100], free.z[0]["x"])


def test_a_fit_that_ends_makes_room_for_one_that_waits(in_warmup):
    most, capped = in_warmup
    same(run(most_gradients=most, slots=1), capped)


@pytest.mark.long
def test_numpyro_looks_where_a_block_ends():
    free = run("numpyro")
    n_steps = free.iterations[1].n_steps
    capped = run("numpyro", most_gradients=int(n_steps[2, :120].sum()))
    (one,) = [one for one in capped.stopped if one.fit == 1]
    assert (one.why, one.chains, one.iterations) == ("capped", (2,), (150,) * 4)
    assert one.leapfrogs == tuple(n_steps[:, :150].sum(axis=1))
    np.testing.assert_array_equal(capped.iterations[1].n_steps, n_steps[:, :150])
    np.testing.assert_array_equal(capped.z[0]["x"], free.z[0]["x"])


@pytest.mark.parametrize(
    ("iterations", "words"),
    [
        ((150, 400, 400, 400), "in warmup, at iteration 150 of 400"),
        ((370, 400, 400, 400), "after warmup, at iteration 370 of 400"),
        ((460, 500, 500, 500), "after warmup, at iteration 460 on the way to more than 400"),
    ],
)
def test_the_reason_says_how_far_it_came_of_what_was_asked_for(iterations, words):
    stopped = Stopped(0, "capped", (0,), iterations, (900, 400, 400, 400))
    n_steps = np.ones((4, min(iterations)), int)
    found = why_stopped(stopped, n_steps, 300, 100, 900)
    assert found == f"chain 0 reached sampler.max_gradients (900) {words}"
