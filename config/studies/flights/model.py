"""Late departures from New York: logistic regressions in hour and distance, without and with plane effects."""

import numpyro
import numpyro.distributions as dist


def model(hour, distance, late=None):
    """Scheduled hour of departure, distance in miles."""
    logits = _shared(hour, distance)
    with numpyro.plate("flight", hour.shape[0]):
        numpyro.sample("late", dist.Bernoulli(logits=logits), obs=late)


def by_plane(hour, distance, plane, n_plane, late=None):
    """The same, and an effect of each plane: non-centred, because most planes have few flights in a subset."""
    logits = _shared(hour, distance)
    sd = numpyro.sample("sd", dist.HalfNormal(0.5))
    with numpyro.plate("planes", n_plane):
        effect = numpyro.sample("effect", dist.Normal(0.0, 1.0))
    with numpyro.plate("flight", hour.shape[0]):
        numpyro.sample("late", dist.Bernoulli(logits=logits + sd * effect[plane]), obs=late)


def _shared(hour, distance):
    """Log odds by hour and distance, in about the standard deviations that these have over the year."""
    intercept = numpyro.sample("intercept", dist.Normal(-1.5, 1.0))
    per_hour = numpyro.sample("per_hour", dist.Normal(0.0, 1.0))
    per_distance = numpyro.sample("per_distance", dist.Normal(0.0, 1.0))
    return intercept + per_hour * (hour - 13) / 5 + per_distance * (distance - 1000) / 700
