"""Tables of the simulated studies below studies/, by their name."""

import numpy as np
import pandas as pd


def binomial(n_rows: int = 6115, dispersion: float = 1.165) -> pd.DataFrame:
    """Boys among twelve children, of families with chances of their own.

    Parameters
    ----------
    dispersion
        Variance over that of a binomial number: 1 + 11 / (a + b + 1) with chances from Beta(a, b).
    """
    rng = np.random.default_rng(12)
    total = 11 / (dispersion - 1) - 1
    chance = rng.beta(0.519 * total, 0.481 * total, n_rows)
    return pd.DataFrame({"boys": rng.binomial(12, chance)})


def poisson(n_rows: int = 14_000) -> pd.DataFrame:
    """Visits by age, in five regions and twelve months that make no difference."""
    rng = np.random.default_rng(14)
    age = rng.normal(0, 1.5, n_rows).round(2)
    return pd.DataFrame(
        {
            "visits": rng.poisson(np.exp(0.8 + 0.25 * age)),
            "age": age,
            "region": rng.choice(["north", "east", "south", "west", "centre"], n_rows),
            "month": rng.integers(1, 13, n_rows),
        }
    )


TABLES = {"binomial": binomial, "poisson": poisson}
