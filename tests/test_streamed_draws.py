"""Sites that are not held: the same draws, their moments, the same bits however a run is cut, left, or restarted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_lane_engine import resumable, run
from two_modes import back_near
from two_modes import run as run_two_modes

from scalecheck.diagnostics import array_stats, rhat_of_moments
from scalecheck.sampler import Settings, Streams, sample_lanes, sample_numpyro
from scalecheck.sampler.streaming_moments import QUANTILES

# `b` is held; of `a`, and of a function of both, only moments.
STREAMS = Streams(
    ("b",), lambda z, data: {"a": jnp.exp(z["a"] / 9), "sum": z["a"][:2] + z["b"] + data["mean"][0]}
)
SHORT = {"draws": 120, "settings": Settings(60, 0.8, 6, ())}
ENGINES = [
    pytest.param(sample_numpyro, id="numpyro", marks=pytest.mark.long),
    pytest.param(sample_lanes, id="lanes"),
]


def reduced_sites(z, mean):
    return {"a": np.exp(z["a"] / 9), "sum": z["a"][..., :2] + z["b"] + mean[0]}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture(scope="module")
def pair(engine):
    """The same run twice: all held, and not."""
    return run(engine, **SHORT), run(engine, **SHORT, streams=STREAMS)


def same_reduced(one, two):
    jax.tree.map(np.testing.assert_array_equal, one.reduced, two.reduced)
    for a, b in zip(one.z, two.z, strict=True):
        np.testing.assert_array_equal(a["b"], b["b"])


def test_the_draws_that_are_held_have_the_same_bits(pair):
    for whole, part in zip(*(one.z for one in pair), strict=True):
        assert list(part) == ["b"]
        np.testing.assert_array_equal(part["b"], whole["b"])
    jax.tree.map(np.testing.assert_array_equal, pair[0].iterations, pair[1].iterations)


def test_moments_are_those_of_all_draws_and_of_them_alone(pair):
    for fit, (whole, found) in enumerate(zip(pair[0].z, pair[1].reduced, strict=True)):
        z = {name: values.astype("float64") for name, values in whole.items()}
        mean = np.arange(4) + 4 * fit
        for name, values in reduced_sites(z, mean).items():
            np.testing.assert_allclose(found.mean[name], values.mean(axis=1), rtol=2e-5, atol=2e-5)
            np.testing.assert_allclose(
                found.variance[name], values.var(axis=1, ddof=1), rtol=2e-4, atol=1e-6
            )
            share = (values <= found.quantiles[name][:, None, None]).mean(axis=(1, 2))
            np.testing.assert_allclose(share.mean(axis=1), QUANTILES, atol=0.03)
        for name, values in z.items():
            np.testing.assert_array_equal(found.last[name], whole[name][:, -1])
            flat = values.reshape(-1, values.shape[-1])
            np.testing.assert_allclose(found.z_mean[name], flat.mean(axis=0), rtol=2e-5, atol=2e-5)
            np.testing.assert_allclose(found.z_variance[name], flat.var(axis=0), rtol=2e-4)


def test_where_all_is_held_nothing_is_reduced(pair):
    assert pair[0].reduced is None
    for number in (0, 1):
        for name, last in pair[0].last(number).items():
            np.testing.assert_array_equal(last, pair[1].last(number)[name])


@pytest.fixture(scope="module")
def streamed():
    return run(**SHORT, streams=STREAMS)


@pytest.mark.long
def test_moments_do_not_depend_on_how_steps_are_cut_into_blocks(streamed):
    same_reduced(streamed, run(**SHORT, streams=STREAMS, steps=37))


@pytest.mark.long
def test_moments_do_not_depend_on_the_size_of_the_blocks_of_numpyro():
    one, two = (run(sample_numpyro, **SHORT, streams=STREAMS, block=size) for size in (50, 7))
    same_reduced(one, two)


@pytest.mark.long
def test_a_run_that_is_left_and_resumed_has_the_same_moments():
    options = {
        "slots": 2,
        "n_fits": 3,
        "draws": 60,
        "most_draws": 120,
        "steps": 150,
        "enough": lambda fit, z: fit > 0,
        "settings": Settings(60, 0.8, 6, ()),
        "streams": STREAMS,
    }
    (resumed, n_saved), whole = resumable(**options), run(**options)
    assert n_saved > 12
    same_reduced(resumed, whole)


def test_a_fit_that_goes_on_has_the_moments_of_all_its_draws(engine, pair):
    asked = []

    def enough(fit, z):
        asked.append(sorted(z))
        return z["b"].shape[1] > 100

    options = {**SHORT, "draws": 60, "most_draws": 240}
    found = run(engine, **options, enough=enough, streams=STREAMS)
    assert asked == [["b"]] * 4
    np.testing.assert_allclose(
        found.reduced[0].mean["sum"],
        reduced_sites(pair[0].z[0], np.arange(4))["sum"].mean(axis=1),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.long
def test_a_chain_that_restarts_has_the_moments_of_what_it_did_then():
    streams = Streams((), lambda z, data: {"x": z["x"]})
    whole = run_two_modes(restart=back_near)
    part = run_two_modes(restart=back_near, streams=streams)
    assert len(whole.discarded) == 1
    assert part.discarded == whole.discarded
    for z, found in zip(whole.z, part.reduced, strict=True):
        np.testing.assert_allclose(found.mean["x"], z["x"].mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("apart", [0.0, 0.3])
def test_r_hat_of_moments_is_the_classic_one_of_the_draws(apart):
    draws = np.random.default_rng(2).standard_normal((4, 200)) + apart * np.arange(4)[:, None]
    found = rhat_of_moments(draws.mean(axis=1), draws.var(axis=1, ddof=1), 200)
    expected = array_stats.rhat(draws, method="identity", chain_axis=0, draw_axis=1)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_r_hat_of_moments_is_infinite_where_chains_stand_apart_and_still():
    mean = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 3.0]])
    variance = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    found = rhat_of_moments(mean, variance, 50)
    assert found[0] < 1
    assert np.isnan(found[1])
    assert found[2] == np.inf


def test_one_chain_has_no_r_hat():
    assert np.isnan(rhat_of_moments(np.zeros((1, 3)), np.ones((1, 3)), 50)).all()
