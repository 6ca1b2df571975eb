"""Nested Laplace: populations and units against exact posteriors, killed runs, and cases that end badly elsewhere."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import random_effects
from random_effects import FAMILIES
from scipy.special import logsumexp
from scipy.stats import kstest, norm, t

from scalecheck import diagnostics
from scalecheck.laplace import importance_draws, nested, unit_proposals
from scalecheck.laplace.importance_draws import SplitT
from scalecheck.laplace.marginal_density import MarginalDensity
from scalecheck.laplace.unit_modes import UnitModes
from scalecheck.laplace.unit_summaries import summarise_block
from scalecheck.model.rows import repeat_last
from scalecheck.sampler import SavedRun
from scalecheck.study.settings import ApproximationSettings
from scalecheck.variational import approximated, assessment

KEY = jax.random.PRNGKey(5)


def silent(line):
    pass


# ---- a linear mixed model, whose posterior is known


@functools.cache
def clinics():
    """The marginal density of 24 units of unequal size, and their data."""
    values = random_effects.simulate_slopes(
        np.random.default_rng(1), np.tile([1, 2, 3, 5, 8, 4], 4)
    )
    return random_effects.batch_of(random_effects.slopes, values), values


@functools.cache
def found():
    return nested.approximate_nested(clinics()[0], KEY, silent)


@functools.cache
def exact():
    """Means, sds and kurtoses `(5,)` of theta, their effective number; means and sds `(unit, 2)` of units."""
    _, values = clinics()
    rng = np.random.default_rng(2)
    mean, covariance = found().audited.weights.moments(found().audited.thetas)
    wider = SplitT(mean, 1.2 * np.linalg.cholesky(covariance), np.ones(5), np.ones(5))
    # A spread's logarithm has a long tail, which takes many draws.
    drawn = wider.draw(rng, 40_000)
    with jax.enable_x64(True):
        data = {name: jax.numpy.asarray(column) for name, column in values.items()}

        def log_density(theta):
            return random_effects.log_density_of_slopes(theta, **data)

        of_all = jax.jit(lambda all_: jax.lax.map(log_density, all_, batch_size=100))
        log_p = np.asarray(of_all(drawn))
    log_p = log_p + random_effects.log_prior_of_slopes(drawn) - wider.log_density(drawn)
    weights = importance_draws.smooth(log_p)
    assert weights.khat < 0.5
    chosen = drawn[weights.resample(rng, 300)]
    each = [random_effects.normals_of_slopes(one, values) for one in chosen]
    means, sds = np.array([one.mean for one in each]), np.array([one.sd for one in each])
    mean, covariance = weights.moments(drawn)
    sd = np.sqrt(np.diag(covariance))
    kurtosis = weights.weight @ ((drawn - mean) / sd) ** 4
    of_units = means.mean(axis=0), np.sqrt((sds**2).mean(axis=0) + means.var(axis=0))
    return mean, sd, kurtosis, weights.effective, *of_units


def near_exact(one):
    """Means and sds of theta are in Monte Carlo errors of the exact ones."""
    mean, sd, kurtosis, n, *_ = exact()
    thetas = one.audited.thetas
    own_mean, covariance = one.audited.weights.moments(thetas)
    error = np.sqrt(1 / n + 1 / one.n_independent)
    assert np.abs((own_mean - mean) / sd / error).max() < 4
    own_sd = np.sqrt(np.diag(covariance))
    # Of n independent draws, the logarithm of an sd has the error sqrt((kurtosis - 1) / 4n).
    error = np.sqrt((kurtosis - 1) / 4 * (1 / n + 1 / one.n_independent))
    if one.chains:
        by_chain = thetas.reshape(nested.CHAINS, -1, len(sd))
        error = np.hypot(np.sqrt((kurtosis - 1) / 4 / n), diagnostics.mcse_of_sd(by_chain) / sd)
    assert np.abs(np.log(own_sd / sd) / error).max() < 4


def test_the_posterior_of_a_linear_mixed_model_is_exact():
    assert found().reason() == ""
    assert found().khat < 0.5
    assert found().n_independent > nested.ENOUGH
    near_exact(found())


def test_units_are_as_the_closed_form_says():
    *_, mean, sd = exact()
    statistics = found().statistics
    # 64 draws know an sd to a tenth; those of 500 thetas have errors of their own.
    assert np.sqrt(np.mean(np.log(statistics[..., 1] / sd) ** 2)) < 0.04
    shift = (statistics[..., [0, 3]] - mean[..., None]) / sd[..., None]
    assert np.abs(shift).max() < 4 * np.sqrt(2 / 300)
    low, high = (statistics[..., i] - mean for i in (2, 4))
    assert (-low / sd).mean() == pytest.approx(norm.ppf(0.945), abs=0.1)
    assert (high / sd).mean() == pytest.approx(norm.ppf(0.945), abs=0.1)


def test_units_of_which_the_data_say_nothing_stay_at_their_prior():
    # No row of every fourth unit tells of its slope: it is a draw from its prior, averaged over theta.
    slope = found().statistics[::4, 1]
    mean, tau = found().shared[:, 1], np.exp(found().shared[:, 3])
    sd = np.sqrt((tau**2).mean() + mean.var())
    assert np.abs(slope[:, 0] - mean.mean()).max() < 0.2 * sd
    np.testing.assert_allclose(slope[:, 1] / sd, 1, atol=0.15)


def test_draws_of_units_belong_to_those_of_the_population():
    own = found().own
    statistics = found().statistics
    assert own.shape == (len(found().shared), 24, 2)
    np.testing.assert_allclose(
        own.mean(axis=0), statistics[..., 0], atol=4 * statistics[..., 1].max() / np.sqrt(500)
    )
    z = (own - found().shared[:, None, :2]) / np.exp(found().shared[:, None, 2:4])
    assert np.abs(z[:, ::4, 1].std() - 1) < 0.05


def with_average(x, unit, n_unit, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 2))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(mean, 1))
    numpyro.deterministic("average", own.mean())
    numpyro.deterministic("twice", 2 * mean)
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(own[unit] * x, 1), obs=y)


@pytest.mark.parametrize(
    ("keep", "expected"), [(["average"], True), (["twice"], False), (["own"], True), (None, True)]
)
def test_draws_of_units_are_kept_where_a_kept_site_needs_them(monkeypatch, keep, expected):
    def stop(*args, keeps_units, **options):
        raise StopIteration(keeps_units)

    monkeypatch.setattr(nested, "approximate_nested", stop)
    batch = random_effects.batch_of(with_average, clinics()[1])
    settings = ApproximationSettings("always", "laplace", "auto", None, 100, 0)
    with pytest.raises(StopIteration) as told:
        approximated.approximate_batch(batch, settings, keep, KEY, silent)
    assert told.value.value is expected


def test_what_is_written_has_a_group_of_units():
    whole = approximated._of_nested(found(), None)
    assert whole.converged
    assert whole.doubts == ()
    groups = approximated.groups_of_approximation(whole)
    dims, values = groups["units"].variables["own"]
    assert dims[:2] == ("statistic", "unit")
    np.testing.assert_allclose(np.moveaxis(values, 0, -1), found().statistics, rtol=1e-6)
    _, _, n_draws = groups["posterior"].variables["own"][1].shape[:3]
    assert n_draws == 24
    np.testing.assert_allclose(
        groups["posterior"].variables["sigma"][1][0], np.exp(found().shared[:, 4]), rtol=1e-5
    )


@pytest.mark.long
def test_nuts_on_the_marginal_density_has_the_same_posterior():
    one = nested.approximate_nested(clinics()[0], KEY, silent, exact=True)
    assert one.chains.rhat <= 1.01
    assert one.reason() == ""
    near_exact(one)


class StopAfter:
    """Keeps what a run gives, and ends it after some times."""

    def __init__(self, left, state=None):
        self.left, self.state = left, state

    def saved(self):
        return None if self.state is None else SavedRun(self.state, {})

    def keep(self, take):
        self.state = take().state
        self.left -= 1
        if self.left == 0:
            raise SystemExit


@pytest.fixture
def fewer(monkeypatch):
    """Draws that a test needs."""
    monkeypatch.setattr(nested, "DRAWS", 160)
    monkeypatch.setattr(nested, "ENOUGH", 64)
    monkeypatch.setattr(nested, "THETAS", 50)


def same_programs(monkeypatch, marginal, y):
    """Let a run take a density that is compiled, with other outcomes."""

    def renewed(batch):
        marginal.renew("y", repeat_last(y.astype("float32"), len(batch.arrays_of()["y"])))
        return marginal

    monkeypatch.setattr(nested, "MarginalDensity", renewed)


def test_a_killed_run_ends_with_the_same_bits(monkeypatch, fewer):
    batch, values = clinics()
    same_programs(monkeypatch, found().marginal, values["y"])
    whole = nested.approximate_nested(batch, KEY, silent, StopAfter(-1))
    saver = StopAfter(7)
    for left in (whole.evaluations - 10, -1):
        with pytest.raises(SystemExit):
            nested.approximate_nested(batch, KEY, silent, saver)
        saver = StopAfter(left, saver.state)
    again = nested.approximate_nested(batch, KEY, silent, saver)
    assert again.evaluations == whole.evaluations
    for name in ("shared", "own", "statistics", "second_mass"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))


def test_empty_units_of_a_batch_add_nothing():
    values = random_effects.simulate_slopes(np.random.default_rng(3), (2, 3, 4, 5))
    both = random_effects.batch_of(random_effects.slopes, values, n_fits=2)
    few = both._replace(
        tasks=both.tasks[1:],
        arrays={name: column[1:] for name, column in both.arrays.items()},
        own=both.own[1:],
        values=both.values[1:],
    )
    marginal, theta = MarginalDensity(few), np.array([0.4, -0.8, 0.1, -0.6, -0.4])
    assert [*marginal.blocks[0].is_unit] == [True, True, True, False]
    part = {name: column[values["unit"] > 0] for name, column in values.items()}
    part["unit"] = part["unit"] - 1
    exact = random_effects.normals_of_slopes(theta, part).log_density.sum()
    exact += random_effects.log_prior_of_slopes(theta)
    assert marginal.evaluate(theta).value == pytest.approx(exact, rel=1e-5)


# ---- random intercepts of yes and no


LOGISTIC = FAMILIES["logistic"]
# A third of the units has one row.
SIZES = np.tile([1, 1, 2, 3, 6, 8], 5)


@functools.cache
def logistic():
    values, _ = LOGISTIC.simulate(np.random.default_rng(7), SIZES, 0.3, 1.2)
    batch = random_effects.batch_of(LOGISTIC.model, values)
    return batch, MarginalDensity(batch), values


def as_drawn(values):
    return values["y"]


def alike(values):
    """Outcomes that are the same for all rows of a unit."""
    return (values["unit"] % 3 > 0).astype("float64")


def no_spread(values):
    """Outcomes of which each unit has the same share, as nearly as can be."""
    return (np.arange(len(values["y"])) % 2).astype("float64")


@pytest.mark.parametrize("case", [as_drawn, no_spread, alike])
def test_the_posterior_is_that_of_quadrature(monkeypatch, case):
    batch, marginal, values = logistic()
    values = values | {"y": case(values)}
    monkeypatch.setattr(nested, "DRAWS", 400)
    monkeypatch.setattr(nested, "THETAS", 50)
    same_programs(monkeypatch, marginal, values["y"])
    one = nested.approximate_nested(batch, KEY, silent)
    assert one.reason() == ""
    assert np.isfinite(one.statistics).all()
    assert np.isfinite(one.own).all()
    own_mean, covariance = one.audited.weights.moments(one.audited.thetas)
    sd = np.sqrt(np.diag(covariance))
    mean, exact_sd = LOGISTIC.posterior(values, own_mean, np.diag(1.4 * sd))
    error = 1 / np.sqrt(one.n_independent)
    assert np.abs((own_mean - mean) / exact_sd).max() < 4 * error + 0.1
    assert np.abs(np.log(sd / exact_sd)).max() < 4 * error + 0.1


def test_a_density_that_is_finite_nowhere_is_a_result(fewer, monkeypatch):
    monkeypatch.setattr(nested, "ROUNDS", 2)
    batch, marginal, values = logistic()
    same_programs(monkeypatch, marginal, np.full(len(values["y"]), np.nan))
    one = nested.approximate_nested(batch, KEY, silent)
    assert one.chains is None
    assert one.reason() == (
        "the marginal density of the population is finite nowhere that was tried"
    )
    assert not approximated._of_nested(one, None).converged


# ---- two modes within a unit


def model_of_squares(unit, n_unit, y, noise):
    level = numpyro.sample("level", dist.Normal(0, 0.2))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(0, 2))
    with numpyro.plate("rows", unit.shape[0]):
        numpyro.sample("y", dist.Normal(level + own[unit] ** 2, noise), obs=y)


def squared(unit, n_unit, y=None):
    model_of_squares(unit, n_unit, y, 0.5)


def blurred(unit, n_unit, y=None):
    model_of_squares(unit, n_unit, y, 1.0)


def squared_values(own, n_rows):
    """Outcomes whose means are the squares of the units' values."""
    rng, unit = np.random.default_rng(8), np.repeat(np.arange(len(own)), n_rows)
    return {"unit": unit, "y": own[unit] ** 2 + 0.5 * rng.standard_normal(len(unit))}


