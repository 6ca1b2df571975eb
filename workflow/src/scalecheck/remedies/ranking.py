"""Which candidate gives most effective draws per gradient, among those that give the same posterior."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from scalecheck.diagnostics import HIGHEST_RHAT, array_stats

# Candidates whose means and sds are believed, as far as their Monte Carlo errors go: well above both, they differ
# from each other by more than chance would have it only where one of them is wrong.
MOST_RHAT, LEAST_ESS = 1.05, 100
# What ends a search: as of a fit that checks can use.
ENOUGH_ESS = 400
# Error rate of calling a candidate different from the others, over all scalars, means and sds.
ALPHA = 1e-3
LEAST_DRAWS = 10
INTERVAL = 0.89

COLUMNS = (
    "candidate",
    "status",
    "ess_per_1000",
    "low",
    "high",
    "gain",
    "gain_low",
    "gain_high",
    "ess",
    "slowest",
    "rhat",
    "gradients",
    "draws",
    "gap",
    "differs_in",
)


class Trial(NamedTuple):
    """What a candidate gave for its gradients.

    Attributes
    ----------
    z
        `(chain, draw, d)` draws of scalars that all candidates have in common.
    gradients
        `(chain,)` leapfrogs, warmup included.
    """

    z: np.ndarray
    gradients: np.ndarray


class TrialSummary(NamedTuple):
    """Sums up a trial: `(d,)` each; `log_rate`, its standard error and the number of chains are scalars."""

    mean: np.ndarray
    mean_mcse: np.ndarray
    sd: np.ndarray
    sd_mcse: np.ndarray
    ess: np.ndarray
    rhat: np.ndarray
    log_rate: float
    log_rate_se: float
    n_chains: int

    @property
    def has_converged(self) -> bool:
        """Whether it may judge others."""
        return bool(self.rhat.max() <= MOST_RHAT and self.ess.min() >= LEAST_ESS)


def rank_trials(
    trials: Mapping[str, Trial],
    names: Sequence[str],
    summaries: Mapping[str, TrialSummary | None] | None = None,
) -> pd.DataFrame:
    """Rank candidates, of which the first is the way in which the fit was sampled.

    The rate is the lowest bulk ESS of all scalars over the gradients of all chains, warmup included; its
    standard error, on the log scale, is the jackknife's over chains, and intervals are those of Student's t with
    one degree of freedom less than chains (of a gain by Welch and Satterthwaite). A candidate has converged
    with an R-hat of at most 1.05 and an ESS of at least 100. Every one that has is held against the mean of the
    others that have, weighted by precision, in the means and sds of all scalars: where the largest difference
    exceeds the normal quantile of an error rate of 0.001 (Bonferroni), the one that is furthest from the others is
    disqualified, and the rest are held against each other again.

    Parameters
    ----------
    trials
        By candidate.
    names
        `(d,)` of the scalars.
    summaries
        By candidate, from `summarise_trial`, where they are known: they take longer than all else.

    Returns
    -------
    DataFrame
        The columns `COLUMNS`, a row per candidate: those of status `same` by their rate, then `not converged`,
        `differs` and `no draws`. `gap` is the largest difference in Monte Carlo errors. `low` to `high` hold the
        rate with a probability of 89 %, `gain` is its ratio to that of the first.
    """
    made = summaries or {name: summarise_trial(one) for name, one in trials.items()}
    found = {name: one for name, one in made.items() if one is not None}
    gaps, different = _compare({n: s for n, s in found.items() if s.has_converged})
    as_it_is = next(iter(trials))
    rows = []
    for name, trial in trials.items():
        row = {
            "candidate": name,
            "status": "no draws",
            "gradients": trial.gradients.sum(),
            "draws": trial.z.shape[1],
        }
        if (summary := found.get(name)) is not None:
            status = "same" if summary.has_converged else "not converged"
            gap, where = gaps.get(name, (np.nan, -1))
            row |= {
                "status": "differs" if name in different else status,
                **_rates(summary, found.get(as_it_is) if name != as_it_is else None),
                "ess": summary.ess.min(),
                "slowest": names[int(summary.ess.argmin())],
                "rhat": summary.rhat.max(),
                "gradients": int(trial.gradients.sum()),
                "gap": gap,
                "differs_in": names[where] if name in different else "",
            }
        rows.append(row)
    return _sorted(pd.DataFrame(rows, columns=list(COLUMNS)))


def has_reached(table: pd.DataFrame) -> bool:
    """Whether a candidate gave, within its gradients, draws that checks could use."""
    good = table[table["status"] == "same"]
    return bool(((good["rhat"] <= HIGHEST_RHAT) & (good["ess"] >= ENOUGH_ESS)).any())


def bulk_ess(z: np.ndarray) -> np.ndarray:
    """Bulk ESS `(d,)` of draws `(chain, draw, d)`; 0 of a scalar that never moved."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = array_stats.ess(_by_scalar(z), chain_axis=1, draw_axis=2, method="bulk")
    return np.nan_to_num(np.asarray(found))


