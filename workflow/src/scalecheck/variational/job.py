"""What the job of an approximation does: all rows, increments where NUTS ran, and what to make of both."""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from scalecheck import (
    ENGINE_VERSION,
    batches,
    budget,
    checkpoint,
    evidence,
    fit,
    plan,
    posterior,
    posterior_file,
    records,
    store,
)
from scalecheck.chain import Job
from scalecheck.diagnose import rhat_and_ess
from scalecheck.plan import PlannedFit, Slice
from scalecheck.results import FitResult, read_fit
from scalecheck.variational.approximate import (
    Approximation,
    approximate,
    constrained,
    dataset,
    depends_on,
)
from scalecheck.variational.belief import Belief, Compared, Margins, believe, margins_of
from scalecheck.variational.khat import Khat, khat_of
from scalecheck.variational.shrinkage import Shrunk, shrinkage
from scalecheck.variational.simulated import simulate
from scalecheck.variational.symmetry import Symmetry

NDArray = np.ndarray

# Units of a site that the page draws at most.
_MOST_UNITS = 300


class Beside(NamedTuple):
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
    compared: Compared
    khat: Khat
    units: dict[str, dict[str, float]]
    converged: bool
    steps: int
    seconds: float


def write_approximation(job: Job) -> None:
    """Approximate all rows, if that is asked for, and say whether to believe it: approximation.json and .nc."""
    recorded = _increments(job)
    if reason := reason_against(job, [record for _, record in recorded]):
        job.log(reason)
        records.write_json(job.folder.approximation, {"asked": False, "reason": reason})
        return
    (whole,) = _read(job, [_all_rows(job)])
    began = time.perf_counter()
    every = _approximate(job, whole)
    seconds = time.perf_counter() - began
    keep = job.sections["sampler"].keep
    posterior_file.write_posterior(job.folder.approximate_posterior, dataset(every, keep))
    usable = [(task, one) for task, one in recorded if one["status"] == "done" and one["usable"]]
    fits = [read_fit(job.folder, task, record) for task, record in usable]
    beside = [_beside(job, one) for one in fits]
    symmetric = _simulate(job)
    belief = believe(
        [one.compared for one in beside],
        whole.vector.names,
        whole.tasks[0].rows,
        symmetric.biased if symmetric else (),
    )
    if not every.found.converged:
        reasons = f"the approximation of all rows has not converged: {every.found.reason}"
        belief = Belief("do not use", (reasons, *belief.reasons), belief.correction)
    job.log(f"{belief.verdict}: {belief.reasons[0]}")
    content = _content(job, every, seconds, beside, symmetric, belief)
    shrunk = _shrinkage(job, fits[-1]) if fits else []
    records.write_json(job.folder.approximation, {**content, "shrinkage": _drawn(shrunk)})
    shutil.rmtree(job.folder.approximating(""), ignore_errors=True)


def reason_against(job: Job, recorded: Sequence[Mapping[str, Any]]) -> str:
    """Why all rows are not approximated; empty where they are."""
    if job.sections["approximation"] == "always":
        return ""
    limits = job.sections["budget"]
    if any(one["status"] == "skipped" and "budget.seconds" in one["reason"] for one in recorded):
        return ""
    ran = [one for one in recorded if one["status"] != "skipped"]
    full = budget.fit_of(ran, store.read_meta(job.folder.data).n_rows, limits)
    if full is not None and budget.exceeded(full, limits):
        return ""
    return "not approximated: approximation is auto, and the full fit is not forecast to exceed budget.seconds"


def _increments(job: Job) -> list[tuple[PlannedFit, dict[str, Any]]]:
    rows = records.read_plan(job.folder.plan)
    order = job.sections["increments"].order
    names = [row["fit"] for row in rows if row["kind"] == "increment"]
    tasks = [plan.locate(rows, name, {}, order) for name in names]
    return [(task, records.read_json(job.folder.record(task.fit))) for task in tasks]


def _all_rows(job: Job) -> PlannedFit:
    n_rows = store.read_meta(job.folder.data).n_rows
    order = job.sections["increments"].order
    return PlannedFit("all", "all", "", "", n_rows, n_rows, (Slice(order, 0, n_rows),))


def _read(job: Job, tasks: Sequence[PlannedFit]) -> list[batches.Batch]:
    data, model = job.sections["data"], job.sections["model"]
    precision = job.sections["sampler"].precision
    return batches.read_batches(job.folder, tasks, data.outcome, model, precision)


def _approximate(job: Job, batch: batches.Batch) -> Approximation:
    """Fit a batch of one, kept while it runs."""
    settings, name = job.sections["variational"], batch.tasks[0].fit
    source = Path(job.sections["model"].file).read_text(encoding="utf-8")
    others = [name, source, job.sections["seed"], posterior.versions(), ENGINE_VERSION, job.device["device"]]  # fmt: skip
    identity = checkpoint.identify(batch.arrays, *depends_on(settings, *others))
    folder = job.folder.approximating(name)
    keeper = checkpoint.Keeper(folder, identity, checkpoint.seconds_between(), job.log)
    job.log(f"{name}: {settings.guide} approximation of {batch.tasks[0].rows} rows")
    key = fit.fit_key(job.sections["seed"], f"approximation of {name}")
    with keeper.answering_signals():
        return approximate(batch, settings, key, lambda line: job.log(f"{name}: {line}"), keeper)


