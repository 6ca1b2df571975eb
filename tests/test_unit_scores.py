"""Scores of units by Fisher's identity, against a marginal likelihood known in closed form."""

import intercepts
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from scalecheck.evaluation import unit_scores

N_UNITS, N_ROWS = 30, 6


@pytest.fixture(autouse=True)
def double():
    """As `examine` asks for scores."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def data():
    return intercepts.simulate(np.random.default_rng(1), N_UNITS, N_ROWS)


@pytest.fixture(scope="module")
def theta(data):
    """As many draws as are used, so that the closed form can be averaged over the same."""
    return intercepts.around(np.random.default_rng(2), data, unit_scores.N_DRAWS)[0]


def found(function, data, theta, *, crossed, seed=3):
    return scored(intercepts.likelihood(function, data), function, data, theta, crossed, seed)


def scored(likelihood, function, data, theta, crossed, seed):
    assert unit_scores.no_unit_scores(likelihood) is None
    pooled = intercepts.fit(
        np.random.default_rng(seed), data, theta, standardised=function is intercepts.not_centred
    )
    return unit_scores.unit_scores(likelihood, pooled, data.values(), crossed=crossed)


def by_unit(score):
    return score.reshape(N_UNITS, N_ROWS, 4).sum(axis=1)


def test_row_scores_of_the_closed_form_sum_to_those_of_the_marginal_likelihood(data, theta):
    rows = intercepts.row_scores(data, theta[0])
    np.testing.assert_allclose(rows.sum(axis=1), intercepts.scores(data, theta[0]), rtol=1e-9)


def test_the_closed_form_is_the_gradient(data, theta):
    def marginal(theta):
        residual = data.y - theta[0] - theta[1] * data.x
        covariance = jnp.exp(2 * theta[3]) * jnp.eye(N_ROWS) + jnp.exp(2 * theta[2])
        return dist.MultivariateNormal(0, covariance).log_prob(residual)

    gradient = jax.jit(jax.jacfwd(marginal))(jnp.asarray(theta[0]))
    np.testing.assert_allclose(intercepts.scores(data, theta[0]), gradient, rtol=1e-8)


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.parametrize("function", [intercepts.centred, intercepts.not_centred])
def test_scores_are_the_gradient_of_the_marginal_likelihood(data, theta, function, crossed):
    """Averaged over the draws of the parameters; those of the intercepts leave the Monte Carlo error."""
    exact = np.mean([intercepts.scores(data, one) for one in theta], axis=0)
    likelihood = intercepts.likelihood(function, data)
    repeated = [
        by_unit(scored(likelihood, function, data, theta, crossed, seed).score)
        for seed in range(20)
    ]
    mcse = np.std(repeated, axis=0, ddof=1) / np.sqrt(20)
    t = (np.mean(repeated, axis=0) - exact) / np.maximum(mcse, 1e-12)
    # 120 quantities with t of 19 degrees of freedom.
    assert np.abs(t).max() < 6
    assert np.sqrt(np.mean(t**2)) == pytest.approx(np.sqrt(19 / 17), rel=0.25)


def test_rows_carry_the_whole_score_along_an_axis_that_crosses_units(data, theta):
    """Centred or not: once standardised, the models are one."""
    exact = np.mean([intercepts.row_scores(data, one) for one in theta], axis=0).reshape(-1, 4)
    centred, not_centred = (
        found(function, data, theta, crossed=True).score
        for function in (intercepts.centred, intercepts.not_centred)
    )
    np.testing.assert_allclose(centred, not_centred, rtol=1e-8, atol=1e-8)
    assert np.corrcoef(centred[:, 0], exact[:, 0])[0, 1] > 0.99
    apart = found(intercepts.centred, data, theta, crossed=False).score
    # As the model is written, no row depends on mu: the unit's score is spread evenly.
    np.testing.assert_allclose(apart[:, 0], np.repeat(by_unit(apart)[:, 0] / N_ROWS, N_ROWS))


def test_units_are_numbered_by_appearance_and_padding_units_are_left_out(data, theta):
    likelihood = intercepts.likelihood(intercepts.centred, data)
    pooled = intercepts.fit(np.random.default_rng(3), data, theta, standardised=False)
    values = data.values()
    plain = unit_scores.unit_scores(likelihood, pooled, values, crossed=False)
    posterior = pooled.tree["posterior"].to_dataset()
    wide = np.pad(posterior["u"].to_numpy(), [(0, 0), (0, 0), (0, 3)], constant_values=9.0)
    pooled.tree["posterior"] = posterior.drop_vars("u").assign(u=(("chain", "draw", "wide"), wide))
    moved = values | {"clinic": 7 * values["clinic"] + 100}
    padded = unit_scores.unit_scores(likelihood, pooled, moved, crossed=False)
    np.testing.assert_array_equal(padded.score, plain.score)
    np.testing.assert_array_equal(padded.unit, data.unit)


def test_bounds_that_depend_on_a_parameter_move_with_it():
    """With u ~ Uniform(0, width) and y ~ Normal(u, 1) the range of what is integrated moves."""

    def model(x, clinic, n_clinic, y=None):
        width = numpyro.sample("width", dist.HalfNormal(3))
        with numpyro.plate("clinics", n_clinic):
            u = numpyro.sample("u", dist.Uniform(0, width))
        with numpyro.plate("rows", x.shape[0]):
            numpyro.sample("y", dist.Normal(u[clinic], 1), obs=y)

    rng = np.random.default_rng(4)
    data = intercepts.simulate(rng, N_UNITS, 1)
    likelihood = intercepts.likelihood(model, data)
    width, n_draws = 1.7, unit_scores.N_DRAWS
    grid = (np.arange(4000) + 0.5) / 4000
    density = np.exp(-0.5 * (data.y - width * grid) ** 2)  # (unit, grid)

    def score(seed):
        rng = np.random.default_rng(seed)
        weight = density.cumsum(axis=1) / density.sum(axis=1, keepdims=True)
        u = [width * grid[np.searchsorted(one, rng.random(n_draws))] for one in weight]
        theta = np.full((n_draws, 1), np.log(width))
        pooled = intercepts.fit(rng, data, np.zeros((n_draws, 4)), standardised=False)
        pooled.tree["posterior"] = (
            pooled.tree["posterior"]
            .to_dataset()
            .assign(u=(("chain", "draw", "clinic"), np.array(u).T[None]))
        )
        pooled.tree["unconstrained_posterior"] = (
            pooled.tree["unconstrained_posterior"]
            .to_dataset()
            .drop_vars("z")
            .assign(z=(("chain", "draw", "one"), theta[None]))
        )
        return unit_scores.unit_scores(likelihood, pooled, data.values(), crossed=False).score[:, 0]

    def marginal(width):
        inside = jnp.exp(-0.5 * (data.y - width * grid) ** 2)
        return jnp.log(inside.mean(axis=1))

    exact = width * jax.jit(jax.jacfwd(marginal))(width)
    repeated = np.array([score(seed) for seed in range(20)])
    t = (repeated.mean(axis=0) - exact) / (repeated.std(axis=0, ddof=1) / np.sqrt(20))
    assert np.abs(t).max() < 6


def test_slopes_and_intercepts_that_are_correlated_are_standardised_together():
    def model(x, clinic, n_clinic, y=None):
        mu = numpyro.sample("mu", dist.Normal(0, 1).expand([2]).to_event(1))
        scale = numpyro.sample("scale", dist.HalfNormal(1))
        root = scale * jnp.array([[1.0, 0.0], [0.5, 0.8]])
        with numpyro.plate("clinics", n_clinic):
            b = numpyro.sample("b", dist.MultivariateNormal(mu, scale_tril=root))
        with numpyro.plate("rows", x.shape[0]):
            numpyro.sample("y", dist.Normal(b[clinic, 0] + b[clinic, 1] * x, 1), obs=y)

    data = intercepts.simulate(np.random.default_rng(5), 5, 4)
    likelihood = intercepts.likelihood(model, data)
    b, mu, scale = np.random.default_rng(6).standard_normal((5, 2)), np.array([0.2, -0.4]), 0.7
    pooled = with_draws(data, np.append(mu, np.log(scale))[None], b=b)
    score = unit_scores.unit_scores(likelihood, pooled, data.values(), crossed=True).score
    x, y, unit = data.x.ravel(), data.y.ravel(), data.unit
    left = y - b[unit, 0] - b[unit, 1] * x
    away = b[unit] - mu  # moves as the scale does
    of_scale = left * (away[:, 0] + away[:, 1] * x)
    np.testing.assert_allclose(score, np.stack([left, left * x, of_scale], axis=1), rtol=1e-9)


def with_draws(data, theta, **latent):
    """A fit with a single draw."""
    pooled = intercepts.fit(np.random.default_rng(0), data, np.zeros((1, 4)), standardised=False)
    posterior, z = (
        pooled.tree[group].to_dataset() for group in ("posterior", "unconstrained_posterior")
    )
    variables = {
        name: (("chain", "draw", *(f"{name}_{i}" for i in range(values.ndim))), values[None, None])
        for name, values in latent.items()
    }
    pooled.tree["posterior"] = posterior.drop_vars("u").assign(variables)
    pooled.tree["unconstrained_posterior"] = z.drop_vars("z").assign(
        z=(("chain", "draw", "element"), theta[None])
    )
    return pooled


def test_latent_sites_of_rows_belong_to_their_row_and_its_unit():
    def model(x, y=None):
        scale = numpyro.sample("scale", dist.HalfNormal(1))
        with numpyro.plate("rows", x.shape[0]):
            z = numpyro.sample("z", dist.Normal(0, scale))
            numpyro.sample("y", dist.Normal(x + z, 1), obs=y)

    data = intercepts.simulate(np.random.default_rng(7), 4, 3)
    likelihood = intercepts.likelihood(model, data, unit=None)
    z, scale = np.random.default_rng(8).standard_normal(12), 0.7
    pooled = with_draws(data, np.array([[np.log(scale)]]), z=z)
    scores = unit_scores.unit_scores(likelihood, pooled, data.values(), crossed=False)
    np.testing.assert_allclose(scores.score[:, 0], z**2 / scale**2 - 1, rtol=1e-9)
    np.testing.assert_array_equal(scores.unit, np.arange(12))


def shared(u, clinic, x):
    return (u - u.mean())[clinic]


def neighbour(u, clinic, x):
    return u[clinic] + 0.1 * u[clinic - 1]


@pytest.mark.parametrize("mean", [shared, neighbour])
def test_units_that_depend_on_each_other_are_seen(data, theta, mean):
    def model(x, clinic, n_clinic, y=None):
        _, beta, tau, sigma = intercepts._shared()
        with numpyro.plate("clinics", n_clinic):
            u = numpyro.sample("u", dist.Normal(0, tau))
        numpyro.sample("y", dist.Normal(mean(u, clinic, x) + beta * x, sigma), obs=y)

    reason = found(model, data, theta, crossed=False)
    assert reason == "the density of one clinic depends on latent sites of another (u)"


def test_latent_sites_that_were_not_stored_are_asked_for(data, theta):
    likelihood = intercepts.likelihood(intercepts.centred, data)
    pooled = intercepts.fit(np.random.default_rng(3), data, theta, standardised=False)
    pooled.tree["posterior"] = pooled.tree["posterior"].to_dataset().drop_vars("u")
    reason = unit_scores.unit_scores(likelihood, pooled, data.values(), crossed=False)
    assert reason == "the draws of the latent site u are not stored: name it in sampler.keep"
