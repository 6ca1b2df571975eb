"""The lane sampler on distributions whose marginals are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from scalecheck.diagnostics import array_stats
from scalecheck.sampler import Settings, sample_lanes

ALPHA = 1e-3  # of a false alarm, by test


def draw(potential, arrays, starts, settings, draws):
    """Draws of one fit by site, `(chain, draw, ...)`."""
    found = sample_lanes(
        potential,
        {name: values[None].astype("float32") for name, values in arrays.items()},
        {name: values[None].astype("float32") for name, values in starts.items()},
        settings,
        key=jax.random.split(jax.random.PRNGKey(20260219), 1),
        draws=draws,
    )
    return {name: values.astype("float64") for name, values in found.z[0].items()}


def agree(values, truth):
    """Whether all means `(quantity,)` of draws `(quantity, chain, draw)` are the truth, within MCSE."""
    error = array_stats.mcse(values.astype(float), method="mean", chain_axis=1, draw_axis=2)
    scores = (values.mean(axis=(1, 2)) - truth) / error
    return np.abs(scores).max() < stats.norm.isf(ALPHA / 2 / len(scores))


# ---- a funnel


@pytest.fixture(scope="module")
def neck():
    """The logarithmic scale of a funnel of five further coordinates, `(chain, draw)`."""

    def funnel(width):
        return lambda z: (
            0.5 * (z["v"] / width) ** 2
            + 0.5 * jnp.sum(z["x"] ** 2) * jnp.exp(-z["v"])
            + 0.5 * len(z["x"]) * z["v"]
        )

    rng = np.random.default_rng(1)
    starts = {"v": rng.normal(size=8), "x": rng.normal(size=(8, 5))}
    settings = Settings(400, 0.95, 10, ())
    return draw(funnel, {"width": np.array(1.2)}, starts, settings, 4000)["v"] / 1.2


def test_the_neck_of_a_funnel_has_the_moments_and_quantiles_of_a_normal(neck):
    levels = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    below = [neck < stats.norm.ppf(level) for level in levels]
    powers = [neck**k for k in (1, 2, 3, 4)]
    assert agree(np.stack(powers + below), [0, 1, 0, 3, *levels])


def test_the_neck_of_a_funnel_is_a_normal_sample(neck):
    ess = array_stats.ess(neck, method="bulk", chain_axis=0, draw_axis=1)
    assert ess > 800
    every = int(np.ceil(neck.size / ess))
    assert stats.kstest(neck[:, ::every].ravel(), "norm").pvalue > ALPHA


# ---- a hundred dimensions

D, N_NEAR = 100, 20
SCALES = np.logspace(-0.5, 0.5, D)
CORRELATIONS = 0.7 ** np.abs(np.subtract.outer(np.arange(D), np.arange(D)))
CENTRE = np.linspace(-2, 2, D)


# A dense metric of all hundred would be learned from too few draws, and its trajectories be ten times as long.
@pytest.fixture(scope="module", params=[(), (("near",),)], ids=["diagonal", "dense"])
def scores(request):
    """Draws of a correlated normal of a hundred dimensions, standardised: `(coordinate, chain, draw)`."""

    def normal(precision, centre):
        def potential(z):
            away = jnp.concatenate([z["near"], z["far"]]) - centre
            return 0.5 * away @ precision @ away

        return potential

    arrays = {
        "precision": np.linalg.inv(CORRELATIONS * np.outer(SCALES, SCALES)),
        "centre": CENTRE,
    }
    starts = np.random.default_rng(2).normal(size=(4, D))
    sites = {"near": starts[:, :N_NEAR], "far": starts[:, N_NEAR:]}
    z = draw(normal, arrays, sites, Settings(300, 0.8, 10, request.param), 800)
    z = np.concatenate([z["near"], z["far"]], axis=-1)
    return np.moveaxis((z - CENTRE) / SCALES, -1, 0)


def test_a_normal_of_a_hundred_dimensions_has_its_means_and_deviations(scores):
    assert agree(scores, np.zeros(D))
    assert agree(scores**2, np.ones(D))


@pytest.mark.parametrize("apart", [1, 3, 50])
def test_a_normal_of_a_hundred_dimensions_has_its_correlations(scores, apart):
    assert agree(scores[apart:] * scores[:-apart], np.full(D - apart, 0.7**apart))


@pytest.mark.parametrize("coordinate", [0, D // 2, D - 1])
def test_a_normal_of_a_hundred_dimensions_has_its_quantiles(scores, coordinate):
    levels = np.array([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    assert agree(np.stack([scores[coordinate] < q for q in stats.norm.ppf(levels)]), levels)


def test_a_normal_of_a_hundred_dimensions_has_its_potential_energy(scores):
    """Which no coordinate alone shows: a chi-square of as many degrees."""
    flat = scores.reshape(D, -1)
    energy = np.sum(flat * np.linalg.solve(CORRELATIONS, flat), axis=0).reshape(scores.shape[1:])
    levels = [0.1, 0.5, 0.9]
    below = [energy < stats.chi2.ppf(level, D) for level in levels]
    assert agree(np.stack([energy, (energy - D) ** 2, *below]), [D, 2 * D, *levels])
