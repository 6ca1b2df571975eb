"""Weldon's dice if they were fair: each shows a five or a six with probability 1/3, and nothing is left to fit."""

import numpyro
import numpyro.distributions as dist

DICE = 12


def model(n_rows, fives_or_sixes=None):
    """No covariates and no parameters."""
    with numpyro.plate("throw", n_rows):
        numpyro.sample("count", dist.Binomial(DICE, 1 / 3), obs=fives_or_sixes)
