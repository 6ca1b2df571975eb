"""One-step estimates of levels against closed forms, on the scale of the model."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import special, stats

from scalecheck.checks import heterogeneity
from scalecheck.checks.moments import Moments
from scalecheck.checks.scores import unordered
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.one_step_estimates import one_step_estimates
from scalecheck.evaluation.row_scores import row_scores
from scalecheck.model.binding import Argument, Model

MARGIN = stats.norm.ppf(0.945)


@pytest.fixture(scope="module", autouse=True)
def double():
    """As `examine` asks."""
    with jax.enable_x64(True):
        yield


def likelihood_of(function, values):
    arguments = {name: Argument((name,), matrix=False) for name in values}
    bound = Model(function, "model.py", "y", arguments, {}, n_rows=False)
    return Likelihood(bound, dict.fromkeys(values), None, None, values)


def supports(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    rates = numpyro.sample("rates", dist.HalfNormal(1).expand([2]).to_event(1))
    p = numpyro.sample("p", dist.Beta(2, 2))
    numpyro.sample("within", dist.Uniform(0, rates[0]))
    reverse = dist.transforms.AffineTransform(2.0, -1.0, domain=dist.constraints.positive)
    numpyro.sample("low", dist.TransformedDistribution(dist.Exponential(1), reverse))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
    ordered = dist.TransformedDistribution(
        dist.Normal(0, 1).expand([2]).to_event(1), dist.transforms.OrderedTransform()
    )
    cuts = numpyro.sample("cuts", ordered)
    mean = mu + rates.sum() * x + p + share[0] + cuts[0]
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mean, 1), obs=y)


def test_each_element_is_on_the_scale_of_the_model_and_the_others_stay():
    likelihood = likelihood_of(supports, {"x": np.ones(2), "y": np.zeros(2)})
    at = {name: i for i, name in enumerate(likelihood.vector.names)}
    d = len(at)
    rng = np.random.default_rng(1)
    pooled, step = rng.normal(size=d), rng.normal(size=(100, d))  # two blocks
    sd = rng.uniform(0.1, 1, size=(100, d))
    found = one_step_estimates(likelihood, pooled, step, sd)
    largest = np.exp(pooled[at["rates[0]"]])  # of the pooled estimate, wherever rates[0] moves
    transforms = {
        "mu": lambda z: z,
        "rates[0]": np.exp,
        "rates[1]": np.exp,
        "p": special.expit,
        "within": lambda z: largest * special.expit(z),
    }
    for name, transform in transforms.items():
        i = at[name]
        for part, shift in zip(found, (0, -MARGIN, MARGIN), strict=True):
            exact = transform(pooled[i] + step[:, i] + shift * sd[:, i])
            np.testing.assert_allclose(part[:, i], exact, rtol=1e-10)
    i = at["low"]
    np.testing.assert_allclose(found.mean[:, i], 2 - np.exp(pooled[i] + step[:, i]), rtol=1e-9)
    assert (found.low[:, i] < found.mean[:, i]).all()
    assert (found.mean[:, i] < found.high[:, i]).all()
    together = [i for name, i in at.items() if name.startswith(("share", "cuts"))]
    assert len(together) == 4
    assert np.isnan(np.stack(found)[:, :, together]).all()


def test_an_interval_that_overflows_has_no_ends():
    likelihood = likelihood_of(supports, {"x": np.ones(2), "y": np.zeros(2)})
    d = len(likelihood.vector.names)
    found = one_step_estimates(likelihood, np.zeros(d), np.zeros((1, d)), np.full((1, d), 1e4))
    i = likelihood.vector.names.index("rates[0]")
    assert found.mean[0, i] == 1
    assert np.isnan([found.low[0, i], found.high[0, i]]).all()


def normal_mean(y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def exponential_rate(y=None):
    rate = numpyro.sample("rate", dist.Gamma(1, 1))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Exponential(rate), obs=y)


def success(y=None):
    p = numpyro.sample("p", dist.Beta(1, 1))
    with numpyro.plate("rows", y.shape[0]):
        numpyro.sample("y", dist.Bernoulli(p), obs=y)


CONJUGATE = {
    "real": (
        normal_mean,
        lambda rng, n, moved: moved + rng.standard_normal(n),
        lambda y: stats.norm(y.sum() / (len(y) + 0.01), (len(y) + 0.01) ** -0.5),
        lambda x: x,
    ),
    "positive": (
        exponential_rate,
        lambda rng, n, moved: rng.exponential(1 / (2 * np.exp(moved)), n),
        lambda y: stats.gamma(1 + len(y), scale=1 / (1 + y.sum())),
        np.log,
    ),
    "between 0 and 1": (
        success,
        lambda rng, n, moved: 1.0 * (rng.random(n) < special.expit(moved - 1)),
        lambda y: stats.beta(1 + y.sum(), 1 + len(y) - y.sum()),
        special.logit,
    ),
}


@pytest.mark.parametrize("scale", CONJUGATE)
def test_one_step_is_within_its_error_of_the_posterior_of_the_level(scale):
    function, simulate, posterior, unconstrain = CONJUGATE[scale]
    rng = np.random.default_rng(2)
    sizes, moved = (300, 200, 60, 60), (0.0, 0.1, 0.3, -0.3)
    level = np.repeat(np.arange(4), sizes)
    y = np.concatenate([simulate(rng, *one) for one in zip(sizes, moved, strict=True)])
    draws = unconstrain(posterior(y).rvs(4000, random_state=rng))
    likelihood = likelihood_of(function, {"y": y})
    along = unordered(("a", "b", "c", "d"), level)
    pooled = Moments(np.full((1, 1), draws.mean()), np.full((1, 1, 1), draws.var()), np.ones(1))
    none = Moments(np.full((4, 1), np.nan), np.full((4, 1, 1), np.nan), np.full(4, np.nan))
    (scores,) = row_scores(likelihood, {"y": y}, [along], pooled.mean[0])
    settings = {"weight": 1.0, "kind": "heterogeneous", "over_time": False, "rng": rng}
    _, table = heterogeneity.check_heterogeneity(
        "source", along, scores, pooled, none, names=("x",), fits=("increment-01",), **settings
    )
    step, sd = (table[name].to_numpy()[:, None] for name in ("one_step", "one_step_sd"))
    found = one_step_estimates(likelihood, pooled.mean[0], step, sd)
    for k in range(4):
        exact = posterior(y[level == k])
        own = exact.interval(0.89)
        assert abs(found.mean[k, 0] - exact.mean()) < exact.std()
        assert found.low[k, 0] < exact.mean() < found.high[k, 0]
        assert found.high[k, 0] - found.low[k, 0] == pytest.approx(own[1] - own[0], rel=0.3)
