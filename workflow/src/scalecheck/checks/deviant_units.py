"""Which units deviate from what the model predicts of a new unit: a description, not part of the verdict.

The replicates of a unit redraw its latent sites from their distribution given the shared parameters
(mixed predictive checks, Marshall & Spiegelhalter 2007, doi:10.1214/07-BA218): those of its own
posterior would follow it wherever it goes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import false_discovery_control

MOST_SHOWN = 200
DEVIANT = 0.05


def tabulate_deviant_units(
    labels: Sequence[str],
    rows: Int[np.ndarray, " unit"],
    observed: Float[np.ndarray, " unit"],
    replicates: Float[np.ndarray, "replicate unit"],
) -> pd.DataFrame:
    """Compare the mean outcome of each unit with its replicates.

    Parameters
    ----------
    labels
        Names of the units.
    rows
        `(unit,)` rows of each.
    observed
        `(unit,)` mean outcomes.
    replicates
        `(replicate, unit)` mean outcomes of replicates.

    Returns
    -------
    pandas.DataFrame
        One row per unit, the most deviant first, at most 200 or all that deviate: its mean, what is
        predicted and its 0.89 interval, the two-sided p-value, `q`, the false discovery rate at which
        it would be called deviant, and `units`, how many were compared.
    """
    p = two_sided_p(observed, replicates)
    low, high = np.quantile(replicates, [0.055, 0.945], axis=0)
    predicted = replicates.mean(axis=0)
    found = pd.DataFrame(
        {
            "unit": [str(label) for label in labels],
            "rows": rows,
            "observed": observed,
            "predicted": predicted,
            "low": low,
            "high": high,
            "p": p,
            "q": false_discovery_control(p),
            "units": len(p),
        }
    )
    # Ranks tie at their floor: among those, the furthest comes first.
    spread = replicates.std(axis=0)
    distance = np.abs(observed - predicted) / np.where(spread > 0, spread, np.inf)
    order = np.lexsort([-distance, p])
    n_shown = max(MOST_SHOWN, int((found["q"] < DEVIANT).sum()))
    return found.iloc[order[:n_shown]].reset_index(drop=True)


def two_sided_p(
    observed: Float[np.ndarray, " unit"], replicates: Float[np.ndarray, "replicate unit"]
) -> Float[np.ndarray, " unit"]:
    """Return two-sided p-values `(unit,)` of `(unit,)` among `(replicate, unit)`, ties of replicates counted half."""
    # What is equal in exact arithmetic is equal: both are sums of the same few numbers.
    slack = 1e-9 * np.maximum(np.abs(observed), replicates.std(axis=0))
    above = (replicates > observed + slack).sum(axis=0)
    below = (replicates < observed - slack).sum(axis=0)
    # The observed ties with itself.
    ties = len(replicates) - above - below + 1
    tail = (np.minimum(above, below) + (ties + 1) / 2) / (len(replicates) + 1)
    return np.minimum(1.0, 2 * tail)