def approximate_squared(own):
    batch = random_effects.batch_of(squared, squared_values(own, 5))
    return nested.approximate_nested(batch, KEY, silent)


def test_a_second_mode_far_from_the_first_is_integrated(fewer):
    own = np.linspace(2, 3, 12)
    one = approximate_squared(own)
    assert one.reason() == ""
    np.testing.assert_allclose(one.second_mass, 0.5, atol=0.02)
    assert approximated._doubts(one) == ()
    # Both signs are as likely: 1,000 draws of 50 thetas know their share to .1.
    mean, sd = one.statistics[:, 0, :2].T
    assert (np.abs(mean) < 0.3 * own).all()
    rows = squared_values(own, 5)["y"].reshape(12, 5)
    level = one.audited.weights.weight @ one.audited.thetas[:, 0]
    np.testing.assert_allclose(mean**2 + sd**2, rows.mean(axis=1) - level, atol=0.1)


def waved(unit, n_unit, y=None):
    level = numpyro.sample("level", dist.Normal(0, 0.2))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(0, 2))
    with numpyro.plate("rows", unit.shape[0]):
        numpyro.sample("y", dist.Normal(level + jnp.cos(2 * own)[unit], 0.1), obs=y)


def test_third_modes_of_a_unit_are_said_and_cost_its_intervals_the_trust(fewer):
    values = squared_values(np.linspace(0.9, 1.1, 12), 2)
    values["y"] = np.repeat(np.cos(2 * np.linspace(0.9, 1.1, 12)), 2)
    one = nested.approximate_nested(random_effects.batch_of(waved, values), KEY, silent)
    assert one.reason() == ""
    (doubt,) = approximated._doubts(one)
    said = re.fullmatch(
        r"(\d+) of 12 units have another mode that is left out, with up to .*", doubt
    )
    # Four of five draws of the prior lie between the two inner modes.
    assert said is not None
    assert int(said[1]) >= 3
    margins = assessment.Margins(np.zeros(1), np.full(1, 1e-3), np.zeros(1), np.full(1, 1e-3))
    compared = [assessment.ComparedWithNuts(60, margins, 0.1)]
    sure = assessment.assess_approximation(compared, ["level"], 600, ())
    doubted = assessment.assess_approximation(compared, ["level"], 600, (), [doubt])
    assert (sure.verdict, doubted.verdict) == ("believable", "means only")
    assert doubted.reasons == (doubt,)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 2.0), (0.0, 0.2), (3.0, 1.0), (8.0, 0.1)])
