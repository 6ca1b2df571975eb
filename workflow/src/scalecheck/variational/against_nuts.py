"""An approximation beside NUTS, on an increment that both can have."""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from scalecheck.evaluation import study_data
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.fitting import checkpoint, sample_batch
from scalecheck.fitting.fit_job import Job, checkpointer_of, cold_digest, read_batch
from scalecheck.model import batches
from scalecheck.results.study_fits import FitResult
from scalecheck.study.plan import PlannedFit
from scalecheck.variational.approximated import Approximated, approximate_batch, depends_on
from scalecheck.variational.assessment import ApproximateMoments, Margins, margins_of, moments_of
from scalecheck.variational.khat import Khat, khat_of


class BesideNuts(NamedTuple):
    """An approximation beside NUTS on an increment.

    Attributes
    ----------
    task
        The increment.
    margins, khat
        Of the compared parameters; k-hat with its noise, or why there is none.
    units
        By site of units: how far its entries are off.
    found, seconds
        The approximation, and what it took.
    """

    task: PlannedFit
    margins: Margins
    khat: Khat
    units: dict[str, dict[str, int | float]]
    found: Approximated
    seconds: float


def checkpointer_of_approximation(
    job: Job, batch: batches.Batch, name: str
) -> checkpoint.Checkpointer:
    """Give what saves an approximation, or many, of the rows of a batch of one under a name."""
    (task,) = batch.tasks
    parts = cold_digest(job, task), *depends_on(job.study.approximation, name)
    return checkpointer_of(job, batch, job.folder.approximating(name), *parts)


def approximate_one(job: Job, batch: batches.Batch) -> Approximated:
    """Fit a batch of one, kept while it runs."""
    settings, name = job.study.approximation, batch.tasks[0].fit
    checkpointer = checkpointer_of_approximation(job, batch, name)
    job.log(f"{name}: {settings.method} approximation of {batch.tasks[0].rows} rows")
    key = sample_batch.fit_key(job.study.seed, f"approximation of {name}")
    with checkpointer.answering_signals():
        return approximate_batch(
            batch,
            settings,
            job.study.sampler.keep,
            key,
            lambda line: job.log(f"{name}: {line}"),
            checkpointer,
        )


def compare_with_nuts(job: Job, nuts: FitResult) -> BesideNuts:
    """Approximate the rows of an increment, and compare with its NUTS fit."""
    (batch,) = read_batch(job, [nuts.task])
    began = time.perf_counter()
    found = approximate_one(job, batch)
    seconds = time.perf_counter() - began
    margins = margins_of(
        nuts.z.astype("float64"), ApproximateMoments(found.mean, found.sd, found.n_independent)
    )
    shape = found.khat or _khat(job, nuts, batch, found)
    job.log(f"{nuts.task.fit}: {_in_words(margins, shape)}")
    units = _units(nuts, found.kept(), batch)
    return BesideNuts(nuts.task, margins, shape, units, found, seconds)


def _in_words(margins: Margins, shape: Khat) -> str:
    tail = shape.reason if shape.value is None else f"{shape.value:.2f}"
    return (
        f"means off by {np.abs(margins.shift).max():.2f} sds at most, sds by a factor of"
        f" {np.exp(np.abs(margins.log_sd).max()):.2f}, k-hat {tail}"
    )


def _khat(job: Job, nuts: FitResult, batch: batches.Batch, found: Approximated) -> Khat:
    key = jax.random.PRNGKey(job.study.seed)
    assert found.log_q is not None  # as of every guide
    log_q = found.log_q(found.shared)
    with jax.enable_x64(True):
        likelihood, own = open_units(job, nuts)
        theta = found.shared.astype("float64")
        return khat_of(likelihood, batch.values[0], own, theta, log_q.astype("float64"), key)


def open_units(job: Job, nuts: FitResult) -> tuple[Likelihood, dict[str, np.ndarray]]:
    """Open the likelihood, and read the NUTS draws `(draw, ...)` of the sites of units, where they are stored."""
    study, stored = job.study, nuts.tree["posterior"]
    likelihood = study_data.open_likelihood(job.folder, study.model, study.data.outcome)
    names = [site.name for site in likelihood.hidden if site.name in stored]
    draws = {name: stored[name].to_numpy().astype("float64") for name in names}
    return likelihood, {name: one.reshape(-1, *one.shape[2:]) for name, one in draws.items()}


def _units(
    nuts: FitResult, approximate: Mapping[str, Any], batch: batches.Batch
) -> dict[str, dict[str, int | float]]:
    """How far the entries of each site of units are off: `rms_shift` without what Monte Carlo errors add to it."""
    stored = nuts.tree["posterior"]
    by_unit = [s.name for s in batch.sites if batch.unit and batch.unit in s.indexed_by]
    found: dict[str, dict[str, int | float]] = {}
    for name in by_unit:
        if name not in approximate or name not in stored:
            continue
        draws = stored[name].to_numpy().astype("float64")
        draws = draws.reshape(*draws.shape[:2], -1)
        other = approximate[name][1].astype("float64").reshape(-1, draws.shape[-1])
        moves = draws.std(axis=(0, 1)) > 0
        margins = margins_of(draws[..., moves], moments_of(other[:, moves]))
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
