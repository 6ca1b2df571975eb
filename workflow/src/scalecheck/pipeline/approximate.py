"""What the job of an approximation does: all rows, increments where NUTS ran, and what to make of both."""

import dataclasses
import shutil
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from scalecheck.data import planned_fits, store
from scalecheck.diagnostics import INTERVAL
from scalecheck.files import checksums, formats, posterior_file
from scalecheck.files.posterior_file import Group
from scalecheck.files.record import FitRecord
from scalecheck.fitting import sample_batch
from scalecheck.fitting.fit_job import Job, read_batch
from scalecheck.laplace import independent_units
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.results import budget, study_fits
from scalecheck.runtime.versions import versions
from scalecheck.study.plan import PlannedFit, Slice
from scalecheck.variational import against_nuts, approximated, assessment, shrinkage, vsbc_fits
from scalecheck.variational.vsbc import Symmetry

# Units of a site that the page draws at most.
_MOST_UNITS = 300


def write_approximation(job: Job) -> None:
    """Approximate all rows, if that is asked for, and say whether to believe it: approximation.json and .nc."""
    recorded = _increments(job)
    if reason := reason_against(job, [record for _, record in recorded]):
        _write_none(job, reason)
        return
    (whole,) = read_batch(job, [_all_rows(job)])
    if not any(site.kind == "latent" for site in whole.sites):
        _write_none(job, "not approximated: the model has no latent site")
        return
    asked = job.study.approximation
    method = method_of(asked.method, asked.exact, whole)
    if method.reason:
        job.log(method.reason)
    job = _settle_method(job, method)
    began = time.perf_counter()
    every = against_nuts.approximate_one(job, whole)
    seconds = time.perf_counter() - began
    groups = approximated.groups_of_approximation(every)
    posterior_file.write_posterior(job.folder.approximate_posterior, groups)
    usable = [(task, one) for task, one in recorded if one.status == "done" and one.usable]
    fits = [study_fits.read_fit(job.folder, task, record) for task, record in usable]
    compared = [against_nuts.compare_with_nuts(job, one) for one in fits]
    symmetric = _simulate(job)
    assessed = assessment.assess_approximation(
        [
            assessment.ComparedWithNuts(one.task.rows, one.margins, one.khat.value)
            for one in compared
            if one.found.converged
        ],
        whole.vector.names,
        whole.tasks[0].rows,
        symmetric.biased if symmetric else (),
        every.doubts,
    )
    if not every.converged:
        reasons = f"the approximation of all rows has not converged: {every.reason}"
        assessed = assessment.Assessment(
            "do not use", (reasons, *assessed.reasons), assessed.correction
        )
    job.log(f"{assessed.verdict}: {assessed.reasons[0]}")
    content = _content(job, every, seconds, compared, symmetric, assessed)
    content["method_reason"] = method.reason
    content["estimates"] = _estimates(whole, groups["posterior"])
    shrunk = _shrinkage(job, fits[-1]) if fits else []
    formats.write_json(job.folder.approximation, {**content, "shrinkage": shrunk})
    shutil.rmtree(job.folder.approximating(""), ignore_errors=True)


def _write_none(job: Job, reason: str) -> None:
    """Say why there is no approximation; draws of one that other settings asked for are gone with it."""
    job.log(reason)
    job.folder.approximate_posterior.unlink(missing_ok=True)
    formats.write_json(job.folder.approximation, {"asked": False, "reason": reason})


def reason_against(job: Job, recorded: Sequence[FitRecord]) -> str:
    """Why all rows are not approximated; empty where they are."""
    if job.study.approximation.when == "always":
        return ""
    limits = job.study.budget
    if any(one.status == "skipped" and "budget.seconds" in one.reason for one in recorded):
        return ""
    ran = [one for one in recorded if one.status != "skipped"]
    full = budget.fit_of(ran, store.read_meta(job.folder.data).n_rows, limits)
    if full is not None and budget.exceeded(full, limits):
        return ""
    return (
        "not approximated: approximation.when is auto, and the full fit is not forecast to exceed"
        " budget.seconds"
    )


class Method(NamedTuple):
    """By what all rows are approximated, and why by no other that was asked for; else empty."""

    name: Literal["laplace", "mean_field", "low_rank", "flow"]
    reason: str = ""


def _settle_method(job: Job, method: Method) -> Job:
    """Give the job with the method that it approximates by in place of the one asked for."""
    settled = dataclasses.replace(job.study.approximation, method=method.name)
    return job._replace(study=dataclasses.replace(job.study, approximation=settled))


