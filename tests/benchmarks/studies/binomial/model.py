"""Each family of twelve children has a binomial number of boys."""

import numpyro
import numpyro.distributions as dist

CHILDREN = 12


def model(n_rows, boys=None):
    """One parameter, the chance of a boy."""
    chance = numpyro.sample("chance", dist.Beta(1.0, 1.0))
    with numpyro.plate("family", n_rows):
        numpyro.sample("count", dist.Binomial(CHILDREN, chance), obs=boys)
