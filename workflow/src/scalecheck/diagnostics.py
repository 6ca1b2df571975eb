"""The health of a fit: R-hat, ESS, MCSE, E-BFMI, from ArviZ; and whether its posterior can be used."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from arviz_stats.base import array
from jaxtyping import Float, Real

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


# ArviZ leaves names of packages that are loaded when they are asked for an attribute. Who asks for "jax" as matplotlib
# does loads it for nothing, and who imports from "numpyro.distributions" first has that twice, with other classes.
for _package in ("jax", "numpyro"):
    if not any(name.startswith(f"{_package}.") for name in sys.modules):
        sys.modules.pop(_package, None)

# ArviZ's types allow every statistic to be a tuple.
array_stats: Any = array.array_stats

HIGHEST_RHAT = 1.01  # Vehtari et al., doi:10.1214/20-BA1221
# Above it smoothed weights are not reliable: 1 - 1 / log10 of the number of ratios, here 400 (arXiv:1507.02646).
HIGHEST_KHAT = 0.62
# A fit whose posterior is not usable yet goes on, to so many times `sampler.draws`: over the fits of a
# study, R-hat would pass 1.01 by chance in one or another.
MOST_TIMES = 4
# Beyond this R-hat a fit does not go on. R-hat^2 - 1 is about one over the effective draws of half a chain:
# of a fit that is usable at four times its draws, 50 there (an R-hat of 1.01), hence 12 before (1.04). That
# chance makes these look like 2 (1.2) has a probability of 3e-6 for a parameter of four chains. What is
# beyond would need 20 times its draws, if more draws mended it at all.
FAR_RHAT = 1.2
INTERVAL = 0.89  # probability of the equal-tailed intervals that are shown

ESTIMATES = ["parameter", "mean", "mcse", "sd", "low", "high", "ess_bulk", "ess_tail", "rhat"]


class Health(NamedTuple):
    """The worst of a fit's compared parameters.

    Attributes
    ----------
    rhat
        Highest rank-normalised split R-hat; infinite where a parameter never moved.
    ess
        Lowest bulk ESS.
    e_bfmi
        Lowest energy Bayesian fraction of missing information over chains (arXiv:1604.00695).
    reason
        Why the posterior cannot be used, and what to change; empty when it can.
    worst
        The parameter that `reason` is about: that with the highest R-hat or the lowest ESS.
    cause, advice
        What is the matter, as `convergence.CAUSES` names it, and the sentence of `reason` on it.
    """

    rhat: float
    ess: float
    e_bfmi: float
    reason: str
    worst: str = ""
    cause: str = ""
    advice: str = ""

    @property
    def usable(self) -> bool:
        """Whether checks may rest on this fit."""
        return not self.reason


def lowest_ess(n_parameters: int) -> int:
    """Effective draws that the checks need: each carries a Monte Carlo error, which this keeps small."""
    return max(400, 10 * n_parameters)


def assess(
    z: Float[np.ndarray, "chain draw d"],
    energy: Float[np.ndarray, "chain draw"],
    names: Sequence[str],
) -> Health:
    """Judge a fit by its compared parameters: `reason` gives the numbers, `convergence.explain` what they mean.

    Parameters
    ----------
    z
        `(chain, draw, d)` unconstrained.
    energy
        `(chain, draw)`.
    names
        `(d,)`; without any there is nothing to sample, and every fit can be used.
    """
    if not names:
        return Health(np.nan, np.nan, np.nan, "")
    rhat, ess = rhat_and_ess(z)
    e_bfmi = np.asarray(array_stats.bfmi(energy.astype("float64"), chain_axis=0, draw_axis=1))
    highest, fewest = int(np.argmax(rhat)), int(np.argmin(ess))
    found = Health(float(rhat[highest]), float(ess[fewest]), float(e_bfmi.min()), "")
    if rhat[highest] > HIGHEST_RHAT:
        words = f"R-hat of {names[highest]} is {write_rhat(found.rhat)} (over {HIGHEST_RHAT})"
        return found._replace(reason=words, worst=names[highest])
    needed = lowest_ess(len(names))
    if ess[fewest] < needed:
        words = f"ESS of {names[fewest]} is {found.ess:.0f} (under {needed})"
        return found._replace(reason=words, worst=names[fewest])
    return found


def write_rhat(rhat: float) -> str:
    """Write an R-hat with as many digits as matter: near 1 the third decimal decides."""
    if np.isinf(rhat):
        return "infinite"
    return f"{rhat:.3f}" if rhat < FAR_RHAT else f"{rhat:.3g}"


def usable(z: Float[np.ndarray, "chain draw d"]) -> bool:
    """Whether draws `(chain, draw, d)` suffice for the checks."""
    rhat, ess = rhat_and_ess(z)
    return bool((rhat <= HIGHEST_RHAT).all() and (ess >= lowest_ess(z.shape[-1])).all())


def gains_by_draws(z: Float[np.ndarray, "chain draw d"]) -> bool:
    """Whether a fit of these draws `(chain, draw, d)` is to go on: it is not usable, and not beyond `FAR_RHAT`."""
    rhat, ess = rhat_and_ess(z)
    suffices = (rhat <= HIGHEST_RHAT).all() and (ess >= lowest_ess(z.shape[-1])).all()
    return not suffices and bool((rhat <= FAR_RHAT).all())


def rhat_and_ess(
    z: Float[np.ndarray, "chain draw d"],
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Both `(d,)`, of draws `(chain, draw, d)`; what never moved has an infinite R-hat and no effective draw."""
    by_parameter = np.moveaxis(z, -1, 0).astype("float64")
    with np.errstate(invalid="ignore", divide="ignore"):
        rhat = array_stats.rhat(by_parameter, chain_axis=1, draw_axis=2)
        ess = array_stats.ess(by_parameter, chain_axis=1, draw_axis=2, method="bulk")
    return np.nan_to_num(np.asarray(rhat), nan=np.inf), np.nan_to_num(np.asarray(ess))