def method_of(
    asked: Literal["auto", "laplace", "mean_field", "low_rank", "flow"],
    exact: Literal["auto", "nuts"],
    whole: Batch,
) -> Method:
    """Decide by what method all rows are approximated: nested Laplace where a model has independent units.

    Parameters
    ----------
    whole
        All rows.
    """
    if asked not in ("auto", "laplace"):
        return Method(asked)
    if reason := independent_units.why_not_by_unit(whole):
        said = f"laplace is for models of independent units: {reason}; mean_field in its place"
        # Of what was asked for and is not done.
        return Method("mean_field", said if asked == "laplace" or exact == "nuts" else "")
    return Method("laplace")


def _increments(job: Job) -> list[tuple[PlannedFit, FitRecord]]:
    planned = planned_fits.read_planned(job.folder, job.study.increments.order)
    tasks = [task for task in planned if task.kind == "increment"]
    return [(task, checksums.read_record(job.folder, task.fit)) for task in tasks]


def _all_rows(job: Job) -> PlannedFit:
    n_rows = store.read_meta(job.folder.data).n_rows
    order = job.study.increments.order
    return PlannedFit("all", "all", "", "", n_rows, n_rows, (Slice(order, 0, n_rows),))


def _simulate(job: Job) -> Symmetry | None:
    """Run data sets of the size of a subset, or of the first increment where there are no subsets."""
    if not job.study.approximation.simulate:
        return None
    planned = planned_fits.read_planned(job.folder, job.study.increments.order)
    task = next(task for task in planned if task.kind in ("subset", "increment"))
    (batch,) = read_batch(job, [task])
    key = sample_batch.fit_key(job.study.seed, "simulated data sets")
    settings = job.study.approximation
    # How many there will be determines what is drawn of each.
    name = f"simulated-{settings.simulate}"
    checkpointer = against_nuts.checkpointer_of_approximation(job, batch, name)
    with checkpointer.answering_signals():
        return vsbc_fits.simulate_approximations(batch, settings, key, job.log, checkpointer)


def _shrinkage(job: Job, nuts: study_fits.FitResult) -> list[dict[str, Any]]:
    (batch,) = read_batch(job, [nuts.task])
    with jax.enable_x64(True):
        likelihood, draws = against_nuts.open_units(job, nuts)
        own = {name: one.mean(axis=0) for name, one in draws.items()}
        theta = nuts.z.reshape(-1, nuts.z.shape[-1]).mean(axis=0)
        shrunk = shrinkage.measure_shrinkage(likelihood, batch.values[0], theta, own)
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
    every: approximated.Approximated,
    seconds: float,
    compared: Sequence[against_nuts.BesideNuts],
    symmetric: Symmetry | None,
    assessed: assessment.Assessment,
) -> dict[str, Any]:
    """Lay out approximation.json but for shrinkage."""
    return {
        "asked": True,
        "verdict": assessed.verdict,
        "reasons": list(assessed.reasons),
        "method": job.study.approximation.method,
        "rows": every.batch.tasks[0].rows,
        "converged": every.converged,
        "reason": every.reason,
        "steps": every.steps,
        "seconds": seconds,
        "parameters": list(every.batch.vector.names),
        "mean": every.mean.tolist(),
        "sd": every.sd.tolist(),
        "correction": assessed.correction and _lists(assessed.correction),
        "increments": [_increment(one) for one in compared],
        "symmetry": symmetric and _lists(symmetric),
        "details": dict(every.details),
        "settings": job.raw,
        "versions": versions(),
        **job.device,
    }


def _estimates(whole: Batch, posterior: Group) -> list[dict[str, Any]]:
    """Mean, sd and interval of every compared parameter on the model's scale."""
    compared = [site for site in whole.sites if site.name in whole.vector.shapes]
    tail = (1 - INTERVAL) / 2
    found: list[dict[str, Any]] = []
    for site in compared:
        draws = posterior.variables[site.name][1][0].astype("float64")
        names = density.element_names(site, draws.shape[1:], whole.labels)
        flat = draws.reshape(len(draws), -1)
        low, high = np.quantile(flat, [tail, 1 - tail], axis=0)
        each = zip(names, flat.mean(axis=0), flat.std(axis=0), low, high, strict=True)
        found += [
            {"parameter": name, "mean": mean, "sd": sd, "low": a, "high": b}
            for name, mean, sd, a, b in each
        ]
    return found


def _increment(one: against_nuts.BesideNuts) -> dict[str, Any]:
    return {
        "fit": one.task.fit,
        "rows": one.task.rows,
        "converged": one.found.converged,
        "steps": one.found.steps,
        "seconds": one.seconds,
        **_lists(one.margins),
        "khat": one.khat.value,
        "khat_noise": one.khat.noise,
        "khat_reason": one.khat.reason,
        "units": one.units,
    }


def _lists(values: Any) -> dict[str, Any]:
    return {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in values._asdict().items()}
