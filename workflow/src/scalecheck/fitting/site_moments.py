"""What is stored of sites that are not kept: moments, quantiles, and whether chains agree in them."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from scalecheck import diagnostics
from scalecheck.files.posterior_file import ATTRIBUTES, Group
from scalecheck.fitting.kept_sites import own_values
from scalecheck.fitting.sample_batch import Fitted
from scalecheck.model.sites import Site
from scalecheck.sampler import Reduced

# Of all chains together; low and high are the ends of the equal-tailed interval of probability 0.89.
STATISTICS = ("mean", "sd", "low", "median", "high", "rhat")


def moments_group(fitted: Fitted, number: int, warmup: int) -> Group:
    """Give the group of one fit that has draws: its reduced sites, with dims `(statistic, ...)`."""
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {"statistic": STATISTICS}
    for site, values, labels in _sites(fitted, number, warmup):
        coords |= labels
        variables[site.name] = (("statistic", *site.dims), values)
    return Group(variables, coords, ATTRIBUTES)


def convergence(fitted: Fitted, number: int, warmup: int) -> dict[str, Any] | None:
    """Say how well the chains of a fit that has draws agree in its reduced sites; None where none is.

    Parameters
    ----------
    warmup
        Iterations of it.

    Returns
    -------
    dict
        `rhat`, the highest by site, infinite where a scalar never moved and chains stand apart; `scalars`
        that have one, and how many are `above` the highest that a kept site may have. Empty of sites that
        are constant, and of a single chain.
    """
    if fitted.draws.reduced is None:
        return None
    highest: dict[str, float] = {}
    n_scalars = n_above = 0
    for site, values, _ in _sites(fitted, number, warmup):
        rhat = values[STATISTICS.index("rhat")]
        rhat = rhat[~np.isnan(rhat)]
        if rhat.size:
            highest[site.name] = float(rhat.max())
        n_scalars += rhat.size
        n_above += int((rhat > diagnostics.HIGHEST_RHAT).sum())
    return {"rhat": highest, "scalars": n_scalars, "above": n_above}


def _sites(
    fitted: Fitted, number: int, warmup: int
) -> Iterator[tuple[Site, np.ndarray, dict[str, Any]]]:
    """Reduced sites: values `(statistic, ...)` without what pads the batch, and labels of their dims."""
    found = (fitted.draws.reduced or [])[number]
    n = fitted.draws.iterations[number].n_steps.shape[1] - warmup
    for site in fitted.batch.sites:
        if site.name in found.mean:
            values = _statistics(found, site.name, n)
            yield site, *own_values(fitted.batch, number, site, values, 1)


def _statistics(found: Reduced, name: str, n: int) -> np.ndarray:
    """`(statistic, ...)` of a site of which every chain has n draws."""
    mean, variance = found.mean[name], found.variance[name]
    sd = np.sqrt(variance.mean(axis=0) + mean.var(axis=0))
    rhat = diagnostics.rhat_of_moments(mean, variance, n)
    return np.stack([mean.mean(axis=0), sd, *found.quantiles[name], rhat]).astype(mean.dtype)
