"""Run the whole plan of a study on many data sets at once, in memory.

Fits of one shape are one batch over all data sets; the checks follow data set by data set, on
programs that are compiled once.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck import batches, confirm, density, fit, posterior, posterior_file, store
from scalecheck.checks.effort import Confirmation
from scalecheck.checks.moments import Prior
from scalecheck.data_sets import DataSet
from scalecheck.diagnose import assess
from scalecheck.evidence import Evidence
from scalecheck.examine import Examined, examine
from scalecheck.fit import Fitted
from scalecheck.likelihood import Likelihood
from scalecheck.plan import PlannedFit
from scalecheck.program import Log
from scalecheck.results import FitResult
from scalecheck.results import Study as Fits
from scalecheck.runs import effort_of
from scalecheck.study import SamplerSettings, Study

NDArray = np.ndarray


class Outcome(NamedTuple):
    """What the checks found in one data set.

    Attributes
    ----------
    found
        Findings and tables.
    unusable
        Fits that cannot be used, and the reason of each.
    fits
        All fits.
    """

    found: Examined
    unusable: dict[str, str]
    fits: Fits


def run(
    settings: Study,
    likelihood: Likelihood,
    prior: Prior,
    data_sets: Sequence[DataSet],
    log: Log,
    *,
    share: bool = False,
) -> list[Outcome]:
    """Fit and check every data set.

    Parameters
    ----------
    settings
        Of the study.
    likelihood
        Shared by all.
    prior
        Moments of the compared parameters.
    data_sets
        All of one plan, so that their fits share shapes.
    log
        Takes lines of progress.
    share
        Whether fits of the same rows, in whatever order, take the draws of the first of them.
    """
    fitted = fit_all(settings.sampler, likelihood, data_sets, log, share=share)
    outcomes: list[Outcome] = []
    for number, (one, fits) in enumerate(zip(data_sets, fitted, strict=True), 1):
        evidence = Evidence(likelihood, one.read, prior, one.seed)
        again = _confirm(settings, likelihood, one, fits)
        outcomes.append(_check(settings, evidence, fits, again))
        log(f"checked data set {number}")
    return outcomes


def _confirm(
    settings: Study, likelihood: Likelihood, data_set: DataSet, fits: Fits
) -> Confirmation | None:
    """Fit the subset again whose leapfrogs stand out, as the workflow does."""
    subsets = [one for one in fits.done.values() if one.task.kind == "subset"]
    task = confirm.candidate(subsets, settings.verdict.alpha).task
    if task is None:
        return None
    values = data_set.read(task.slices, batches.stored_columns(likelihood.model, likelihood.unit))
    key = fit.fit_key(data_set.seed, f"{task.fit} again")
    (member,) = _fit_members(
        settings.sampler, likelihood, [task], [values], [key], [0], lambda line: None
    )
    if member.result is None:
        return None
    return Confirmation(task.fit, effort_of([member.result]).leapfrogs[0])


def _check(settings: Study, evidence: Evidence, fits: Fits, again: Confirmation | None) -> Outcome:
    found = examine(evidence, fits, settings.data, settings.increments, lambda line: None, again)
    return Outcome(found, fits.unusable, fits)


def fit_all(
    sampler: SamplerSettings,
    likelihood: Likelihood,
    data_sets: Sequence[DataSet],
    log: Log,
    *,
    share: bool = False,
) -> list[Fits]:
    """Fit every plan, all fits of one size together.

    Parameters
    ----------
    sampler
        Settings.
    likelihood
        Of the model.
    data_sets
        Their data and plans.
    log
        Takes lines of progress.
    share
        As of `run`.
    """
    wanted = batches.stored_columns(likelihood.model, likelihood.unit)
    # The draws of a unit's own parameters stand in the order in which the rows of one fit name the units.
    sources = [_sources(one, share=share and not likelihood.hidden) for one in data_sets]
    by_size: dict[int, list[tuple[int, PlannedFit]]] = {}
    for number, one in enumerate(data_sets):
        for task in one.fitted:
            if sources[number][task.fit] != task.fit:
                continue
            by_size.setdefault(_size(task.rows), []).append((number, task))
    results: list[dict[str, _Member]] = [{} for _ in data_sets]
    for members in by_size.values():
        tasks = [task for _, task in members]
        values = [data_sets[number].read(task.slices, wanted) for number, task in members]
        keys = [fit.fit_key(data_sets[number].seed, task.fit) for number, task in members]
        owners = [number for number, _ in members]
        for member in _fit_members(sampler, likelihood, tasks, values, keys, owners, log):
            results[member.owner][member.record["fit"]] = member
    return [_in_order(*each) for each in zip(data_sets, results, sources, strict=True)]


class _Member(NamedTuple):
    """A fit of a data set, `owner`; without a result where it was ended without draws."""

    owner: int
    record: dict[str, Any]
    result: FitResult | None


def _sources(one: DataSet, *, share: bool) -> dict[str, str]:
    """Which fit each takes its draws from: by default its own."""
    first: dict[bytes, str] = {}
    sources: dict[str, str] = {}
    for task in one.fitted:
        rows = np.sort(one.read(task.slices, [store.OBSERVATION])[store.OBSERVATION])
        sources[task.fit] = first.setdefault(rows.tobytes(), task.fit) if share else task.fit
    return sources


def _size(rows: int) -> int:
    """Fits whose sizes round up to the same power of two's quarter share a program: units make sizes unequal."""
    step = max(1, 2 ** (int(np.ceil(np.log2(max(rows, 1)))) - 3))
    return -(-rows // step) * step


def _fit_members(
    sampler: SamplerSettings,
    likelihood: Likelihood,
    tasks: Sequence[PlannedFit],
    values: Sequence[dict[str, NDArray]],
    keys: Sequence[jax.Array],
    owners: Sequence[int],
    log: Log,
) -> list[_Member]:
    """Fit members of one size."""
    labelled = [
        task._replace(fit=f"{number}/{task.fit}")
        for number, task in zip(owners, tasks, strict=True)
    ]
    made = batches.make_batches(
        likelihood.model,
        labelled,
        values,
        likelihood.labels,
        likelihood.unit,
        likelihood.compare,
        sampler.precision,
    )
    key_of = {task.fit: key for task, key in zip(labelled, keys, strict=True)}
    hidden = [site.name for site in likelihood.hidden]
    found: list[_Member] = []
    for batch in made:
        batch_keys = jnp.stack([key_of[task.fit] for task in batch.tasks])
        draws = fit.sample_batch(batch, sampler, batch_keys, log)
        fitted = Fitted(batch, draws, np.full(len(batch.tasks), np.nan))
        found += [_result(fitted, i, sampler, hidden) for i in range(len(batch.tasks))]
    return found


def _result(
    fitted: Fitted, number: int, sampler: SamplerSettings, hidden: Sequence[str]
) -> _Member:
    settings = {"sampler": dataclasses.asdict(sampler)}
    owner, name = fitted.batch.tasks[number].fit.split("/", 1)
    record = posterior.record(fitted, number, sampler, settings, {}, (0.0, 0.0))
    record = {**record, "fit": name}
    if record["status"] == "stopped":
        return _Member(int(owner), record, None)
    tree = posterior_file.as_tree(posterior.datasets(fitted, number, hidden))
    z = tree["unconstrained_posterior"]["z"].to_numpy()
    health = assess(z, tree["sample_stats"]["energy"].to_numpy(), record["parameters"])
    task = fitted.batch.tasks[number]._replace(fit=name)
    return _Member(int(owner), record, FitResult(task, record, tree, health))


def _in_order(one: DataSet, found: Mapping[str, _Member], sources: Mapping[str, str]) -> Fits:
    recorded: dict[str, dict[str, Any]] = {}
    done: dict[str, FitResult] = {}
    for task in one.fitted:
        source = found[sources[task.fit]]
        recorded[task.fit] = {**source.record, "fit": task.fit}
        if source.result is not None:
            done[task.fit] = source.result._replace(task=task, record=recorded[task.fit])
    return Fits(list(one.tasks), recorded, done)


def prior_of(likelihood: Likelihood, seed: int) -> Prior:
    """Moments of the prior of the compared parameters, by simulation.

    Parameters
    ----------
    likelihood
        Of the model.
    seed
        Of the draws.
    """
    rows = likelihood.rows(likelihood.few)
    latent = [site.name for site in likelihood.sites if site.kind == "latent"]
    function = likelihood.function(rows.counts)
    moments = density.prior_moments(function, latent, likelihood.vector, rows.arrays, seed)
    return Prior(*moments)
