"""Posteriors of posteriordb that are no regression: levels, series, mixtures, processes, equations."""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import lax
from jax.scipy.special import logsumexp
from numpyro.distributions import constraints
from regressions import flat

# ---- levels


def eight_schools_centered(y, sigma):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    theta = numpyro.sample("theta", dist.Normal(mu, tau).expand([len(y)]).to_event(1))
    numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def eight_schools_noncentered(y, sigma):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    scores = numpyro.sample("scores", dist.Normal(0, 1).expand([len(y)]).to_event(1))
    theta = numpyro.deterministic("theta", mu + tau * scores)
    numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


# ---- series


def ar5(y):
    alpha = numpyro.sample("alpha", dist.Normal(0, 10))
    beta = numpyro.sample("beta", dist.Normal(0, 10).expand([5]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    lagged = jnp.stack([y[5 - k : len(y) - k] for k in range(1, 6)], axis=1)
    numpyro.sample("y", dist.Normal(alpha + lagged @ beta, sigma), obs=y[5:])


def arma11(y):
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    phi = numpyro.sample("phi", dist.Normal(0, 2))
    theta = numpyro.sample("theta", dist.Normal(0, 2))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    # Before the first value stands the mean, and no error.
    rest = y - mu - phi * jnp.concatenate([mu[None], y[:-1]])

    def step(error, rest):
        error = rest - theta * error
        return error, error

    _, errors = lax.scan(step, jnp.zeros_like(mu), rest)
    numpyro.factor("y", dist.Normal(0, sigma).log_prob(errors).sum())


def garch11(y, sigma1):
    mu = flat("mu")
    alpha0 = flat("alpha0", support=constraints.positive)
    alpha1 = flat("alpha1", support=constraints.unit_interval)
    beta1 = flat("beta1", support=constraints.interval(0, 1 - alpha1))

    def step(variance, shock):
        variance = alpha0 + alpha1 * shock + beta1 * variance
        return variance, variance

    first = sigma1**2
    _, later = lax.scan(step, first, (y[:-1] - mu) ** 2)
    variances = jnp.concatenate([first[None], later])
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(variances)), obs=y)


def hmm_example(y):
    rows = [numpyro.sample(f"theta{k}", dist.Dirichlet(jnp.ones(2))) for k in (1, 2)]
    mu = flat("mu", (2,), constraints.positive_ordered_vector)
    numpyro.factor("prior of mu", dist.Normal(jnp.array([3.0, 10.0]), 1).log_prob(mu).sum())
    moves = jnp.log(jnp.stack(rows))
    emissions = dist.Normal(mu, 1).log_prob(y[:, None])

    def step(forward, emission):
        return logsumexp(forward[:, None] + moves, axis=0) + emission, None

    forward, _ = lax.scan(step, emissions[0], emissions[1:])
    numpyro.factor("y", logsumexp(forward))


# ---- mixtures


def low_dim_gauss_mix(y):
    mu = flat("mu", (2,), constraints.ordered_vector)
    numpyro.factor("prior of mu", dist.Normal(0, 2).log_prob(mu).sum())
    sigma = numpyro.sample("sigma", dist.HalfNormal(2).expand([2]).to_event(1))
    theta = numpyro.sample("theta", dist.Beta(5, 5))
    weights = jnp.log(jnp.stack([theta, 1 - theta]))
    by_component = weights + dist.Normal(mu, sigma).log_prob(y[:, None])
    numpyro.factor("y", logsumexp(by_component, axis=1).sum())


# ---- processes


def quadratic_kernel(x):
    rho = numpyro.sample("rho", dist.Gamma(25, 4))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2))
    return alpha**2 * jnp.exp(-(((x[:, None] - x) / rho) ** 2) / 2)


def gp_regr(x, y):
    kernel = quadratic_kernel(x)
    sigma = numpyro.sample("sigma", dist.HalfNormal(1))  # a variance, despite its name
    covariance = kernel + sigma * jnp.eye(len(x))
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(len(x)), covariance), obs=y)


def gp_pois_regr(x, k):
    root = jnp.linalg.cholesky(quadratic_kernel(x) + 1e-10 * jnp.eye(len(x)))
    scores = numpyro.sample("scores", dist.Normal(0, 1).expand([len(x)]).to_event(1))
    f = numpyro.deterministic("f", root @ scores)
    numpyro.sample("k", dist.Poisson(jnp.exp(f)), obs=k)


# ---- differential equations


def runge_kutta(slope, start, times, n_steps):
    """Solve by the classical method, `n_steps` between neighbours of times `(time,)`: `(time - 1, ...)`."""

    def step(h, t, state):
        k1 = slope(t, state)
        k2 = slope(t + h / 2, state + h / 2 * k1)
        k3 = slope(t + h / 2, state + h / 2 * k2)
        k4 = slope(t + h, state + h * k3)
        return state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    h = jnp.repeat(jnp.diff(times) / n_steps, n_steps)
    begins = jnp.repeat(times[:-1], n_steps) + h * jnp.tile(jnp.arange(n_steps), len(times) - 1)

    def advance(state, at):
        state = step(*at, state)
        return state, state

    return lax.scan(advance, start, (h, begins))[1][n_steps - 1 :: n_steps]


def lotka_volterra(ts, y_init, y):
    theta = flat("theta", (4,), constraints.positive)
    centre, width = jnp.array([1, 0.05, 1, 0.05]), jnp.array([0.5, 0.05, 0.5, 0.05])
    numpyro.factor("prior of theta", dist.Normal(centre, width).log_prob(theta).sum())
    z_init = numpyro.sample("z_init", dist.LogNormal(jnp.log(10), 1).expand([2]).to_event(1))
    sigma = numpyro.sample("sigma", dist.LogNormal(-1, 1).expand([2]).to_event(1))

    def slope(t, state):
        """Of the logarithms of prey and predators, which are positive."""
        prey, predators = jnp.exp(state)
        return jnp.stack([theta[0] - theta[1] * predators, -theta[2] + theta[3] * prey])

    times = jnp.concatenate([jnp.zeros(1), ts])
    log_z = runge_kutta(slope, jnp.log(z_init), times, 4)
    numpyro.sample("y_init", dist.LogNormal(jnp.log(z_init), sigma), obs=y_init)
    numpyro.sample("y", dist.LogNormal(log_z, sigma), obs=y)


def one_comp_mm_elim_abs(D, V, times, C_hat):
    k_a, K_m, V_m, sigma = (
        numpyro.sample(name, dist.HalfCauchy(1)) for name in ("k_a", "K_m", "V_m", "sigma")
    )

    def slope(t, concentration):
        dose = jnp.exp(-k_a * t) * D * k_a / V
        return dose - V_m / V * concentration / (K_m + concentration)

    found = runge_kutta(slope, jnp.zeros_like(k_a), jnp.concatenate([jnp.zeros(1), times]), 4)
    numpyro.sample("C_hat", dist.LogNormal(jnp.log(found), sigma), obs=C_hat)
