"""The shared posterior as the tree that ArviZ takes."""

import functools
from typing import Any

import numpy as np
from arviz_base import from_dict
from cases import Case


@functools.lru_cache(maxsize=1)
def tree_of(case: Case) -> Any:
    """Give posterior, predictive draws, log likelihood, log prior and outcome; None without a posterior."""
    posterior = case.posterior
    if posterior is None:
        return None
    shape = next(iter(posterior.sites.values())).shape[:2]
    draws = {n: x.reshape(-1, *x.shape[2:]) for n, x in posterior.sites.items()}

    def by_chain(values: np.ndarray) -> np.ndarray:
        return values.reshape(*shape, *values.shape[1:])

    replicates = case.replicate(draws, case.table, "arviz")
    return from_dict(
        {
            "posterior": {name: posterior.sites[name] for name in case.compared},
            "posterior_predictive": {"y": by_chain(replicates["y"])},
            "log_likelihood": {"y": by_chain(case.log_likelihood(draws, case.table))},
            "log_prior": {"prior": by_chain(case.log_prior(draws))},
            "observed_data": {"y": case.table["y"]},
        }
    )