def test_the_draws_near_a_mode_are_as_many_as_are_expected(mean, sd):
    marginal = MarginalDensity(random_effects.batch_of(squared, squared_values(np.ones(12), 5)))
    centre, block = marginal.starts[0].u * 0 + 1.0, marginal.blocks[0]
    wide = unit_proposals.t_of_prior(marginal.model, marginal.theta(np.zeros(1)), centre, block)
    # Of N(0, 2), whatever the place at which it is asked for.
    np.testing.assert_allclose(wide.centre[:12], 0, atol=1e-5)
    np.testing.assert_allclose(wide.root[:12, 0, 0], 0.5, rtol=1e-5)
    other = UnitModes(
        centre * 0 + mean, centre[:, 0], jnp.full((len(centre), 1, 1), 1 / sd), centre[:, 0] > 0
    )
    narrow = wide._replace(root=wide.root * 2)
    mixture = unit_proposals.UnitMixture(wide, narrow, wide)
    expected = (24 * t.pdf(mean, 7, 0, 2) + 40 * t.pdf(mean, 7, 0, 1)) * np.sqrt(2 * np.pi) * sd
    np.testing.assert_allclose(
        unit_proposals.n_draws_near(mixture, other)[:12], expected, rtol=1e-4
    )


@pytest.mark.long
def test_second_modes_that_draws_reach_are_in_the_intervals(fewer):
    values = {"unit": np.arange(12), "y": np.linspace(1.2, 1.3, 12) ** 2}
    one = nested.approximate_nested(random_effects.batch_of(blurred, values), KEY, silent)
    np.testing.assert_allclose(one.second_mass, 0.5, atol=0.02)
    assert approximated._doubts(one) == ()
    assert one.reason() == ""
    # Prior and likelihood are the same for both signs: the mean is zero, and the sd that of both modes.
    mean, sd = one.statistics[:, 0, :2].T
    assert (np.abs(mean) < 0.3 * sd).all()
    grid = np.linspace(-9, 9, 2001)
    level = one.audited.weights.weight @ one.audited.thetas[:, 0]
    p = np.exp(norm.logpdf(grid, 0, 2) + norm.logpdf(values["y"][:, None], level + grid**2, 1.0))
    exact = np.sqrt((p * grid**2).sum(axis=1) / p.sum(axis=1))
    assert np.abs(np.log(sd / exact)).max() < 0.1