def _beside(job: Job, nuts: FitResult) -> Beside:
    (batch,) = _read(job, [nuts.task])
    began = time.perf_counter()
    found = _approximate(job, batch)
    seconds = time.perf_counter() - began
    flat = nuts.z.reshape(-1, nuts.z.shape[-1])
    margins = margins_of(flat, rhat_and_ess(nuts.z)[1], found.shared.astype("float64"))
    shape = _khat(job, nuts, batch, found)
    job.log(f"{nuts.task.fit}: {_in_words(margins, shape)}")
    return Beside(
        nuts.task,
        Compared(nuts.task.rows, margins, shape.value),
        shape,
        _units(nuts, constrained(found, job.sections["sampler"].keep), batch),
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
    data, key = job.sections["data"], jax.random.PRNGKey(job.sections["seed"])
    log_q = found.log_density_shared(found.shared)
    with jax.enable_x64(True):
        likelihood = evidence.open_likelihood(job.folder, job.sections["model"], data.outcome)
        own = _own(nuts, [site.name for site in likelihood.hidden])
        theta = found.shared.astype("float64")
        return khat_of(likelihood, batch.values[0], own, theta, log_q.astype("float64"), key)


def _own(nuts: FitResult, names: Sequence[str]) -> dict[str, NDArray]:
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
        flat = draws.reshape(-1, draws.shape[-1])
        moves = flat.std(axis=0) > 0
        margins = margins_of(flat[:, moves], rhat_and_ess(draws)[1][moves], other[:, moves])
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


def _simulate(job: Job) -> Symmetry | None:
    """Run data sets of the size of a subset, or of the first increment where there are no subsets."""
    if not job.sections["variational"].simulate:
        return None
    rows = records.read_plan(job.folder.plan)
    names = [row["fit"] for row in rows if row["kind"] in ("subset", "increment")]
    task = plan.locate(rows, names[0], {}, job.sections["increments"].order)
    (batch,) = _read(job, [task])
    key = fit.fit_key(job.sections["seed"], "simulated data sets")
    return simulate(batch, job.sections["variational"], key, job.log)


def _shrinkage(job: Job, nuts: FitResult) -> list[Shrunk]:
    data = job.sections["data"]
    (batch,) = _read(job, [nuts.task])
    with jax.enable_x64(True):
        likelihood = evidence.open_likelihood(job.folder, job.sections["model"], data.outcome)
        draws = _own(nuts, [site.name for site in likelihood.hidden])
        own = {name: one.mean(axis=0) for name, one in draws.items()}
        theta = nuts.z.reshape(-1, nuts.z.shape[-1]).mean(axis=0)
        return shrinkage(likelihood, batch.values[0], theta, own)


def _drawn(shrunk: Sequence[Shrunk]) -> list[dict[str, Any]]:
    return [
        {
            "site": one.site,
            "slope": one.slope,
            "separate": one.separate[:_MOST_UNITS].tolist(),
            "posterior": one.posterior[:_MOST_UNITS].tolist(),
        }
        for one in shrunk
    ]


def _content(
    job: Job,
    every: Approximation,
    seconds: float,
    beside: Sequence[Beside],
    symmetric: Symmetry | None,
    belief: Belief,
) -> dict[str, Any]:
    """Lay out approximation.json but for shrinkage."""
    correction = belief.correction
    return {
        "asked": True,
        "verdict": belief.verdict,
        "reasons": list(belief.reasons),
        "guide": job.sections["variational"].guide,
        "rows": every.batch.tasks[0].rows,
        "converged": every.found.converged,
        "reason": every.found.reason,
        "steps": every.found.steps,
        "seconds": seconds,
        "parameters": list(every.batch.vector.names),
        "mean": every.shared.mean(axis=0).tolist(),
        "sd": every.shared.std(axis=0).tolist(),
        "correction": {n: v.tolist() for n, v in correction._asdict().items()} if correction else None,
        "increments": [_increment(one) for one in beside],
        "symmetry": None if symmetric is None else _lists(symmetric),
        "rounds": [one._asdict() for one in every.found.rounds],
        "settings": job.raw,
        "versions": posterior.versions(),
        **job.device,
    }


def _increment(one: Beside) -> dict[str, Any]:
    return {
        "fit": one.task.fit,
        "rows": one.task.rows,
        "converged": one.converged,
        "steps": one.steps,
        "seconds": one.seconds,
        **_lists(one.compared.margins),
        "khat": one.khat.value,
        "khat_noise": one.khat.noise,
        "khat_reason": one.khat.reason,
        "units": one.units,
    }


def _lists(values: NamedTuple) -> dict[str, Any]:
    return {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in values._asdict().items()}
