"""Draws from a split t: its density, its weights, and where it moves."""

import numpy as np
import pytest
from scipy.stats import norm, t

from scalecheck.laplace import importance_draws, nested
from scalecheck.laplace.importance_draws import SplitT

SPLIT = SplitT(
    np.array([0.5, -1.0]),
    np.array([[1.0, 0.0], [0.8, 0.6]]),
    np.array([2.0, 1.0]),
    np.array([0.5, 1.5]),
)


def test_the_density_of_a_split_t_has_the_integral_one():
    axis = np.linspace(-40, 40, 1601)
    one = SplitT(np.zeros(1), np.eye(1), np.array([3.0]), np.array([0.4]))
    assert np.exp(one.log_density(axis[:, None])).sum() * 0.05 == pytest.approx(1, abs=1e-4)
    both = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert np.exp(SPLIT.log_density(both)).sum() * 0.05**2 == pytest.approx(1, abs=1e-3)


def test_a_t_that_is_not_split_is_a_t():
    one = SplitT(np.array([2.0]), np.array([[3.0]]), np.ones(1), np.ones(1))
    x = np.linspace(-20, 20, 9)
    np.testing.assert_allclose(one.log_density(x[:, None]), t.logpdf(x, 7, 2, 3))


def test_draws_of_a_split_t_have_its_density():
    n = 40_000
    drawn = SPLIT.draw(np.random.default_rng(9), n)
    narrow = norm.logpdf(drawn, SPLIT.centre, 0.5).sum(axis=1)
    ratio = np.exp(narrow - SPLIT.log_density(drawn))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(n)
    z = np.linalg.solve(SPLIT.root, (drawn - SPLIT.centre).T)
    share = SPLIT.above / (SPLIT.above + SPLIT.below)
    assert np.abs((z > 0).mean(axis=1) - share).max() < 4 * np.sqrt(0.25 / n)


def test_the_scale_of_a_side_is_the_sd_of_a_normal_that_falls_so():
    sd = np.array([[0.5, 1.0, 2.0]])
    drops = 1.5**2 / (2 * sd**2)
    np.testing.assert_allclose(importance_draws.split_scales(drops, 1.5), sd)
    flat_or_lost = importance_draws.split_scales(np.array([[0.0, -1.0, np.nan]]), 1.5)
    assert flat_or_lost.tolist() == [[3.0, 3.0, 0.4]]


def test_smoothed_weights_have_the_moments_of_what_they_weigh():
    x = np.random.default_rng(10).standard_normal((4000, 1))
    found = importance_draws.smooth(norm.logpdf(x[:, 0], 0.3, 0.8) - norm.logpdf(x[:, 0]))
    mean, covariance = found.moments(x)
    assert abs(mean[0] - 0.3) < 4 * 0.8 / np.sqrt(found.effective)
    assert abs(np.log(covariance[0, 0] / 0.64)) < 4 * np.sqrt(2 / found.effective)
    assert found.khat < 0.5


@pytest.mark.parametrize("off", [1.0, 4.0])
def test_a_t_moves_to_where_its_draws_have_weight(off):
    # A normal target; a start that is so many sds off, narrow along one axis and wide along another.
    target = np.array([[1.0, 0.0, 0.0], [0.9, 0.5, 0.0], [0.0, -0.7, 2.0]])

    def log_p(thetas):
        return norm.logpdf(np.linalg.solve(target, thetas.T)).sum(axis=0)

    sides = np.ones(3)
    proposals = [SplitT(target @ [off, 0, 0], np.diag([0.5, 3.0, 1.0]), sides, sides)]
    drawn = []
    for number in range(1, 6):
        drawn.append(proposals[-1].draw(np.random.default_rng(number), 500))
        thetas = np.concatenate(drawn)
        log_q = importance_draws.log_mixture(proposals, thetas)
        found = importance_draws.smooth(log_p(thetas) - log_q)
        proposals.append(importance_draws.adapted(proposals[-1], found, thetas))
    assert found.khat < 0.5
    assert found.effective > 600
    mean, covariance = found.moments(thetas)
    moved = np.linalg.solve(target, mean) * np.sqrt(found.effective)
    assert np.abs(moved).max() < 4
    scale = np.linalg.solve(target, np.linalg.solve(target, covariance).T)
    assert np.abs(scale - np.eye(3)).max() < 5 * np.sqrt(2 / found.effective)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_of_many_dimensions_few_draws_tell_how_much_wider_the_posterior_is(seed):
    # 1.2 sds are needed along each of 42 axes: of 512 draws some 20 count, which know no covariance of 42 x 42.
    d, n = 42, 512
    first = SplitT(np.zeros(d), np.eye(d), np.ones(d), np.ones(d))
    drawn = first.draw(np.random.default_rng(seed), n)
    log_p = norm.logpdf(drawn, 0.3, 1.2).sum(axis=1)
    found = importance_draws.smooth(log_p - first.log_density(drawn))
    second = importance_draws.adapted(first, found, drawn)

    def effective(proposal):
        drawn = proposal.draw(np.random.default_rng(seed + 10), n)
        log_p = norm.logpdf(drawn, 0.3, 1.2).sum(axis=1)
        return importance_draws.smooth(log_p - proposal.log_density(drawn)).effective

    assert effective(second) > 1.5 * effective(first)


def test_the_density_of_a_mixture_is_the_mean_of_its_parts():
    parts = [SPLIT, SPLIT._replace(centre=SPLIT.centre + 1)]
    drawn = SPLIT.draw(np.random.default_rng(1), 5)
    expected = np.mean([np.exp(one.log_density(drawn)) for one in parts], axis=0)
    np.testing.assert_allclose(np.exp(importance_draws.log_mixture(parts, drawn)), expected)


def test_equal_ratios_weigh_alike_and_those_that_are_no_number_nothing():
    weight, khat = importance_draws.smooth(np.full(50, 3.0))
    assert khat == 0.0
    np.testing.assert_allclose(weight, 0.02)
    log_ratios = np.random.default_rng(11).standard_normal(200)
    log_ratios[:3] = np.nan, -np.inf, np.inf
    found = importance_draws.smooth(log_ratios)
    assert found.weight[:3].max() < 1e-12
    assert found.weight.sum() == pytest.approx(1)


def test_ratios_of_which_none_is_a_number_are_not_believed():
    for nothing in (np.nan, -np.inf, np.inf):
        found = importance_draws.smooth(np.full(200, nothing))
        assert found.khat == np.inf
        assert not nested.suffices(found, 100)


def test_ratios_of_a_chain_that_stood_still_are_not_believed():
    found = importance_draws.smooth(np.repeat([0.8, 0.9, 2.9], 400))
    assert found.khat == np.inf
    assert found.weight.sum() == pytest.approx(1)
    assert found.weight[-1] / found.weight[0] == pytest.approx(np.exp(2.1))


def test_a_draw_is_taken_as_often_as_its_weight_says():
    weight = np.random.default_rng(12).dirichlet(np.ones(30))
    chosen = importance_draws.Smoothed(weight, 0.0).resample(np.random.default_rng(13), 100)
    assert np.abs(np.bincount(chosen, minlength=30) - 100 * weight).max() < 1
