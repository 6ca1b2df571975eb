"""An approximation beside NUTS, on an increment that both can have."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from scalecheck.evaluation import study_data
from scalecheck.fitting import checkpoint, sample_batch
from scalecheck.fitting.fit_job import Job, checkpointer_of, read_batch
from scalecheck.model import batches
from scalecheck.results.study_fits import FitResult
from scalecheck.study.plan import PlannedFit
from scalecheck.variational.approximation import Approximation, approximate, constrained, depends_on
from scalecheck.variational.assessment import ComparedWithNuts, Margins, margins_of
from scalecheck.variational.khat import Khat, khat_of


class BesideNuts(NamedTuple):
    """An approximation beside NUTS on an increment.

    Attributes
    ----------
    task
        The increment.
    compared
        Of the compared parameters.
    khat
        With its noise, or why there is none.
    units
        By site of units: how far its entries are off.
    converged, steps, seconds
        Of the approximation.
    """

    task: PlannedFit
    compared: ComparedWithNuts
    khat: Khat
    units: dict[str, dict[str, float]]
    converged: bool
    steps: int
    seconds: float


def read_single_batch(job: Job, task: PlannedFit) -> batches.Batch:
    """Read the rows of a fit as a batch of one."""
    (batch,) = read_batch(job, [task])
    return batch


def checkpointer_of_approximation(
    job: Job, batch: batches.Batch, name: str
) -> checkpoint.Checkpointer:
    """Give what saves an approximation, or many, of the rows of a batch of one under a name."""
    parts = depends_on(job.study.variational, name)
    return checkpointer_of(job, batch, job.folder.approximating(name), *parts)


def approximate_one(job: Job, batch: batches.Batch) -> Approximation:
    """Fit a batch of one, kept while it runs."""
    settings, name = job.study.variational, batch.tasks[0].fit
    keeper = checkpointer_of_approximation(job, batch, name)
    job.log(f"{name}: {settings.guide} approximation of {batch.tasks[0].rows} rows")
    key = sample_batch.fit_key(job.study.seed, f"approximation of {name}")
    with keeper.answering_signals():
        return approximate(batch, settings, key, lambda line: job.log(f"{name}: {line}"), keeper)


def compare_with_nuts(job: Job, nuts: FitResult) -> BesideNuts:
    """Approximate the rows of an increment, and compare with its NUTS fit."""
    batch = read_single_batch(job, nuts.task)
    began = time.perf_counter()
    found = approximate_one(job, batch)
    seconds = time.perf_counter() - began
    margins = margins_of(nuts.z.astype("float64"), found.shared.astype("float64"))
    shape = _khat(job, nuts, batch, found)
    job.log(f"{nuts.task.fit}: {_in_words(margins, shape)}")
    return BesideNuts(
        nuts.task,
        ComparedWithNuts(nuts.task.rows, margins, shape.value),
        shape,
        _units(nuts, constrained(found, job.study.sampler.keep), batch),
        found.found.converged,
        found.found.steps,
        seconds,
    )


def _in_words(margins: Margins, shape: Khat) -> str:
    tail = shape.reason if shape.value is None else f"{shape.value:.2f}"
    return (
        f"means off by {np.abs(margins.shift).max():.2f} sds at most, sds by a factor of"
        f" {np.exp(np.abs(margins.log_sd).max()):.2f}, k-hat {tail}"
    )


def _khat(job: Job, nuts: FitResult, batch: batches.Batch, found: Approximation) -> Khat:
    data, key = job.study.data, jax.random.PRNGKey(job.study.seed)
    log_q = found.log_density_shared(found.shared)
    with jax.enable_x64(True):
        likelihood = study_data.open_likelihood(job.folder, job.study.model, data.outcome)
        own = own_draws(nuts, [site.name for site in likelihood.hidden])
        theta = found.shared.astype("float64")
        return khat_of(likelihood, batch.values[0], own, theta, log_q.astype("float64"), key)


def own_draws(nuts: FitResult, names: Sequence[str]) -> dict[str, np.ndarray]:
    """NUTS draws `(draw, ...)` of some sites, where they are stored."""
    stored = nuts.tree["posterior"]
    draws = {name: stored[name].to_numpy() for name in names if name in stored}
    return {n: one.reshape(-1, *one.shape[2:]).astype("float64") for n, one in draws.items()}


def _units(
    nuts: FitResult, approximate: Mapping[str, Any], batch: batches.Batch
) -> dict[str, dict[str, float]]:
    """How far the entries of each site of units are off: `rms_shift` without what Monte Carlo errors add to it."""
    by_unit = [s.name for s in batch.sites if batch.unit and batch.unit in s.indexed_by]
    found: dict[str, dict[str, float]] = {}
    for name in by_unit:
        if name not in approximate or name not in nuts.tree["posterior"]:
            continue
        draws = nuts.tree["posterior"][name].to_numpy().astype("float64")
        draws = draws.reshape(*draws.shape[:2], -1)
        other = approximate[name][1].astype("float64").reshape(-1, draws.shape[-1])
        moves = draws.std(axis=(0, 1)) > 0
        margins = margins_of(draws[..., moves], other[:, moves])
        excess = np.mean(margins.shift**2 - margins.shift_mcse**2)
        found[name] = {
            "entries": int(moves.sum()),
            "rms_shift": float(np.sqrt(max(excess, 0.0))),
            "monte_carlo": float(np.sqrt(np.mean(margins.shift_mcse**2))),
            "median_shift": float(np.median(np.abs(margins.shift))),
            "largest_shift": float(np.abs(margins.shift).max()),
            "median_sd_ratio": float(np.exp(np.median(margins.log_sd))),
        }
    return found
