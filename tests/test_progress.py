"""What is told of a fit after every block: the same from both engines, and true of its iterations."""

import jax
import numpy as np
import pytest

from scalecheck.sampler import Settings, sample_lanes, sample_numpyro
from scalecheck.sampler.progress import first_tally
from scalecheck.sampler.types import Iterations

SCALE = np.array([1.0, 0.1], "float32")
N_FITS, N_CHAINS, DRAWS = 3, 2, 60
SETTINGS = Settings(150, 0.8, 5, ())


def potential(scale):
    return lambda z: 0.5 * ((z["a"] / scale) ** 2).sum()


def run(engine, **options):
    """Sample a small batch, of which the last fit goes on once; with what was told of it."""
    told = []
    starts = np.random.default_rng(1).uniform(-2, 2, (N_FITS, N_CHAINS, 2)).astype("float32")
    draws = engine(
        potential,
        {"scale": np.stack([SCALE] * N_FITS)},
        {"a": starts},
        SETTINGS,
        key=jax.random.split(jax.random.PRNGKey(3), N_FITS),
        draws=DRAWS,
        most_draws=2 * DRAWS,
        enough=lambda fit, z: fit < N_FITS - 1,
        on_block=told.append,
        **options,
    )
    return draws, told


@pytest.fixture(scope="module", params=["numpyro", "lanes"])
def ran(request):
    if request.param == "lanes":
        return run(sample_lanes, steps=100)
    return run(sample_numpyro, block=20, fits_at_once=1)


def of_fit(told, fit):
    return [one for block in told for one in block if one.fit == fit]


def test_every_fit_is_told_of_until_it_has_its_draws(ran):
    draws, told = ran
    assert [one.fit for one in told[0]] == [0, 1, 2]
    for fit in range(N_FITS):
        lines, n_steps = of_fit(told, fit), draws.iterations[fit].n_steps
        done = np.stack([line.iterations for line in lines])
        assert (np.diff(done, axis=0) >= 0).all()
        assert done[-1].tolist() == [n_steps.shape[1]] * N_CHAINS == [lines[-1].total] * N_CHAINS
        assert [line.phase == "warmup" for line in lines] == (done < 150).any(axis=1).tolist()
    assert {line.total for line in of_fit(told, 2)} == {210, 270}


def test_what_is_told_is_true_of_the_iterations(ran):
    draws, told = ran
    for fit in range(N_FITS):
        seen = draws.iterations[fit]
        before = np.zeros(N_CHAINS, int)
        for line in of_fit(told, fit):
            for chain in range(N_CHAINS):
                block = slice(before[chain], line.iterations[chain])
                so_far = slice(0, line.iterations[chain])
                assert line.gradients[chain] == seen.n_steps[chain, so_far].sum()
                assert line.divergences[chain] == seen.diverging[chain, 150 : so_far.stop].sum()
                if block.start == block.stop:
                    assert np.isnan(line.leapfrogs[chain])
                    continue
                n_steps = seen.n_steps[chain, block]
                assert line.step_size[chain] == seen.step_size[chain, block][-1]
                assert line.leapfrogs[chain] == pytest.approx(n_steps.mean())
                assert line.depth_saturated[chain] == pytest.approx((n_steps >= 31).mean())
                rate = seen.acceptance_rate[chain, block].mean()
                assert line.acceptance_rate[chain] == pytest.approx(rate, rel=1e-5)
            before = line.iterations


def test_the_change_of_the_metric_is_that_between_its_last_two_renewals(ran):
    draws, told = ran
    stops = [window.stop for window in draws.windows]
    assert stops == [75, 100, 150]  # of which the last renews nothing
    for fit in range(N_FITS):
        assert all(np.isnan(line.metric_change).all() for line in of_fit(told, fit))


def block_of(n_steps, step_size=0.5):
    """Iterations `(fit, chain, iteration)` of which only the leapfrogs matter."""
    n_steps = np.asarray(n_steps)
    rest = np.full(n_steps.shape, 0.8)
    return Iterations(
        None, n_steps, rest, rest, rest, np.zeros(n_steps.shape, bool), rest * step_size
    )


def tally_of(*blocks, settings=SETTINGS, metric=lambda place, chain, window: np.ones(2)):
    """Add whole blocks `(chain, iteration)` of one fit, a second per iteration."""
    tally = first_tally(settings, 1, len(blocks[0]))
    for block in blocks:
        n_chains, n = np.shape(block)
        tally.add([0], block_of([block]), np.full((1, n_chains), n), float(n), metric)
    return tally


def last(tally, total):
    return tally.report([0], np.array([total]))[0]


