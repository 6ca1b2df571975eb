"""Streamed moments: exact mean and variance, quantiles within their stated error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from scalecheck.diagnostics import INTERVAL
from scalecheck.sampler import streaming_moments

M = 300


def autocorrelated(rng, n):
    noise = rng.standard_normal((n + 100, M))
    return signal.lfilter([np.sqrt(1 - 0.9**2)], [1, -0.9], noise, axis=0)[100:]


STREAMS = {
    "normal": lambda rng, n: rng.standard_normal((n, M)),
    "lognormal": lambda rng, n: np.exp(rng.standard_normal((n, M))),
    "half-Cauchy": lambda rng, n: np.abs(rng.standard_cauchy((n, M))),
    "wide lognormal": lambda rng, n: np.exp(3 * rng.standard_normal((n, M))),
    "autocorrelated": autocorrelated,
    "autocorrelated lognormal": lambda rng, n: np.exp(autocorrelated(rng, n)),
}
# In whose squares float32 loses what is not the largest draw.
HEAVY = ("half-Cauchy", "wide lognormal")


def draws(stream, n):
    return STREAMS[stream](np.random.default_rng(11), n).astype("float32")


@jax.jit
def fold(x):
    return jax.lax.scan(
        lambda seen, row: (streaming_moments.add(seen, row), None),
        streaming_moments.no_moments(x.shape[1], x.dtype),
        x,
    )[0]


of_chains = jax.jit(jax.vmap(fold))  # moments of chains `(chain, draw, m)`
quantiles = jax.jit(streaming_moments.quantiles)


def test_the_interval_is_the_one_that_the_project_shows():
    low, middle, high = streaming_moments.QUANTILES
    assert (low, middle, high) == pytest.approx([(1 - INTERVAL) / 2, 0.5, (1 + INTERVAL) / 2])
    assert set(streaming_moments.QUANTILES) <= set(streaming_moments.MARKERS)
    assert list(streaming_moments.MARKERS) == sorted(streaming_moments.MARKERS)


@pytest.mark.parametrize("stream", [name for name in STREAMS if name not in HEAVY])
def test_mean_and_variance_are_those_of_all_draws(stream):
    x = 3000 + draws(stream, 500)  # float32 would lose the variance in a sum of squares
    spread = fold(x).spread
    assert int(spread.n) == 500
    double = x.astype("float64")
    walk = np.sqrt(500) * np.finfo("float32").eps  # one rounding for each draw
    np.testing.assert_allclose(spread.mean, double.mean(axis=0), rtol=walk)
    np.testing.assert_allclose(spread.squares / 499, double.var(axis=0, ddof=1), rtol=2e-3)


@pytest.mark.parametrize(
    ("stream", "n", "error"),
    [
        ("normal", 500, 0.008),
        ("normal", 2000, 0.004),
        ("lognormal", 500, 0.008),
        ("lognormal", 2000, 0.004),
        ("half-Cauchy", 500, 0.02),
        ("half-Cauchy", 2000, 0.012),
        ("wide lognormal", 500, 0.02),
        ("wide lognormal", 2000, 0.01),
        ("autocorrelated", 500, 0.025),
        ("autocorrelated", 2000, 0.012),
        ("autocorrelated lognormal", 500, 0.025),
        ("autocorrelated lognormal", 2000, 0.012),
    ],
)
def test_quantiles_have_the_error_that_is_stated(stream, n, error):
    x = draws(stream, n)
    found = np.asarray(quantiles(of_chains(x[None])))
    share = (x <= found[:, None]).mean(axis=1) - np.array(streaming_moments.QUANTILES)[:, None]
    assert (np.sqrt((share**2).mean(axis=1)) < error).all()
    assert (np.abs(share.mean(axis=1)) < error / 2).all()


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_quantiles_of_few_draws_lie_among_them(n):
    x = draws("normal", n)
    found = np.asarray(quantiles(of_chains(x[None])))
    assert (found >= x.min(axis=0)).all()
    assert (found <= x.max(axis=0)).all()
    expected = np.quantile(x.astype("float64"), streaming_moments.QUANTILES, axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_quantiles_of_chains_that_disagree_span_them():
    one, two = draws("normal", 500), draws("lognormal", 500) + 50
    low, middle, high = np.asarray(quantiles(of_chains(np.stack([one, two]))))
    assert (low < 0).all()
    assert (high > 50).all()
    # Linear between markers, which stand further apart at .11 and .89 of one chain than at its quantiles.
    share = (np.concatenate([one, two]) <= np.stack([low, high])[:, None]).mean(axis=1)
    np.testing.assert_allclose(share.mean(axis=1), [0.055, 0.945], atol=0.02)
    assert ((one.max(axis=0) <= middle + 1e-3) & (middle <= two.min(axis=0) + 1e-3)).all()


def test_a_marker_of_the_right_rank_is_the_quantile_however_far_away_the_largest_draw_is():
    n = 2001
    heights = jnp.array([*range(8), 1e15])[None, :, None]
    ranks = jnp.round(1 + (n - 1) * jnp.array(streaming_moments.MARKERS)).astype("int32")[
        None, :, None
    ]
    unused = jnp.zeros((1, 1))
    spread = streaming_moments.Welford(jnp.full(1, n), unused, unused)
    found = quantiles(streaming_moments.StreamingMoments(spread, heights, ranks))
    np.testing.assert_allclose(found[:, 0], [2, 4, 6], rtol=1e-4)


def test_a_number_that_never_moves_has_itself_for_every_quantile():
    x = np.full((60, M), 0.3, "float32")
    seen = of_chains(x[None])
    np.testing.assert_allclose(quantiles(seen), 0.3, rtol=1e-6)
    np.testing.assert_allclose(seen.spread.squares, 0, atol=1e-12)


def test_ranks_add_up_and_heights_are_in_order():
    seen = fold(draws("autocorrelated", 777))
    assert (np.asarray(seen.ranks[0]) == 1).all()
    assert (np.asarray(seen.ranks[-1]) == 777).all()
    assert (np.diff(seen.ranks, axis=0) >= 1).all()
    assert (np.diff(seen.heights, axis=0) >= 0).all()
