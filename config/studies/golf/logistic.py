"""The contrast: a logistic regression in distance, which fails earlier than the angle model."""

import numpyro
import numpyro.distributions as dist


def model(distance, holed=None):
    """Distance in feet, centred at ten feet."""
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 2.5))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    with numpyro.plate("putt", distance.shape[0]):
        numpyro.sample(
            "holed", dist.Bernoulli(logits=intercept + slope * (distance - 10.0)), obs=holed
        )
