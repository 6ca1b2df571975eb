"""Posterior simulation-based calibration (arXiv:2502.03279), by the steps of simuk.

simuk 0.3.0 refuses models of NumPyro ("Currently, Posterior SBC is only implemented for PyMC"), so its steps
are taken here on the engine of scalecheck: draws spread over the posterior; a replicate of all rows
for each; a fit of the rows and the replicate together; the rank of the draw among the new ones. Ranks of
each parameter are held to a uniform distribution by the test that ArviZ has for them (`pot_c`); the smallest
p-value is taken, times the number of parameters. It asks whether the sampler is right around these data;
whether the model is right it cannot see, for its replicates come from the model.
"""

import numpy as np
import xarray as xr
from arviz_stats import accessors  # noqa: F401 - gives arrays their azstats
from cases import Answer, Case, Posterior, spent

SEEDS = 5
# Refits, and draws of each that a rank is among.
N_SIMULATIONS, N_RANKED = 20, 99


def check(case: Case) -> Answer:
    """Refit the rows with replicates of them, and rank."""
    if case.posterior is None:
        return Answer(None, note="no draws")
    draws = case.posterior.choose(N_SIMULATIONS)
    replicates = case.replicate(draws, case.table, "posterior sbc")
    tables = []
    for number in range(N_SIMULATIONS):
        again = case.table | {name: values[number] for name, values in replicates.items()}
        tables.append({name: np.concatenate([case.table[name], again[name]]) for name in again})
    fits = case.fit(tables, "posterior sbc")
    done = [(number, fit) for number, fit in enumerate(fits) if fit is not None]
    if not done:
        return Answer(None, note="no draws")
    rng = case.rng("posterior sbc ranks")
    pit = np.array([_pit(case, draws, number, fit, rng) for number, fit in done])
    ranks = xr.DataArray(pit, dims=("simulation", "parameter"))
    p = ranks.azstats.uniformity_test(dim=["simulation"], method="pot_c")[0].to_numpy()
    return Answer(float(np.clip(len(p) * p.min(), 0.0, 1.0)), **spent(case.posterior, *fits))


def _pit(
    case: Case,
    draws: dict[str, np.ndarray],
    number: int,
    fit: Posterior,
    rng: np.random.Generator,
) -> np.ndarray:
    """Give where a draw lies among those of its refit, `(parameter,)` from 0 to 1."""
    new = fit.choose(N_RANKED)
    below = []
    for name in case.compared:
        # Not what is no parameter, such as the first element of a Cholesky factor of correlations.
        free = (new[name] != new[name][0]).any(axis=0)
        below.append((new[name] < draws[name][number]).sum(axis=0)[free])
    ranks = np.concatenate(below)
    return (ranks + rng.random(len(ranks))) / (N_RANKED + 1)
