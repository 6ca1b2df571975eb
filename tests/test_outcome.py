"""What the distribution of an outcome says of its rows."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from scalecheck.model.outcome import row_mask_of

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
    np.testing.assert_array_equal(row_mask_of(fn, 4), SEEN)


@pytest.mark.parametrize(
    "fn",
    [dist.Normal(jnp.zeros(4), 1.0), dist.Normal(jnp.zeros((4, 2)), 1.0).mask(True).to_event(1)],
)
def test_a_distribution_without_a_mask_has_none(fn):
    assert row_mask_of(fn, 4) is None


@pytest.mark.parametrize("mask", [False, jnp.array(False)])
def test_a_mask_of_everything_is_one_of_every_row(mask):
    for fn in (dist.Normal(0.0, 1.0).mask(mask), dist.Normal(jnp.zeros(4), 1.0).mask(mask)):
        np.testing.assert_array_equal(row_mask_of(fn, 4), np.zeros(4, bool))