def test_a_metric_that_doubles_has_changed_by_the_log_of_two():
    settings = SETTINGS._replace(warmup=300)  # windows end at 75, 100, 150, 250 and 300
    metric = lambda place, chain, window: np.array([2.0, 0.5]) ** (window * (chain + 1))  # noqa: E731
    changes = []
    for stop in (100, 150, 300):
        tally = tally_of(*[np.ones((2, 50), int)] * (stop // 50), settings=settings, metric=metric)
        changes.append(last(tally, 400).metric_change)
    assert np.isnan(changes[0]).all()
    np.testing.assert_allclose(changes[1:], np.log(2) * np.array([[1, 2], [1, 2]]))


def test_a_chain_that_takes_too_many_leapfrogs_is_told_of_when_its_second_window_ends():
    slow = np.array([[60] * 25, [10] * 25, [10] * 25])
    told = [last(tally_of(*[slow] * n), 210).stalled.tolist() for n in (3, 4)]
    assert told == [[False] * 3, [True, False, False]]


def test_leapfrogs_by_window_are_nan_until_the_window_ends():
    tally = tally_of(np.full((2, 100), 4), np.full((2, 49), 6))
    np.testing.assert_array_equal(tally.leapfrogs_by_window(0), [[4, 4], [4, 4], [np.nan, np.nan]])


def test_the_time_left_is_that_of_the_slowest_chain_at_its_pace():
    tally = first_tally(SETTINGS._replace(warmup=0), 1, 2)
    # Of ten iterations of room, the second chain ends five in these ten seconds.
    tally.add([0], block_of(np.full((1, 2, 10), 3)), np.array([[10, 5]]), 10.0, lambda *_: SCALE)
    told = last(tally, 30)
    assert told.iterations.tolist() == [10, 5]
    assert told.seconds_left.median == pytest.approx(25 * 2.0)
    assert told.gradients_projected.tolist() == [90, 90]
    assert told.seconds_left.low < told.seconds_left.median < told.seconds_left.high


def test_nothing_is_left_when_a_fit_has_its_draws():
    tally = tally_of(*[np.full((2, 70), 5)] * 3)
    assert last(tally, 210).seconds_left == (0, 0, 0)
    assert last(tally, 270).seconds_left.median == pytest.approx(60)


def test_a_chain_without_an_iteration_yet_has_no_time_left():
    tally = first_tally(SETTINGS, 1, 2)
    tally.add([0], block_of(np.full((1, 2, 10), 3)), np.array([[3, 0]]), 10.0, lambda *_: SCALE)
    assert np.isnan(last(tally, 210).seconds_left).all()


def test_the_time_left_is_surer_the_more_was_seen_and_in_sampling_than_in_warmup():
    def ratio(told):
        return told.seconds_left.high / told.seconds_left.low

    blocks = [np.full((2, 10), 4)] * 40
    settled, sampling, later = (ratio(last(tally_of(*blocks[:n]), 1000)) for n in (14, 20, 40))
    assert settled > sampling > later > 1


def test_until_the_metric_is_settled_as_little_as_a_leapfrog_per_iteration_may_be_left():
    told = last(tally_of(np.full((2, 50), 20)), 210).seconds_left
    assert told.low == pytest.approx(told.median / 20)
    assert told.high <= told.median * 31 / 20  # a tree has no more


def test_blocks_before_the_last_renewal_of_the_metric_do_not_set_the_pace():
    tally = tally_of(np.full((2, 100), 31), np.full((2, 10), 3))
    assert last(tally, 110 + 40).gradients_projected.tolist() == [3100 + 150] * 2


@pytest.mark.parametrize("spread", [0.1, pytest.param(0.3, marks=pytest.mark.long)])
def test_the_interval_covers_what_is_to_come_in_89_of_100_runs(spread):
    """Blocks alike, as in sampling: rates by block are log-normal, and the clock counts leapfrogs."""
    rng, covered, runs = np.random.default_rng(5), 0, 400
    settings = SETTINGS._replace(warmup=0, max_tree_depth=14)
    for _ in range(runs):
        rates = np.round(200 * np.exp(spread * rng.standard_normal(40))).astype(int)
        tally = first_tally(settings, 1, 1)
        for rate in rates[:20]:
            block = block_of(np.full((1, 1, 10), rate))
            tally.add([0], block, np.array([[10]]), 10.0 * rate, lambda *_: SCALE)
        low, _, high = last(tally, 400).seconds_left
        covered += low <= 10 * rates[20:].sum() <= high
    # Never less than it says; the one block of doubt that it starts with makes it wider where blocks are alike.
    assert covered / runs > 0.89 - 3 * (0.89 * 0.11 / runs) ** 0.5
