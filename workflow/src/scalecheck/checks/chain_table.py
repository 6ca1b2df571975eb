"""How the chains of a fit ran, window by window and after warmup, as arrays and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Real

from scalecheck.checks.warm_start_audit import Audit
from scalecheck.diagnostics import array_stats

COLUMNS = ("fit", "kind", "chain", "window", "stop", "step_size", "acceptance_rate", "leapfrogs")
COLUMNS += ("depth_saturated", "divergences", "metric_change", "metric_spread", "potential_gap")
COLUMNS += ("rhat_potential",)


class Sampling(NamedTuple):
    """What the chains of one fit did after warmup.

    Attributes
    ----------
    potential, energy
        `(chain, draw)`; the energy is the potential and the kinetic one.
    n_steps, acceptance_rate, diverging
        `(chain, draw)`.
    step_size
        `(chain,)`.
    """

    potential: Float[np.ndarray, "chain draw"]
    energy: Float[np.ndarray, "chain draw"]
    n_steps: Int[np.ndarray, "chain draw"]
    acceptance_rate: Float[np.ndarray, "chain draw"]
    diverging: Bool[np.ndarray, "chain draw"]
    step_size: Float[np.ndarray, " chain"]


class ChainWindow(NamedTuple):
    """A warmup window.

    Attributes
    ----------
    stop
        Iterations done at its end.
    step_size, acceptance_rate
        `(chain,)` at its end; mean over it.
    inverse_mass_matrix
        `(chain, d)` its diagonal, or quantiles of a long one.
    n_steps, diverging
        `(chain, iteration)` within it.
    """

    stop: int
    step_size: Float[np.ndarray, " chain"]
    acceptance_rate: Float[np.ndarray, " chain"]
    inverse_mass_matrix: Float[np.ndarray, "chain d"]
    n_steps: Int[np.ndarray, "chain iteration"]
    diverging: Bool[np.ndarray, "chain iteration"]


class Chains(NamedTuple):
    """One fit, as its chains ran.

    Attributes
    ----------
    fit, kind
        As planned.
    sampling
        After warmup.
    windows
        Of the warmup.
    target_accept, max_tree_depth
        Settings; NaN where unknown.
    audit
        Of a warm start, against a cold one; None where there was none.
    parameters
        Names of the compared ones.
    discarded
        Chains that stalled in warmup and began anew.
    capped
        Which chains took the most gradients that they may, so that draws are missing; empty where none did.
    reason, advice
        Why its posterior cannot be used, and the part that says what is the matter; empty where it can.
    diverged
        What is known of its divergences; empty without any.
    """

    fit: str
    kind: str
    sampling: Sampling
    windows: Sequence[ChainWindow]
    target_accept: float
    max_tree_depth: float
    audit: Audit | None = None
    parameters: Sequence[str] = ()
    discarded: int = 0
    capped: str = ""
    reason: str = ""
    advice: str = ""
    diverged: str = ""

    def saturated(
        self, n_steps: Real[np.ndarray, "chain iteration"]
    ) -> Float[np.ndarray, " chain"]:
        """`(chain,)` share of iterations, of `(chain, iteration)`, whose tree was cut."""
        if np.isnan(self.max_tree_depth):
            return np.full(len(n_steps), np.nan)
        return (n_steps >= 2**self.max_tree_depth - 1).mean(axis=1)


def _ratio(
    metric: Float[np.ndarray, "chain d"], other: Float[np.ndarray, "_ d"]
) -> Float[np.ndarray, " chain"]:
    """`(chain,)` largest factor between variances `(chain, d)`."""
    if not metric.shape[-1]:
        return np.ones(len(metric))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(np.abs(np.log(metric) - np.log(other)).max(axis=-1))


def metric_spread(window: ChainWindow) -> Float[np.ndarray, " chain"]:
    """`(chain,)` largest factor between a chain's adapted variances and their median over chains."""
    metric = window.inverse_mass_matrix
    return _ratio(metric, np.median(metric, axis=0, keepdims=True))


def tabulate_chains(fits: Sequence[Chains]) -> pd.DataFrame:
    """Tabulate every fit, chain and window.

    Returns
    -------
    DataFrame
        One row per fit, chain and window of the warmup, and one for the draws after it: fit, kind,
        chain, window (a number, or "sampling"), stop (iterations done), step_size, acceptance_rate,
        leapfrogs (mean per iteration), depth_saturated (share), divergences, metric_change (largest
        ratio of a variance to that of the window before), metric_spread (largest ratio to the
        median over chains); after warmup also potential_gap (to the other chains, in sds), and of
        the whole fit rhat_potential.
    """
    return pd.DataFrame([row for fit in fits for row in _rows(fit)], columns=list(COLUMNS))


def _rows(fit: Chains) -> list[Mapping[str, Any]]:
    n_chains = len(fit.sampling.step_size)
    return [
        {"fit": fit.fit, "kind": fit.kind, "chain": chain, **_pick(part, chain)}
        for chain in range(n_chains)
        for part in [*_windows(fit), _sampling(fit)]
    ]


def _pick(columns: Mapping[str, Any], chain: int) -> dict[str, Any]:
    return {name: v[chain] if isinstance(v, np.ndarray) else v for name, v in columns.items()}


def _windows(fit: Chains) -> list[Mapping[str, Any]]:
    windows = zip([None, *fit.windows], fit.windows, strict=False)
    return [
        {
            "window": str(number),
            "stop": window.stop,
            "step_size": window.step_size,
            "acceptance_rate": window.acceptance_rate,
            "leapfrogs": window.n_steps.mean(axis=1),
            "depth_saturated": fit.saturated(window.n_steps),
            "divergences": window.diverging.sum(axis=1),
            "metric_change": _ratio(window.inverse_mass_matrix, before.inverse_mass_matrix)
            if before
            else np.nan,
            "metric_spread": metric_spread(window),
        }
        for number, (before, window) in enumerate(windows, start=1)
    ]


def _sampling(fit: Chains) -> Mapping[str, Any]:
    sampling = fit.sampling
    means = sampling.potential.mean(axis=1)
    unit = np.sqrt(np.median((sampling.energy - sampling.potential).mean(axis=1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        off = (means - (means.sum() - means) / (len(means) - 1)) / unit
        rhat = array_stats.rhat(sampling.potential, chain_axis=0, draw_axis=1)
    done = fit.windows[-1].stop if fit.windows else 0
    return {
        "window": "sampling",
        "stop": done + sampling.n_steps.shape[1],
        "step_size": sampling.step_size,
        "acceptance_rate": sampling.acceptance_rate.mean(axis=1),
        "leapfrogs": sampling.n_steps.mean(axis=1),
        "depth_saturated": fit.saturated(sampling.n_steps),
        "divergences": sampling.diverging.sum(axis=1),
        "potential_gap": off,
        "rhat_potential": float(rhat),
    }
