"""The default study: its model in float32 against float64, and its posterior against an exact grid."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import small_studies
from arviz_stats.base import array_stats
from scipy.special import log_ndtr
from scipy.stats import halfnorm

from scalecheck.model import binding, density, sites
from scalecheck.study.settings import ModelSettings

FOLDER = Path(__file__).parents[1] / "config" / "studies" / "golf"
PUTTS = pd.read_csv(FOLDER / "putts.csv")
OPENING = (4.25 - 1.68) / 2 / 12  # feet between the rims of hole and ball
SIGMAS = (0.01, 0.0199, 0.0267, 0.1)


@functools.cache
def function():
    settings = ModelSettings(str(FOLDER / "model.py"), "model", {}, None)
    bound = binding.bind(
        binding.load_model(settings),
        settings,
        "holed",
        {"distance": None, "holed": None},
        frozenset(),
    )
    return sites.function_of_arrays(bound, {})


def log_probabilities(distance, sigma):
    """Log probabilities of a miss and of a hole, in float64."""
    log_miss = np.log(2) + log_ndtr(-np.arcsin(OPENING / distance) / sigma)
    return log_miss, np.log1p(-np.exp(log_miss))


@jax.jit
def rows_at(log_sigma, arrays):
    return density.row_log_likelihood(function(), "holed", {"sigma": log_sigma}, arrays)


def by_row(distance, holed, sigma):
    arrays = {"distance": np.float32(distance), "holed": np.float32(holed)}
    return np.asarray(rows_at(jnp.log(jnp.float32(sigma)), arrays))


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_log_likelihood_of_every_distance_is_that_of_float64(sigma):
    distance = PUTTS["distance_ft"].to_numpy()
    log_miss, log_hole = log_probabilities(distance, sigma)
    missed, holed = (by_row(distance, np.full(len(distance), y), sigma) for y in (0.0, 1.0))
    # From a third of a foot a miss has a log probability of -500 and less: relative, not absolute.
    np.testing.assert_allclose(missed, log_miss, rtol=2e-4)
    np.testing.assert_allclose(holed, log_hole, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("sigma", SIGMAS[:3])
def test_a_miss_from_a_third_of_a_foot_is_next_to_impossible_and_finite(sigma):
    (missed,) = by_row([0.28], [0.0], sigma)
    assert np.isfinite(missed)
    assert missed < np.log(1e-8)
    assert missed == pytest.approx(log_probabilities(0.28, sigma)[0], rel=1e-4)


def test_the_gradient_of_the_potential_is_that_of_float64():
    part = PUTTS[PUTTS["source"] == "berry1995"]
    distance = part["distance_ft"].to_numpy("float32")
    arrays = {"distance": distance, "holed": (np.arange(len(part)) % 2).astype("float32")}
    energy = lambda log_sigma: density.potential(function())(**arrays)({"sigma": log_sigma})  # noqa: E731
    value_and_gradient = jax.jit(jax.value_and_grad(energy))
    for sigma in SIGMAS:
        step = 1e-5
        potential = [reference(arrays, np.log(sigma) + s) for s in (-step, step)]
        expected = (potential[1] - potential[0]) / (2 * step)
        value, gradient = value_and_gradient(jnp.log(jnp.float32(sigma)))
        assert float(value) == pytest.approx(np.mean(potential), rel=1e-5)
        assert float(gradient) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def reference(arrays, log_sigma):
    """Potential energy in float64, from scipy."""
    log_miss, log_hole = log_probabilities(arrays["distance"].astype(float), np.exp(log_sigma))
    likelihood = np.where(arrays["holed"] == 1, log_hole, log_miss).sum()
    return -(likelihood + halfnorm.logpdf(np.exp(log_sigma), scale=0.1) + log_sigma)


def test_gradients_are_finite_at_every_distance_and_draw_of_the_prior():
    """At any sigma that the prior gives: `0 x inf` in a derivative would stall every chain."""
    sigma = np.abs(np.random.default_rng(1).normal(0, 0.1, 200))
    distance = np.repeat(PUTTS["distance_ft"].to_numpy("float32"), 2)
    arrays = {"distance": distance, "holed": np.tile(np.float32([0, 1]), len(PUTTS))}
    gradients = jax.jit(jax.jacfwd(rows_at))
    for one in np.quantile(sigma, [0.02, 0.25, 0.5, 1.0]):
        assert np.isfinite(gradients(jnp.log(jnp.float32(one)), arrays)).all()


def grid(part):
    """Mean and sd of sigma and of log sigma by quadrature in float64."""
    u = np.linspace(np.log(0.005), np.log(0.15), 20_001)
    log_miss, log_hole = log_probabilities(part["distance_ft"].to_numpy()[:, None], np.exp(u))
    made, attempts = part["made"].to_numpy()[:, None], part["attempts"].to_numpy()[:, None]
    log_posterior = (made * log_hole + (attempts - made) * log_miss).sum(axis=0)
    log_posterior += halfnorm.logpdf(np.exp(u), scale=0.1) + u
    weight = np.exp(log_posterior - log_posterior.max())
    weight /= weight.sum()
    mean = (weight * np.exp(u)).sum(), (weight * u).sum()
    sd = [np.sqrt((weight * (x - m) ** 2).sum()) for x, m in zip((np.exp(u), u), mean, strict=True)]
    return mean, sd


@pytest.mark.parametrize(
    ("source", "sigma", "sd"), [("berry1995", 0.02665, 0.0004), ("broadie2018", 0.02025, 0.00003)]
)
def test_sigma_of_both_sources_is_the_reference_value(source, sigma, sd):
    (mean, _), (found, _) = grid(PUTTS[PUTTS["source"] == source])
    assert mean == pytest.approx(sigma, abs=sd / 10 + 5e-6)
    assert found == pytest.approx(sd, rel=0.2)


@pytest.mark.long
def test_our_posterior_of_the_first_data_is_that_of_an_exact_grid(tmp_path):
    part = PUTTS[PUTTS["source"] == "berry1995"]
    small = small_studies.make(
        tmp_path,
        part,
        (FOLDER / "model.py").read_text(encoding="utf-8"),
        outcome="holed",
        data={"expand": {"trials": "attempts", "successes": "made"}},
        model={"arguments": {"distance": "distance_ft"}},
        increments={"start": 5988, "end": "all"},
        sampler={"chains": 4, "warmup": 200, "draws": 300},
    )
    (result,) = small.fit("increment-01")
    (sigma_mean, _), (sigma_sd, log_sd) = grid(part)
    sigma, log_sigma = np.exp(result.z[..., 0]), result.z[..., 0]
    axes = {"chain_axis": 0, "draw_axis": 1}
    assert result.task.rows == 5988
    assert abs(sigma.mean() - sigma_mean) < 4 * array_stats.mcse(sigma, **axes)
    for draws, sd in ((sigma, sigma_sd), (log_sigma, log_sd)):
        assert abs(draws.std() - sd) < 4 * array_stats.mcse(draws, method="sd", **axes)
    assert not sum(result.record.divergences)
