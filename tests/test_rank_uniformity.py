"""Simulation-based calibration of the lane sampler: what data were made with ranks uniformly among draws.

Each fit holds several data sets that share nothing, so that its posterior is the product of theirs.
Talts et al., arXiv:1804.06788. The log likelihood is ranked, too: without it, a sampler that returns the
prior would pass (Modrák et al., doi:10.1214/23-BA1404).
"""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers
from scipy import stats

from scalecheck.diagnostics import array_stats
from scalecheck.model import density
from scalecheck.sampler import Settings, sample_lanes

pytestmark = pytest.mark.long

ALPHA = 1e-3  # of a false alarm, by model
N_FITS, N_SETS = (
    2,
    128,
)  # data sets of a fit; every further number of fits would be a program to compile
N_RANKS = 64  # among 63 draws
EVERY = 4
N_BINS = 16


def normal_sample(x, y=None):
    """A mean and a scale; `x` says only how many rows there are."""
    mu = numpyro.sample("mu", dist.Normal(0, 1).expand([N_SETS]))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1).expand([N_SETS]))
    rows = dist.Normal(mu[:, None], sigma[:, None]).expand([N_SETS, len(x)])
    numpyro.sample("y", rows, obs=y)


def logistic(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1).expand([N_SETS, x.shape[1]]))
    numpyro.sample("y", dist.Bernoulli(logits=b @ x.T), obs=y)


def groups(x, y=None):
    """Six means around a common one, non-centred; `x` is the number of the group."""
    mu = numpyro.sample("mu", dist.Normal(0, 1).expand([N_SETS]))
    tau = numpyro.sample("tau", dist.HalfNormal(1).expand([N_SETS]))
    u = numpyro.sample("u", dist.Normal(0, 1).expand([N_SETS, 6]))
    numpyro.sample("y", dist.Normal(mu[:, None] + tau[:, None] * u[:, x], 1), obs=y)


DESIGNS = {
    normal_sample: np.zeros(8, "float32"),
    logistic: np.random.default_rng(1).normal(size=(25, 3)).astype("float32"),
    groups: np.repeat(np.arange(6), 4),
}


def simulate(model, x, seed):
    """Draws of all sites, outcome included, from the prior: `(fit, data set, ...)`."""

    def one(key):
        trace = handlers.trace(handlers.seed(model, key)).get_trace(x)
        return {name: site["value"] for name, site in trace.items()}

    return jax.vmap(one)(jax.random.split(jax.random.PRNGKey(seed), N_FITS))


def quantities(model, z, x, y):
    """Log likelihood and every scalar of unconstrained sites, `(data set, quantity)`."""
    values = density.constrain(model, z, {"x": x, "y": y})
    parts = [values[name].reshape(N_SETS, -1) for name in sorted(z)]
    rows = density.row_log_likelihood(model, "y", z, {"x": x, "y": y})
    return jnp.concatenate([rows[:, None], *parts], axis=1)


@pytest.fixture(scope="module", params=DESIGNS, ids=lambda model: model.__name__)
def ranked(request):
    """Quantities of truths `(truth, quantity)` and of draws of each `(draw, truth, quantity)`."""
    model, x = request.param, jnp.asarray(DESIGNS[request.param])
    made, y = unconstrained(model, x, 1)
    found = sample_lanes(
        density.potential(model),
        {"x": jnp.stack([x] * N_FITS), "y": y},
        {name: values[:, None] for name, values in unconstrained(model, x, 2)[0].items()},
        Settings(200, 0.9, 8, ()),
        key=jax.random.split(jax.random.PRNGKey(3), N_FITS),
        draws=EVERY * (N_RANKS - 1),
    )
    draws = {name: np.stack([z[name][0] for z in found.z], axis=1) for name in made}
    of_fits = jax.vmap(lambda z, y: quantities(model, z, x, y))
    of_draws = jax.jit(jax.vmap(of_fits, (0, None)))
    joined = lambda values: np.asarray(values).reshape(*values.shape[:-3], N_FITS * N_SETS, -1)  # noqa: E731
    return joined(of_fits(made, y)), joined(of_draws(draws, y))


def unconstrained(model, x, seed):
    """Unconstrained sites and outcomes of data sets that are simulated."""

    def one(drawn):
        latent = {name: value for name, value in drawn.items() if name != "y"}
        return density.unconstrain(model, latent, {"x": x, "y": drawn["y"]})

    made = simulate(model, x, seed)
    return jax.vmap(one)(made), made["y"]


def test_draws_are_thinned_to_independence(ranked):
    _, draws = ranked
    by_quantity = np.moveaxis(draws, 0, -1)[:, :, None].astype(float)
    ess = array_stats.ess(by_quantity, method="bulk", chain_axis=2, draw_axis=3)
    assert (np.median(ess, axis=0) > N_RANKS).all()


def test_ranks_of_the_truth_are_uniform(ranked):
    truth, draws = ranked
    ranks = (draws[EVERY - 1 :: EVERY] < truth).sum(axis=0)
    assert ranks.max() < N_RANKS
    bound = ALPHA / 2 / ranks.shape[1]
    for own in ranks.T:
        counts = np.bincount(own * N_BINS // N_RANKS, minlength=N_BINS)
        assert stats.chisquare(counts).pvalue > bound
        # Over the whole range, which finds shifts that bins of their own do not show.
        spread = (own + np.random.default_rng(4).random(len(own))) / N_RANKS
        assert stats.kstest(spread, "uniform").pvalue > bound
