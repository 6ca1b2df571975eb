"""Weldon's dice: each throw of twelve dice shows a binomial number of fives or sixes.

One parameter, the chance that a die shows five or six: 1/3 for fair dice, and left free because these need not be fair.
"""

import numpyro
import numpyro.distributions as dist

DICE = 12


def model(n_rows, fives_or_sixes=None):
    """No covariates: `n_rows` alone says how many throws there are."""
    chance = numpyro.sample("chance", dist.Beta(1.0, 1.0))
    with numpyro.plate("throw", n_rows):
        numpyro.sample("count", dist.Binomial(DICE, chance), obs=fives_or_sixes)
