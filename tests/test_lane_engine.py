"""The lane sampler: its transitions, its adaptation, and that it samples what NumPyro samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from scalecheck.diagnostics import array_stats
from scalecheck.sampler import SavedRun, Settings, lane_engine, sample_lanes, sample_numpyro

D = 4
COVARIANCE = np.array(
    [[4.0, 1.8, 0, 0], [1.8, 1.0, 0, 0], [0, 0, 0.25, 0.1], [0, 0, 0.1, 9.0]], dtype="float32"
)


def gaussian(precision, mean):
    """Potential of a normal of two sites, `a` of three coordinates and `b` of one."""

    def potential(z):
        away = jnp.concatenate([z["a"], z["b"]]) - mean
        return 0.5 * away @ precision @ away

    return potential


def starts(n_fits, n_chains, seed=1):
    z = np.random.default_rng(seed).normal(size=(n_fits, n_chains, D)).astype("float32")
    return {"a": z[..., :3], "b": z[..., 3:]}


def batch(n_fits, covariance=COVARIANCE):
    precision = np.linalg.inv(covariance).astype("float32")
    mean = np.arange(n_fits * D, dtype="float32").reshape(n_fits, D)
    return {"precision": np.stack([precision] * n_fits), "mean": mean}


def run(
    sampler=sample_lanes,
    *,
    n_fits=2,
    n_chains=4,
    draws=400,
    settings=None,
    seed=1,
    covariance=COVARIANCE,
    **options,
):
    return sampler(
        gaussian,
        batch(n_fits, covariance),
        starts(n_fits, n_chains),
        settings or Settings(300, 0.8, 8, ()),
        key=jax.random.split(jax.random.PRNGKey(seed), n_fits),
        draws=draws,
        **options,
    )


@pytest.fixture(scope="module")
def plain():
    return run()


def mcse(values):
    return float(array_stats.mcse(values, method="mean", chain_axis=0, draw_axis=1))


def flat(z):
    return np.concatenate([z["a"], z["b"]], axis=-1).astype(float)


# ---- what is sampled


METRICS = {"diagonal": (), "dense": (("a", "b"),), "block": (("a",),)}


@pytest.mark.parametrize("dense", METRICS.values(), ids=METRICS)
def test_a_correlated_normal_has_its_moments_and_quantiles(dense):
    found = run(draws=1000, settings=Settings(300, 0.8, 8, dense))
    for fit, z in enumerate(found.z):
        draws = flat(z)
        mean = np.arange(D) + fit * D
        for j in range(D):
            scores = (draws[..., j] - mean[j]) / np.sqrt(COVARIANCE[j, j])
            for values, truth in [
                (scores, 0.0),
                (scores**2, 1.0),
                (scores < -1, stats.norm.cdf(-1)),
            ]:
                error = array_stats.mcse(
                    values.astype(float), method="mean", chain_axis=0, draw_axis=1
                )
                assert abs(values.mean() - truth) < 4.5 * error
        assert np.corrcoef(draws.reshape(-1, D).T)[0, 1] == pytest.approx(0.9, abs=0.03)


def test_a_dense_metric_needs_fewer_leapfrogs(plain):
    dense = run(settings=Settings(300, 0.8, 8, (("a", "b"),)))
    leapfrogs = lambda found: found.iterations[0].n_steps[:, 300:].mean()  # noqa: E731
    assert leapfrogs(dense) < leapfrogs(plain)


@pytest.fixture(scope="module")
def trajectories():
    """Long runs of both samplers at the same step size and metric: nothing was adapted."""
    settings, wide = Settings(0, 0.8, 6, ()), 10 * COVARIANCE
    return [
        run(
            sampler, n_fits=1, covariance=wide, n_chains=64, draws=150, settings=settings, seed=seed
        )
        for sampler, seed in ((sample_numpyro, 3), (sample_lanes, 4))
    ]


@pytest.mark.long
def test_trajectories_are_as_long_as_those_of_numpyro(trajectories):
    counts = [
        np.bincount(t.iterations[0].n_steps[:, 20::5].ravel(), minlength=64) for t in trajectories
    ]
    table = np.array(counts)[:, np.array(counts).sum(axis=0) > 20]
    assert table.shape[1] > 5
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.long
@pytest.mark.parametrize("what", ["acceptance_rate", "energy", "potential_energy"])
def test_iterations_look_like_those_of_numpyro(trajectories, what):
    means = [getattr(t.iterations[0], what)[:, 20:].mean(axis=1) for t in trajectories]
    assert stats.ttest_ind(*means).pvalue > 1e-3
    values = [getattr(t.iterations[0], what)[:, 20::10].ravel() for t in trajectories]
    assert stats.ks_2samp(*values).pvalue > 1e-3


@pytest.mark.long
def test_adapted_step_sizes_and_acceptance_are_those_of_numpyro():
    found = [
        run(sampler, n_fits=1, n_chains=48, draws=100, seed=5)
        for sampler in (sample_numpyro, sample_lanes)
    ]
    sizes = [np.log(one.iterations[0].step_size[:, -1]) for one in found]
    assert stats.ttest_ind(*sizes).pvalue > 1e-3
    rates = [one.iterations[0].acceptance_rate[:, 300:].mean(axis=1) for one in found]
    assert stats.ttest_ind(*rates).pvalue > 1e-3


# ---- driving

# One program for all that have it.
THREE = {"n_fits": 3, "steps": 150, "settings": Settings(60, 0.8, 6, ())}


def test_draws_do_not_depend_on_how_steps_are_cut_into_blocks(plain):
    other = run(steps=37)
    for one, two in zip(plain.z, other.z, strict=True):
        np.testing.assert_array_equal(flat(one), flat(two))
    for one, two in zip(plain.iterations, other.iterations, strict=True):
        np.testing.assert_array_equal(one.n_steps, two.n_steps)


def resumable(**options):
    """A run that is left after every third of its first blocks, and what it had saved by then."""
    saved, state = [], None

    class Killed(Exception):
        pass

    def keep(take):
        nonlocal state
        snapshot = take()
        saved.append(snapshot.news)
        state = snapshot.state
        if len(saved) in {1, 4, 7, 10}:
            raise Killed

    while True:
        try:
            before = None if state is None else SavedRun(state, list(saved))
            return run(**options, keep=keep, saved=before), len(saved)
        except Killed:
            pass


@pytest.mark.parametrize("slots", [None, pytest.param(2, marks=pytest.mark.long)])
def test_a_run_that_is_left_and_resumed_ends_with_the_same_bits(slots, monkeypatch):
    # Two fits end early: one goes on for longer in a batch that has shrunk, or one waits for a place.
    monkeypatch.setattr(lane_engine, "COMPILE_NUMBERS", 0)
    options = {
        "slots": slots,
        "draws": 60,
        "most_draws": 240,
        "enough": lambda fit, z: fit > 0,
        **THREE,
    }
    (resumed, n_saved), whole = resumable(**options), run(**options)
    assert n_saved > 12
    for one, two in zip(resumed.z, whole.z, strict=True):
        np.testing.assert_array_equal(flat(one), flat(two))
    for one, two in zip(resumed.iterations, whole.iterations, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, two)
    for one, two in zip(resumed.windows, whole.windows, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, two)
    assert resumed.useful == whole.useful


def test_every_chain_has_its_draws_and_what_was_seen_of_them(plain):
    for z, seen in zip(plain.z, plain.iterations, strict=True):
        assert flat(z).shape == (4, 400, D)
        assert seen.n_steps.shape == seen.energy.shape == (4, 700)
        assert (seen.n_steps >= 1).all()
        assert not seen.diverging[:, 300:].any()
        assert (np.diff(seen.step_size[:, 300:], axis=1) == 0).all()
    assert 0.3 < plain.useful <= 1
    assert [window.stop for window in plain.windows] == [75, 100, 150, 250, 300]
    for window, seen in zip(plain.windows, plain.windows[1:], strict=False):
        assert window.inverse_mass_matrix.shape == (2, 4, D)
        assert window.stop < seen.stop
    np.testing.assert_allclose(
        np.median(plain.windows[-1].inverse_mass_matrix, axis=(0, 1)), np.diag(COVARIANCE), rtol=0.5
    )


def test_fits_that_need_more_draws_get_them_and_the_others_rest():
    asked = []

    def enough(fit, z):
        asked.append((fit, flat(z).shape[1]))
        return fit == 0 or flat(z).shape[1] >= 300

    found = run(draws=100, most_draws=400, enough=enough, **THREE)
    assert [flat(z).shape[1] for z in found.z] == [100, 300, 300]
    assert sorted(asked) == [(0, 100), (1, 100), (1, 200), (1, 300), (2, 100), (2, 200), (2, 300)]


@pytest.mark.long
def test_fits_that_wait_for_a_place_get_the_same_draws(plain):
    found = run(slots=1)
    for one, other in zip(found.z, plain.z, strict=True):
        means, errors = flat(one).mean((0, 1)), [mcse(flat(one)[..., j]) for j in range(D)]
        assert (np.abs(means - flat(other).mean((0, 1))) < 6 * np.array(errors)).all()
        assert flat(one).shape == (4, 400, D)
    assert found.useful > 0.8


@pytest.mark.long
@pytest.mark.parametrize(("numbers", "widths"), [(0, {3, 1}), (1e12, {3})])
def test_a_batch_shrinks_where_that_is_worth_a_compilation(monkeypatch, numbers, widths):
    monkeypatch.setattr(lane_engine, "COMPILE_NUMBERS", numbers)
    seen, place = set(), lane_engine.LaneEngine._program
    monkeypatch.setattr(
        lane_engine.LaneEngine,
        "_program",
        lambda self: seen.add(len(self.batch.fits)) or place(self),
    )
    options = {"draws": 50, "most_draws": 200, "enough": lambda fit, z: fit > 0}
    run(**THREE, **options)
    assert seen == widths


def test_a_batch_goes_on_with_the_fits_that_are_not_done():
    seen = []
    options = {"draws": 50, "most_draws": 200, "enough": lambda fit, z: fit > 0}
    found = run(**THREE, **options, on_block=seen.append)
    assert [flat(z).shape[1] for z in found.z] == [200, 50, 50]
    assert [one.fit for one in seen[0]] == [0, 1, 2]
    (last,) = seen[-1]
    assert (last.fit, last.iterations.tolist(), last.total) == (0, [260] * 4, 260)


@pytest.fixture(scope="module")
def unadapted():
    return run(n_fits=1, draws=50, settings=Settings(0, 0.8, 2, ()))


def test_without_warmup_nothing_is_adapted(unadapted):
    assert (unadapted.iterations[0].step_size == 1).all()
    assert unadapted.windows == []


def test_warmups_of_few_and_of_many_windows_run_in_one_process():
    # A warm increment has a tenth of the warmup. Room for windows is made by eights.
    for warmup, n_windows in ((3300, 9), (330, 5), (3300, 9)):
        found = run(n_fits=1, n_chains=1, draws=5, settings=Settings(warmup, 0.8, 3, ()))
        assert len(found.windows) == n_windows


def test_trees_are_cut_at_the_largest_depth(unadapted):
    assert unadapted.iterations[0].n_steps.max() == 3
