"""True values of censored rows against their exact distributions, and what a model says of its rows."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats

from scalecheck.model import outcome

N = 20_000


@pytest.fixture(scope="module", autouse=True)
def double():
    """As `examine` asks."""
    with jax.enable_x64(True):
        yield


def right(base, low):
    return dist.RightCensoredDistribution(base, jnp.ones(N)), jnp.full(N, low), low, np.inf


def left(base, high):
    return dist.LeftCensoredDistribution(base, jnp.ones(N)), jnp.full(N, high), -np.inf, high


def interval(base, low, high, to_left=False, to_right=False):
    fn = dist.IntervalCensoredDistribution(base, jnp.full(N, to_left), jnp.full(N, to_right))
    bounds = -np.inf if to_left else low, np.inf if to_right else high
    return fn, jnp.tile(jnp.array([low, high]), (N, 1)), *bounds


WEIBULL = dist.Weibull(2.0, 1.4), stats.weibull_min(1.4, scale=2)
GAMMA = dist.Gamma(2.0, 3.0), stats.gamma(2, scale=1 / 3)  # no logarithm, no location
LOGNORMAL = dist.LogNormal(0.5, 1.0), stats.lognorm(1, scale=np.exp(0.5))
NORMAL = dist.Normal(0.5, 1.0), stats.norm(0.5, 1)


@pytest.mark.parametrize(
    ("seen", "exact"),
    [
        (right(WEIBULL[0], 3.0), WEIBULL[1]),
        (left(WEIBULL[0], 3.0), WEIBULL[1]),
        (right(GAMMA[0], 2.5), GAMMA[1]),
        (left(GAMMA[0], 0.1), GAMMA[1]),
        (right(LOGNORMAL[0], 3.0), LOGNORMAL[1]),
        (left(NORMAL[0], -0.3), NORMAL[1]),
        (right(NORMAL[0], 6.5), NORMAL[1]),  # of which 1e-9 is beyond
        (interval(NORMAL[0], 0.2, 0.4), NORMAL[1]),
        (interval(NORMAL[0], -5.0, 0.4, to_left=True), NORMAL[1]),
        (interval(NORMAL[0], 0.2, np.inf, to_right=True), NORMAL[1]),
    ],
)
def test_a_censored_value_is_drawn_from_its_distribution_within_its_bounds(seen, exact):
    fn, value, low, high = seen
    drawn = np.asarray(outcome.complete(fn, value, jax.random.key(1)))
    assert ((drawn >= low) & (drawn <= high)).all()
    # From above where that is the tail, in which the probabilities below are all rounded to 1.
    if high == np.inf:
        shares = exact.sf(drawn) / exact.sf(low)
    else:
        below = exact.cdf([low, high])
        shares = (exact.cdf(drawn) - below[0]) / np.diff(below)
    assert stats.kstest(shares, "uniform").pvalue > 1e-3


def test_a_value_that_is_known_to_lie_outside_bounds_is_drawn_on_both_sides():
    fn, value, *_ = interval(NORMAL[0], 0.0, 2.0, to_left=True, to_right=True)
    drawn = np.asarray(outcome.complete(fn, value, jax.random.key(2)))
    below, above = NORMAL[1].cdf(0), NORMAL[1].sf(2)
    assert ((drawn < 0) | (drawn > 2)).all()
    share = below / (below + above)
    assert (drawn < 0).mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / N))


@pytest.mark.parametrize(("seen", "chosen"), [(right, slice(4, 12)), (left, slice(0, 4))])
def test_a_censored_count_is_drawn_as_its_likelihood_says(seen, chosen):
    """`RightCensoredDistribution` gives what is above the bound, `LeftCensoredDistribution` what is not above."""
    fn, value, *_ = seen(dist.Poisson(3.0), 3.0)
    drawn = np.asarray(outcome.complete(fn, value, jax.random.key(3)))
    expected = stats.poisson(3).pmf(np.arange(20))[chosen]
    found = np.bincount(drawn.astype(int), minlength=20)[chosen]
    assert stats.chisquare(found, found.sum() * expected / expected.sum()).pvalue > 1e-3
    assert found.sum() > 0.999 * N
    assert (drawn == np.round(drawn)).all()


def test_values_that_are_observed_stay_and_so_does_one_too_far_out():
    normal = dist.Normal(jnp.zeros(4), 1)
    fn = dist.RightCensoredDistribution(normal, jnp.array([0, 1, 1, 0]))
    value = jnp.array([0.3, 0.3, 50.0, 50.0])
    drawn = np.asarray(outcome.complete(fn, value, jax.random.key(4)))
    assert drawn[[0, 2, 3]].tolist() == [0.3, 50.0, 50.0]
    assert drawn[1] > 0.3
    assert outcome.censored_rows(fn, value).tolist() == [False, True, True, False]


def test_an_interval_of_no_width_is_observed():
    never = jnp.zeros(2)
    fn = dist.IntervalCensoredDistribution(dist.Normal(0, 1), never, never)
    value = jnp.array([[0.2, 0.2], [0.2, 0.9]])
    assert outcome.censored_rows(fn, value).tolist() == [False, True]
    drawn = outcome.complete(fn, value, jax.random.key(5))
    assert drawn[0] == 0.2
    assert 0.2 < drawn[1] < 0.9


MASK = jnp.array([True, False, True])


@pytest.mark.parametrize(
    ("fn", "mask"),
    [
        (dist.Normal(jnp.zeros(3), 1), [True] * 3),
        (dist.Normal(jnp.zeros(3), 1).mask(MASK), [True, False, True]),
        (dist.Normal(0, 1).mask(MASK), [True, False, True]),
        (dist.Normal(0, 1).expand([3]).mask(False), [False] * 3),
        (dist.Normal(0, 1).mask(False), [False] * 3),
        (dist.Normal(0, 1).mask(MASK).mask(jnp.array([False, True, True])), [False, False, True]),
        (dist.RightCensoredDistribution(dist.Normal(0, 1), MASK).mask(MASK), [True, False, True]),
        (dist.Normal(jnp.zeros((3, 2)), 1).mask(MASK[:, None]).to_event(1), [True, False, True]),
        (
            dist.Normal(jnp.zeros((3, 2)), 1).mask(jnp.array([[1, 0], [0, 0], [1, 1]])),
            [True, False, True],
        ),
    ],
)
def test_rows_that_every_mask_leaves_take_part(fn, mask):
    assert outcome.taking_part(fn, 3).tolist() == mask


def test_the_distribution_of_the_true_value_is_wrapped_as_the_censored_one_is():
    base = dist.Weibull(2.0, 1.4)
    fn = dist.RightCensoredDistribution(base, jnp.ones(3)).mask(MASK)
    value = jnp.array([0.5, 1.0, 2.0])
    found = outcome.uncensored(fn).log_prob(value)
    np.testing.assert_allclose(found, jnp.where(MASK, base.log_prob(value), 0))
    assert outcome.uncensored(base) is base
    wide = dist.LeftCensoredDistribution(base, jnp.ones(3)).expand([2, 3]).to_event(1)
    assert outcome.uncensored(wide).log_prob(jnp.ones((2, 3))).shape == (2,)


ARRAYS = {"x": np.ones(3), "lost": np.zeros(3), "y": np.ones(3)}


def normal(x, lost, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(b * x, 1), obs=y)


def masked_and_censored(x, lost, y=None):
    life = dist.Exponential(numpyro.sample("b", dist.HalfNormal(1)) * x)
    fn = dist.RightCensoredDistribution(life, lost > 0.5)
    numpyro.sample("y", fn.mask(jnp.where(x > 0, True, lost < 3)), obs=y)


def masked_by_the_outcome(x, lost, y=None):
    known = True if y is None else y != -999
    numpyro.sample("y", dist.Normal(x, 1).mask(known), obs=y)


def masked_by_a_parameter(x, lost, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(b * x, 1).mask(x > b), obs=y)


def intervals(x, lost, y=None):
    never = jnp.zeros(x.shape[0])
    both = None if y is None else jnp.stack([y, y + x], axis=-1)
    numpyro.sample(
        "y", dist.IntervalCensoredDistribution(dist.Normal(0, 1), never, never), obs=both
    )


def mixture(x, lost, y=None):
    parts = [dist.RightCensoredDistribution(dist.Exponential(1.0), lost), dist.Exponential(x)]
    numpyro.sample("y", dist.MixtureGeneral(dist.Categorical(jnp.ones((3, 2)) / 2), parts), obs=y)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (normal, (False, False, False, "", set(), set(), False)),
        (masked_and_censored, (False, True, True, "", {"x", "lost"}, {"lost"}, False)),
        (masked_by_the_outcome, (False, True, False, "", {"y"}, set(), False)),
        (masked_by_a_parameter, (False, True, False, "", {"x"}, set(), True)),
        (intervals, (False, False, True, "", set(), {"x", "y"}, False)),
        (mixture, (False, False, False, "MixtureGeneral", set(), {"lost"}, False)),
    ],
)
def test_a_trace_tells_what_masks_and_censors(function, expected):
    assert outcome.describe_outcome(function, "y", ARRAYS) == expected


# ---- masks

SEEN = jnp.array([True, False, True, True])
BY_ENTRY = jnp.array([[True, True], [False, False], [True, False], [False, True]])


@pytest.mark.parametrize(
    "fn",
    [
        dist.Normal(0.0, 1.0).mask(SEEN),
        dist.Normal(jnp.zeros(4), 1.0).mask(SEEN),
        dist.Normal(jnp.zeros((4, 2)), 1.0).to_event(1).mask(SEEN),
        dist.Normal(jnp.zeros((4, 2)), 1.0).mask(SEEN[:, None]),
        dist.Normal(jnp.zeros((4, 1)), 1.0).mask(SEEN[:, None]).expand([4, 3]).to_event(1),
        dist.Normal(jnp.zeros((4, 2)), 1.0).mask(BY_ENTRY),
        dist.Normal(jnp.zeros((4, 2)), 1.0).mask(BY_ENTRY).to_event(1),
        dist.Normal(jnp.zeros((4, 2)), 1.0).mask(BY_ENTRY).to_event(1).mask(True),
        dist.MultivariateNormal(jnp.zeros((4, 2)), jnp.eye(2)).mask(SEEN),
        dist.Normal(jnp.zeros(4), 1.0).mask(SEEN).mask(jnp.array([True, True, True, True])),
    ],
)
def test_a_row_is_masked_where_all_of_its_entries_are(fn):
    np.testing.assert_array_equal(outcome.row_mask_of(fn, 4), SEEN)


@pytest.mark.parametrize(
    "fn",
    [dist.Normal(jnp.zeros(4), 1.0), dist.Normal(jnp.zeros((4, 2)), 1.0).mask(True).to_event(1)],
)
def test_a_distribution_without_a_mask_has_none(fn):
    assert outcome.row_mask_of(fn, 4) is None


@pytest.mark.parametrize("mask", [False, jnp.array(False)])
def test_a_mask_of_everything_is_one_of_every_row(mask):
    for fn in (dist.Normal(0.0, 1.0).mask(mask), dist.Normal(jnp.zeros(4), 1.0).mask(mask)):
        np.testing.assert_array_equal(outcome.row_mask_of(fn, 4), np.zeros(4, bool))
