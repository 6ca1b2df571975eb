"""Angle model of golf putts: a putt drops when it starts within the angle that the hole leaves.

One parameter, the standard deviation of the angle. A. Gelman and D. Nolan, "A probability model for
golf putting", Teaching Statistics 24 (2002).
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import log_ndtr

BALL_RADIUS = 1.68 / 2 / 12  # feet
HOLE_RADIUS = 4.25 / 2 / 12  # feet


def model(distance, holed=None):
    """Distance in feet, sigma in radians."""
    sigma = numpyro.sample("sigma", dist.HalfNormal(0.1))
    threshold = jnp.arcsin((HOLE_RADIUS - BALL_RADIUS) / distance)
    # In logs: a miss from one foot has probability 1e-8, which 1 - p loses in float32.
    log_miss = jnp.log(2.0) + log_ndtr(-threshold / sigma)
    logit_holed = jnp.log1p(-jnp.exp(log_miss)) - log_miss
    with numpyro.plate("putt", distance.shape[0]):
        numpyro.sample("holed", dist.Bernoulli(logits=logit_holed), obs=holed)
