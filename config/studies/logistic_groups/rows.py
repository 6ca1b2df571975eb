"""Write the table of the study logistic_groups: a hierarchical logistic regression, simulated as "Poverty Bayes" does.

After Krapu (2026), to the bit: NumPy's `default_rng(827)` in the order of his calls. A million rows in 100,000 groups
with 20 covariates. Run by the workflow (data.made_by), or by hand, with other numbers of rows and groups if need be:

    python config/studies/logistic_groups/rows.py rows.parquet
    python config/studies/logistic_groups/rows.py few.parquet 1000 100
"""

import sys
from typing import NamedTuple

import numpy as np
import pandas as pd

N_ROWS, N_GROUPS, N_COVARIATES, SEED = 1_000_000, 100_000, 20, 827
ALPHA = -1.0
# In single precision: with Python's .8 some intercepts differ in the last bit.
SIGMA_ALPHA = np.float32(0.8)


class Simulated(NamedTuple):
    """A table, and what it was drawn from.

    Attributes
    ----------
    rows
        Columns `group`, `x0`, `x1`, ... and `y`.
    truth
        Columns `parameter` and `value`: of the parameters that all groups share.
    """

    rows: pd.DataFrame
    truth: pd.DataFrame


def simulate(n_rows: int = N_ROWS, n_groups: int = N_GROUPS, k: int = N_COVARIATES) -> Simulated:
    """Draw covariates, parameters and outcomes; the order of the calls decides every number."""
    rng = np.random.default_rng(SEED)
    group = rng.integers(0, n_groups, n_rows)
    x = rng.standard_normal((n_rows, k)).astype("float32")
    beta = rng.normal(0, 0.45, k).astype("float32")
    sigma_gamma = rng.uniform(0.15, 0.35, k).astype("float32")
    alpha_group = rng.normal(0, SIGMA_ALPHA, n_groups).astype("float32")
    gamma = rng.normal(0, sigma_gamma, (n_groups, k)).astype("float32")
    eta = ALPHA + alpha_group[group] + (x * (beta + gamma[group])).sum(axis=1)
    y = rng.binomial(1, 1 / (1 + np.exp(-eta)))
    rows = pd.DataFrame({"group": group.astype("int32")} | {f"x{i}": x[:, i] for i in range(k)})
    rows["y"] = y.astype("int8")
    truth = {"alpha": ALPHA} | {f"beta[{i}]": value for i, value in enumerate(beta)}
    truth |= {"sigma_alpha": SIGMA_ALPHA}
    truth |= {f"sigma_gamma[{i}]": value for i, value in enumerate(sigma_gamma)}
    # As text: the shortest that gives the same number in single precision.
    values = [f"{value}" for value in truth.values()]
    return Simulated(rows, pd.DataFrame({"parameter": list(truth), "value": values}))


if __name__ == "__main__":
    simulate(*map(int, sys.argv[2:])).rows.to_parquet(sys.argv[1], index=False)
