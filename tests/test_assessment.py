"""Whether to believe an approximation: arrays in, a verdict out."""

import intercepts
import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from scalecheck import diagnostics
from scalecheck.laplace.importance_draws import smooth
from scalecheck.variational import assessment, khat, shrinkage, vsbc

N_DRAWS = 4000
NAMES = ("a", "b")
ROOT = np.linalg.cholesky([[1.0, 0.9], [0.9, 1.0]])
RNG = np.random.default_rng(1)
NUTS = RNG.standard_normal((4, N_DRAWS // 4, 2)) @ ROOT.T

GAUSSIANS = {
    "exact": (RNG.standard_normal((1000, 2)) @ ROOT.T, 0.2, "believable", "means are off by"),
    "mean-field": (
        np.sqrt(0.19) * RNG.standard_normal((1000, 2)),
        1.1,
        "means only",
        "times that of NUTS",
    ),
    "tails": (RNG.standard_normal((1000, 2)) @ ROOT.T, 0.9, "means only", "k-hat is 0.90"),
    "wrong mean": (0.5 + RNG.standard_normal((1000, 2)) @ ROOT.T, 0.2, "do not use", "the mean of"),
}


def compared(draws, shape, rows=1000):
    return assessment.ComparedWithNuts(
        rows, assessment.margins_of(NUTS, assessment.moments_of(draws)), shape
    )


@pytest.mark.parametrize("name", GAUSSIANS)
def test_a_known_case_gets_its_verdict(name):
    draws, shape, verdict, words = GAUSSIANS[name]
    found = assessment.assess_approximation([compared(draws, shape)], NAMES, 10_000, ())
    assert found.verdict == verdict
    assert words in found.reasons[0]


def test_errors_that_are_not_symmetric_forbid_the_means():
    draws, shape, *_ = GAUSSIANS["exact"]
    found = assessment.assess_approximation([compared(draws, shape)], NAMES, 10_000, ("b",))
    assert found.verdict == "do not use"
    assert "errors of b are not symmetric" in found.reasons[0]


def test_without_an_increment_nothing_is_known():
    assert assessment.assess_approximation([], NAMES, 10_000, ()).verdict == "not known"


@pytest.mark.parametrize(
    ("power", "last", "verdict"),
    [(0.5, 0.0, "believable"), (0.5, 0.12, "do not use"), (-0.5, 0.12, "believable")],
)
def test_a_bias_that_stays_counts_at_all_rows(power, last, verdict):
    # In posterior sds a bias that stays grows with the root of the rows; that of a mean which is off by 1 / n shrinks.
    rows, n_rows = np.array([1000, 2000, 4000, 8000]), 8000 * 2**6
    shifts = last * (rows / rows[-1]) ** power
    margins = [
        assessment.Margins(np.array([one, 0.0]), np.full(2, 1e-3), np.zeros(2), np.full(2, 1e-3))
        for one in shifts
    ]
    increments = [
        assessment.ComparedWithNuts(n, one, 0.2)
        for n, one in zip(rows.tolist(), margins, strict=True)
    ]
    found = assessment.assess_approximation(increments, NAMES, n_rows, ())
    assert found.verdict == verdict
    assert found.correction is not None
    low, median, high = found.correction.shift[0]
    assert low < median < high
    assert median == pytest.approx(-last * (n_rows / rows[-1]) ** power, abs=1e-9)


def test_an_extrapolation_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    share = np.array([1e3, 2e3, 4e3, 8e3]) / 1e5
    terms, at = np.array([0.1, 0.02]), np.array([1.0, 1.0])
    design = np.stack([share**0.5, share**-0.5], axis=1)
    sd, n = 0.05, 4000
    y = (design @ terms)[:, None] + sd * rng.standard_normal((4, n))
    low, _, high = assessment.extrapolate(design, at, y, np.full(y.shape, 0.01)).T
    covered = ((low < at @ terms) & (high > at @ terms)).mean()
    # Never less than what Monte Carlo errors make it, hence rather more.
    assert 0.9 - 4 * np.sqrt(0.09 / n) < covered < 0.93


@pytest.mark.parametrize("lag", [-0.4, 0.0, 0.6])
def test_margins_are_in_monte_carlo_errors_of_the_truth(lag):
    rng = np.random.default_rng(3)
    n = 600
    nuts = rng.standard_normal((4, 250, n))
    for i in range(
        1, nuts.shape[1]
    ):  # autoregressive: squares follow each other by lag^2, whatever its sign
        nuts[:, i] = lag * nuts[:, i - 1] + np.sqrt(1 - lag**2) * nuts[:, i]
    other = 0.1 + 1.2 * rng.standard_normal((5000, n))
    found = assessment.margins_of(nuts, assessment.moments_of(other))
    for value, error, truth in (
        (found.shift, found.shift_mcse, 0.1),
        (found.log_sd, found.log_sd_mcse, np.log(1.2)),
    ):
        z = (value - truth) / error
        # Of the sd of z; effective draws are known to some percent themselves.
        assert abs(z.std() - 1) < 4 / np.sqrt(2 * n) + 0.05


# ---- k-hat


@pytest.mark.parametrize(("sd", "shape"), [(0.8, -np.inf), (1.3, 1 - 1 / 1.69), (2.0, 0.75)])
def test_khat_is_the_index_of_the_tail(sd, shape):
    # Ratios of N(0, sd) to N(0, 1) have the tail index 1 - 1 / sd^2; those of a narrower one are bounded.
    x = np.random.default_rng(4).standard_normal((40, 4000))
    found = [smooth(norm.logpdf(one, scale=sd) - norm.logpdf(one)).khat for one in x]
    # A regularly varying tail times a power of its logarithm: the estimate is biased by less than .15.
    assert (
        np.mean(found) == pytest.approx(shape, abs=0.15)
        if np.isfinite(shape)
        else np.mean(found) < 0.1
    )


def test_the_bound_of_khat_is_that_for_the_number_of_its_ratios():
    assert pytest.approx(1 - 1 / np.log10(khat.N_RATIOS), abs=0.005) == diagnostics.HIGHEST_KHAT


@pytest.fixture(scope="module")
def clinics():
    """Forty clinics of ten rows, and draws around their estimate."""
    rng = np.random.default_rng(5)
    data = intercepts.simulate(rng, 40, 10)
    theta, _ = intercepts.around(rng, data, 300)
    return data, theta, rng


@pytest.mark.parametrize(
    "written", ["centred", pytest.param("not_centred", marks=pytest.mark.long)]
)
def test_the_marginal_density_is_exact_up_to_its_error(clinics, written):
    data, theta, rng = clinics
    with jax.enable_x64(True):
        likelihood = intercepts.likelihood(getattr(intercepts, written), data)
        fit = intercepts.fit(rng, data, theta, standardised=written == "not_centred")
        own = {"u": fit.tree["posterior"]["u"].to_numpy()[0]}
        found, noise = khat.log_marginal(
            likelihood, data.values(), own, theta[:60], jax.random.PRNGKey(6)
        )
    exact = np.array([log_marginal(data, one) for one in theta[:60]])
    apart = found - exact
    assert 0 < noise < 1.5
    assert apart.std() == pytest.approx(noise, rel=4 / np.sqrt(120) + 0.2)


def log_marginal(data, theta):
    """Log density of the rows and of theta as sampled: two normals, two half-normals by their logs."""
    mu, beta, log_tau, log_sigma = theta
    tau, sigma = np.exp([log_tau, log_sigma])
    n_rows = data.y.shape[1]
    covariance = sigma**2 * np.eye(n_rows) + tau**2
    residual = data.y - mu - beta * data.x
    prior = norm.logpdf([mu, beta], scale=3).sum() + norm.logpdf([tau, sigma], scale=3).sum()
    rows = multivariate_normal(np.zeros(n_rows), covariance).logpdf(residual).sum()
    return rows + prior + log_tau + log_sigma


# ---- simulated data sets


def test_symmetric_errors_are_called_biased_as_often_as_the_level_says():
    rng = np.random.default_rng(7)
    wide = 0.5 + 0.5 * np.sign(rng.standard_normal((50, 400))) * rng.uniform(size=(50, 400)) ** 0.3
    found = vsbc.judge_symmetry([str(i) for i in range(400)], wide, np.ones(50, bool))
    assert abs((found.p < 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 400)
    assert found.biased == ()


def test_errors_to_one_side_are_called_biased():
    even = (np.arange(50) + 0.5) / 50
    below = np.stack([even, even**3], axis=1)
    assert vsbc.judge_symmetry(NAMES, below, np.ones(50, bool)).biased == ("b",)


@pytest.mark.parametrize("n_converged", [40, 0])
def test_fits_that_have_not_converged_make_nothing_biased(n_converged):
    below = np.append((np.arange(40) + 0.5) / 40, np.zeros(20))[:, None]
    found = vsbc.judge_symmetry(["a"], below, np.arange(60) < n_converged)
    assert (found.n_data_sets, found.n_open) == (n_converged, 60 - n_converged)
    assert found.biased == ()


# ---- shrinkage


def test_a_unit_is_shrunk_as_the_closed_form_says(clinics):
    data, theta, _ = clinics
    at = theta.mean(axis=0)
    mean, variance, residual = intercepts.conditional(data, at)
    with jax.enable_x64(True):
        likelihood = intercepts.likelihood(intercepts.centred, data)
        (found,) = shrinkage.measure_shrinkage(likelihood, data.values(), at, {"u": mean + at[0]})
    tau2, sigma2, n_rows = np.exp(2 * at[2]), np.exp(2 * at[3]), data.y.shape[1]
    alone = residual.sum(axis=1) / sigma2 / (0.01 / tau2 + n_rows / sigma2) + at[0]
    np.testing.assert_allclose(found.separate, alone, atol=1e-4)
    assert found.slope == pytest.approx((0.01 / tau2 + n_rows / sigma2) * variance, rel=1e-3)