def mcse_of_sd(z: Float[np.ndarray, "chain draw d"]) -> Float[np.ndarray, " d"]:
    """Monte Carlo error `(d,)` of the standard deviations of draws `(chain, draw, d)`.

    That of means does not tell it: the squares of antithetic draws follow each other.
    """
    by_parameter = np.moveaxis(z, -1, 0).astype("float64")
    return np.asarray(array_stats.mcse(by_parameter, chain_axis=1, draw_axis=2, method="sd"))


def rhat_of_moments(
    mean: Float[np.ndarray, " chain *scalar"], variance: Float[np.ndarray, " chain *scalar"], n: int
) -> Float[np.ndarray, "*scalar"]:
    """R-hat of scalars of which no draws are held, `(...)`, by the moments of the chains alone.

    The classic one (Gelman & Rubin 1992, doi:10.1214/ss/1177011136): it sees chains that disagree in their
    means, not one that drifts. Infinite where chains never moved and stand apart; NaN where all are one
    constant, and of a single chain.

    Parameters
    ----------
    mean, variance
        `(chain, ...)` of n draws each; the variance divided by n - 1.
    """
    if len(mean) < 2:
        return np.full(mean.shape[1:], np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = mean.astype("float64").var(axis=0, ddof=1) / variance.mean(axis=0)
    return np.asarray(np.sqrt(ratio + (n - 1) / n))


def estimates(posterior: "xr.Dataset", sites: Sequence[str]) -> "pd.DataFrame":
    """Summarise the scalars of some sites, on the scale of the model.

    Returns
    -------
    DataFrame
        One row per scalar: parameter, mean, mcse, sd, low, high (equal-tailed), ess_bulk, ess_tail,
        rhat.
    """
    import pandas as pd  # here, because a fit only asks whether its draws suffice

    rows = [
        {"parameter": name, **_summary(values)}
        for site in sites
        for name, values in _scalars_of(posterior[site])
    ]
    return pd.DataFrame(rows, columns=ESTIMATES)


def _scalars_of(variable: "xr.DataArray") -> Iterator[tuple[str, Real[np.ndarray, "chain draw"]]]:
    values = variable.transpose("chain", "draw", ...).to_numpy()
    labels = [variable[dim].to_numpy().tolist() for dim in variable.dims[2:]]
    return scalars(str(variable.name), values, labels)


def scalars(
    site: str, values: Real[np.ndarray, "chain draw *shape"], labels: Sequence[Sequence[Any]]
) -> Iterator[tuple[str, Real[np.ndarray, "chain draw"]]]:
    """Give the scalars of a site by their names: `sigma`, `beta[0]`.

    Parameters
    ----------
    site
        Its name.
    values
        `(chain, draw, ...)`.
    labels
        Of each of its own dimensions.
    """
    shape = values.shape[2:]
    for index in np.ndindex(*shape):
        where = ",".join(str(names[i]) for names, i in zip(labels, index, strict=True))
        yield f"{site}[{where}]" if shape else site, values[(..., *index)]


def _summary(values: Real[np.ndarray, "chain draw"]) -> Mapping[str, float]:
    values = values.astype("float64")
    axes: dict[str, Any] = {"chain_axis": 0, "draw_axis": 1}
    low, high = np.quantile(values, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return {
        "mean": float(values.mean()),
        "mcse": float(array_stats.mcse(values, **axes)),
        "sd": float(values.std(ddof=1)),
        "low": float(low),
        "high": float(high),
        "ess_bulk": float(array_stats.ess(values, method="bulk", **axes)),
        "ess_tail": float(array_stats.ess(values, method="tail", prob=(0.05, 0.95), **axes)),
        "rhat": float(array_stats.rhat(values, **axes)),
    }
