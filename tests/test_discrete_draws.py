"""Discrete outcomes that NumPy draws have the distribution that NumPyro gives them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

from scalecheck.evaluation import discrete_draws

SHAPE = (3, 4000)

# Each of three rows has its own distribution.
P = jnp.array([[0.05], [0.4], [0.9]])
LOGITS = jnp.log(P / (1 - P))
RATE = jnp.array([[0.3], [4.0], [30.0]])
SIMPLEX = jnp.array([[[0.1, 0.2, 0.7]], [[0.5, 0.0, 0.5]], [[0.25, 0.5, 0.25]]])

KNOWN = {
    "bernoulli": dist.Bernoulli(P),
    "bernoulli of logits": dist.Bernoulli(logits=LOGITS),
    "binomial": dist.Binomial(12, P),
    "binomial of logits": dist.Binomial(jnp.array([[1], [7], [200]]), logits=LOGITS),
    "beta-binomial": dist.BetaBinomial(10 * P, 3.0, 12),
    "poisson": dist.Poisson(RATE),
    "gamma-poisson": dist.GammaPoisson(2.0, 1 / RATE),
    "negative binomial of a mean": dist.NegativeBinomial2(RATE, 1.5),
    "negative binomial": dist.NegativeBinomialProbs(3.0, P),
    "negative binomial of logits": dist.NegativeBinomialLogits(0.7, LOGITS),
    "geometric": dist.Geometric(P),
    "geometric of logits": dist.Geometric(logits=LOGITS),
    "categorical": dist.Categorical(SIMPLEX),
    "categorical of logits": dist.Categorical(logits=jnp.log(SIMPLEX + 0.05) + 3),
    "ordered": dist.OrderedLogistic(LOGITS, jnp.array([-1.0, 0.0, 2.0])),
    "zero-inflated poisson": dist.ZeroInflatedPoisson(0.3, RATE),
    "zero-inflated negative binomial": dist.ZeroInflatedNegativeBinomial2(RATE, 2.0, gate=P),
    "zero-inflated of logits": dist.ZeroInflatedDistribution(
        dist.Poisson(RATE), gate_logits=LOGITS
    ),
    "masked": dist.Binomial(12, P).mask(jnp.array([[True], [False], [True]])),
    "of an event": dist.Poisson(RATE).to_event(1),
}


def drawn(fn, block=0, key=(7, 1)):
    family = discrete_draws.family_of(fn)
    assert family is not None
    parameters = jax.tree.map(np.asarray, discrete_draws.parameters_of(family, fn))
    return discrete_draws.draw_outcome(family, parameters, np.array(key, "uint32"), block, SHAPE)


@pytest.mark.parametrize("name", KNOWN)
def test_counts_have_the_probabilities_of_numpyro(name):
    """Chi-square over values, those expected fewer than ten times put together."""
    fn = KNOWN[name]
    found = drawn(fn.expand(SHAPE) if name != "of an event" else fn)
    plain = fn.base_dist if name in ("masked", "of an event") else fn
    values = np.arange(int(found.max()) + 50)
    log_prob = jax.jit(lambda value: plain.log_prob(value))
    for row in range(len(found)):
        probability = np.exp(np.array([float(log_prob(value)[row, 0]) for value in values]))
        n_drawn = found.shape[1]
        expected = n_drawn * np.append(probability, max(0.0, 1 - probability.sum()))
        observed = np.bincount(found[row].astype(int), minlength=len(expected)).astype(float)
        assert observed[expected == 0].sum() == 0
        few = expected < 10
        expected = np.append(expected[~few], expected[few].sum())
        observed = np.append(observed[~few], observed[few].sum())
        kept = expected > 0
        chi2 = ((observed - expected)[kept] ** 2 / expected[kept]).sum()
        assert stats.chi2.sf(chi2, max(1, kept.sum() - 1)) > 1e-4


def test_a_draw_is_of_its_key_and_block_alone():
    fn = KNOWN["poisson"]
    np.testing.assert_array_equal(drawn(fn), drawn(fn))
    others = [drawn(fn, block=1), drawn(fn, key=(7, 2)), drawn(fn, key=(8, 1))]
    for other in others:
        assert abs(np.corrcoef(drawn(fn)[1], other[1])[0, 1]) < 0.08


@pytest.mark.parametrize(
    "fn",
    [
        dist.Normal(0, 1),
        dist.DiscreteUniform(0, 3),
        dist.ZeroInflatedDistribution(dist.DiscreteUniform(0, 3), gate=0.2),
        type("Other", (dist.Poisson,), {"sample": lambda self, key, sample_shape=(): 0})(1.0),
    ],
    ids=["continuous", "another", "zero-inflated of another", "a class derived"],
)
def test_what_numpy_does_not_draw_is_left_to_numpyro(fn):
    assert discrete_draws.family_of(fn) is None


UNKNOWN = {
    "bernoulli": lambda x: dist.Bernoulli(jnp.array([x, 0.5])),
    "binomial": lambda x: dist.Binomial(3, jnp.array([x, 1.0000001])),
    "beta-binomial": lambda x: dist.BetaBinomial(jnp.array([x, 1.0]), 2.0, 5),
    "poisson": lambda x: dist.Poisson(jnp.array([x, 1e30])),
    "negative binomial": lambda x: dist.NegativeBinomial2(jnp.array([x, 0.0]), 2.0),
    "geometric": lambda x: dist.Geometric(jnp.array([x, 1.0])),
    "categorical": lambda x: dist.Categorical(jnp.array([[x, 0.5], [0.5, 0.5]])),
    "zero-inflated": lambda x: dist.ZeroInflatedPoisson(jnp.array([x, 0.5]), 2.0),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_outcome_is_no_number_where_a_parameter_is_none(name):
    """As far out as a posterior may go, nothing is raised."""
    with numpyro.validation_enabled(False):
        fn = UNKNOWN[name](jnp.nan)
        family = discrete_draws.family_of(fn)
        assert family is not None
        parameters = jax.tree.map(np.asarray, discrete_draws.parameters_of(family, fn))
    key = np.array([0, 1], "uint32")
    found = discrete_draws.draw_outcome(family, parameters, key, 0, (2,))
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