@pytest.mark.long
def test_units_whose_two_modes_meet_are_integrated(fewer):
    # Between one mode and two a unit has no curvature, and Laplace's method no finite answer.
    own = np.where(np.arange(12) < 8, 2.0, 0.0)
    one = approximate_squared(own)
    assert one.reason() == ""
    grid, level = np.linspace(-9, 9, 4001), np.linspace(-0.8, 0.8, 321)
    y = squared_values(own, 5)["y"].reshape(12, 5)
    log_p = norm.logpdf(level, 0, 0.2)
    for rows in y:
        each = norm.logpdf(rows[:, None, None], level[:, None] + grid**2, 0.5).sum(axis=0)
        log_p = log_p + logsumexp(each + norm.logpdf(grid, 0, 2), axis=1)
    p = np.exp(log_p - logsumexp(log_p))
    mean, sd = p @ level, np.sqrt(p @ (level - p @ level) ** 2)
    own_mean, covariance = one.audited.weights.moments(one.audited.thetas)
    error = 1 / np.sqrt(one.n_independent)
    assert abs(own_mean[0] - mean) < (4 * error + 0.1) * sd
    assert abs(np.log(np.sqrt(covariance[0, 0]) / sd)) < 4 * error + 0.1


# ---- simulation-based calibration