def _by_scalar(z: np.ndarray) -> np.ndarray:
    return np.moveaxis(z, -1, 0).astype("float64")


def summarise_trial(trial: Trial) -> TrialSummary | None:
    """Sum up a trial of draws `(chain, draw, d)`; None of fewer than ten."""
    if trial.z.shape[1] < LEAST_DRAWS:
        return None
    z = _by_scalar(trial.z)
    axes = {"chain_axis": 1, "draw_axis": 2}
    with np.errstate(invalid="ignore", divide="ignore"):
        rhat = np.nan_to_num(np.asarray(array_stats.rhat(z, **axes)), nan=np.inf)
        mcse = [np.asarray(array_stats.mcse(z, method=method, **axes)) for method in ("mean", "sd")]
    ess = bulk_ess(trial.z)
    rate = np.log(max(ess.min(), 1e-9) / trial.gradients.sum())
    flat = z.reshape(len(z), -1)
    mean, sd = flat.mean(1), flat.std(1, ddof=1)
    se, n_chains = _jackknife(trial), len(trial.z)
    return TrialSummary(mean, mcse[0], sd, mcse[1], ess, rhat, float(rate), se, n_chains)


def _jackknife(trial: Trial) -> float:
    """Standard error of the log rate, from leaving out each chain."""
    n = len(trial.z)
    if n < 2:
        return np.nan
    rates = [
        np.log(max(bulk_ess(np.delete(trial.z, i, axis=0)).min(), 1e-9))
        - np.log(np.delete(trial.gradients, i).sum())
        for i in range(n)
    ]
    return float(np.sqrt((n - 1) * np.var(rates)))


_SIDES = np.array([0, -1, 1])


def _rates(summary: TrialSummary, first: TrialSummary | None) -> dict[str, float]:
    own = [(summary.log_rate_se, summary.n_chains)]
    rate, low, high = 1e3 * np.exp(summary.log_rate + _SIDES * _half_width(own))
    rates = {"ess_per_1000": rate, "low": low, "high": high}
    if first is None:
        return rates
    both = [*own, (first.log_rate_se, first.n_chains)]
    gain, low, high = np.exp(summary.log_rate - first.log_rate + _SIDES * _half_width(both))
    return rates | {"gain": gain, "gain_low": low, "gain_high": high}


def _half_width(parts: Sequence[tuple[float, int]]) -> float:
    """Half of the interval of a sum, by the standard error of each part and the chains that this was made of."""
    variances = np.array([se**2 for se, _ in parts])
    freedom = np.array([n - 1 for _, n in parts])
    with np.errstate(invalid="ignore", divide="ignore"):
        together = variances.sum() ** 2 / (variances**2 / freedom).sum()
    return float(stats.t.ppf((1 + INTERVAL) / 2, together) * np.sqrt(variances.sum()))


def _compare(
    converged: Mapping[str, TrialSummary],
) -> tuple[dict[str, tuple[float, int]], set[str]]:
    """Hold candidates against each other: the gap of each and where, and which are different."""
    left, gaps = dict(converged), {name: (np.nan, -1) for name in converged}
    different: set[str] = set()
    while len(left) > 1:
        now = {
            name: _gap(one, [s for n, s in left.items() if n != name]) for name, one in left.items()
        }
        gaps |= now
        d = len(next(iter(left.values())).mean)
        worst = max(left, key=lambda name: (now[name][0], -left[name].ess.min()))
        if now[worst][0] <= stats.norm.isf(ALPHA / (2 * 2 * d)):
            break
        different.add(worst)
        del left[worst]
    return gaps, different


def _gap(one: TrialSummary, others: Sequence[TrialSummary]) -> tuple[float, int]:
    """Largest difference to the mean of others in Monte Carlo errors, and the number of the scalar."""
    of_means = _differences(one.mean, one.mean_mcse, [(s.mean, s.mean_mcse) for s in others])
    of_sds = _differences(one.sd, one.sd_mcse, [(s.sd, s.sd_mcse) for s in others])
    gaps = np.maximum(of_means, of_sds)
    return float(gaps.max()), int(gaps.argmax())


def _differences(
    value: np.ndarray, error: np.ndarray, others: Sequence[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    weights = np.stack([mcse**-2 for _, mcse in others])
    pooled = (weights * np.stack([v for v, _ in others])).sum(0) / weights.sum(0)
    return np.abs(value - pooled) / np.hypot(error, weights.sum(0) ** -0.5)


_ORDER = ("same", "not converged", "differs", "no draws")


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    by = table["status"].map(_ORDER.index)
    order = np.lexsort([-table["ess_per_1000"].astype("float64"), by])
    return table.iloc[order].reset_index(drop=True)