N_SETS, ROWS = 50, 5


@functools.cache
def ranks(name):
    """Probability below the truth of mu, log tau and a unit's latent, `(data set, 3)`."""
    family, rng = FAMILIES[name], np.random.default_rng(14)
    sizes = np.full(40, ROWS)
    values, _ = family.simulate(rng, sizes, family.centre, 1.0)
    batch = random_effects.batch_of(family.model, values)
    marginal, n_rows = MarginalDensity(batch), len(batch.arrays_of()["y"])
    below = []
    for number in range(N_SETS):
        mu, tau = family.draw_prior(rng)
        values, own = family.simulate(rng, sizes, mu, tau)
        marginal.renew("y", repeat_last(values["y"].astype("float32"), n_rows))
        key = jax.random.fold_in(KEY, number)
        mode, audited = nested.weigh_population(marginal, key, 208, 80)
        truth = np.array([mu, np.log(tau)])
        thetas = audited.thetas[audited.weights.resample(rng, 100)]
        units = summarise_block(
            marginal.model,
            marginal.theta(thetas),
            marginal.theta(mode.theta),
            marginal.starts[0],
            marginal.blocks[0],
            key,
            2,
        )
        of_theta = audited.weights.weight @ (audited.thetas < truth)
        below.append([*of_theta, (units.draws[:, 0, 0] < own[0]).mean()])
    return np.array(below)


@pytest.mark.long
@pytest.mark.parametrize("name", FAMILIES)
def test_the_truth_lies_anywhere_in_the_approximation(name):
    for below in ranks(name).T:
        assert kstest(below, "uniform").pvalue > 0.005
        counts = np.histogram(below, 8, (0, 1))[0]
        # The chi-squared quantile of .995 with seven degrees of freedom.
        assert ((counts - N_SETS / 8) ** 2 / (N_SETS / 8)).sum() < 20.3
