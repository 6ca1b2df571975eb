"""Fit the plans of many data sets, in memory: fits of one size are one batch over all data sets.

A fit that diverges is not fitted again with smaller steps, as one of a study is: it is judged by its draws alone.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck.checks import warm_start_audit
from scalecheck.data import store
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.files import posterior_file
from scalecheck.files.record import FitRecord, audit_of
from scalecheck.fitting import fit_record, sample_batch
from scalecheck.fitting.kept_sites import kept_sites
from scalecheck.fitting.sample_batch import Fitted
from scalecheck.fitting.starts.warm_start import WarmStart, warm_start_of, warmup_of
from scalecheck.model import batches
from scalecheck.results.study_fits import FitResult, StudyFits, health_of
from scalecheck.runtime.program import Log
from scalecheck.simulation.data_sets import DataSet
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import IncrementSettings, SamplerSettings


class SimulatedFit(NamedTuple):
    """A fit of a data set.

    Attributes
    ----------
    owner
        Number of the data set.
    task
        As planned.
    key
        `(2,)` of its draws.
    left
        By the increment before, for a warm start.
    """

    owner: int
    task: PlannedFit
    key: jax.Array
    left: WarmStart | None = None


class FittedMember(NamedTuple):
    """A member that is fitted; without a result, and leaving nothing, where it was ended without draws."""

    owner: int
    record: FitRecord
    result: FitResult | None
    warm_start: Callable[[], WarmStart] | None


class Fitting(NamedTuple):
    """What all fits share.

    Attributes
    ----------
    sampler
        Settings.
    likelihood
        Of the model.
    data_sets
        Their data and plans.
    log
        Takes lines of progress.
    """

    sampler: SamplerSettings
    likelihood: Likelihood
    data_sets: Sequence[DataSet]
    log: Log


def fit_plans(
    fitting: Fitting, increments: IncrementSettings, *, share: bool = False
) -> list[StudyFits]:
    """Fit every plan.

    Parameters
    ----------
    fitting
        What to fit, and how.
    increments
        Whether they start warm.
    share
        Whether fits of the same rows, in whatever order, take the draws of the first of them. (Not
        increments that start from the one before.)
    """
    data_sets = fitting.data_sets
    has_parameters = fitting.likelihood.vector.names or fitting.likelihood.hidden
    in_turn = bool(has_parameters) and (increments.warm or fitting.sampler.start == "previous")
    # The draws of a unit's own parameters stand in the order in which the rows of one fit name the units.
    sharing = share and not fitting.likelihood.hidden
    sources = [_sources(one, share=sharing, in_turn=in_turn) for one in data_sets]
    members = [
        _member(one, number, task)
        for number, one in enumerate(data_sets)
        for task in one.fitted
        if sources[number][task.fit] == task.fit and not (in_turn and task.kind == "increment")
    ]
    results: list[dict[str, FittedMember]] = [{} for _ in data_sets]
    later = _fit_in_turn(fitting, increments) if in_turn else []
    for done in [*_by_size(fitting, members), *later]:
        results[done.owner][done.record.fit] = done
    return [_in_order(*each) for each in zip(data_sets, results, sources, strict=True)]


def _member(one: DataSet, number: int, task: PlannedFit) -> SimulatedFit:
    return SimulatedFit(number, task, sample_batch.fit_key(one.seed, task.fit))


def _by_size(fitting: Fitting, members: Sequence[SimulatedFit]) -> list[FittedMember]:
    by_size: dict[int, list[SimulatedFit]] = {}
    for member in members:
        by_size.setdefault(_size(member.task.rows), []).append(member)
    return [done for same in by_size.values() for done in fit_members(fitting, same)]


def _fit_in_turn(fitting: Fitting, settings: IncrementSettings) -> list[FittedMember]:
    """Fit the increments of all data sets, each but the first from what the one before left."""
    sequences = [
        [task for task in one.fitted if task.kind == "increment"] for one in fitting.data_sets
    ]
    warmup = fitting.sampler.warmup
    short = warmup_of(warmup) if settings.warm else warmup
    found: list[FittedMember] = []
    left: dict[int, WarmStart] = {}
    for step in range(max(map(len, sequences), default=0)):
        members = [
            _member(fitting.data_sets[number], number, sequence[step])
            for number, sequence in enumerate(sequences)
            if step < len(sequence)
        ]
        # One that was left nothing starts as the first.
        firsts = [one for one in members if one.owner not in left]
        later = [one._replace(left=left[one.owner]) for one in members if one.owner in left]
        sampler = dataclasses.replace(fitting.sampler, warmup=short)
        done = _by_size(fitting._replace(sampler=sampler), later)
        if settings.is_audited(step):
            done = _audited(fitting, later, done)
        done += _by_size(fitting, firsts)
        left |= {one.owner: one.warm_start() for one in done if one.warm_start is not None}
        found += done
    return found


def _audited(
    fitting: Fitting, members: Sequence[SimulatedFit], warm: Sequence[FittedMember]
) -> list[FittedMember]:
    """Fit them cold as well, and compare."""
    seeds = [fitting.data_sets[one.owner].seed for one in members]
    again = [
        one._replace(key=sample_batch.fit_key(seed, f"{one.task.fit} cold"), left=None)
        for one, seed in zip(members, seeds, strict=True)
    ]
    cold = {one.owner: one for one in _by_size(fitting, again)}
    return [_with_audit(one, cold[one.owner]) for one in warm]


def _with_audit(warm: FittedMember, cold: FittedMember) -> FittedMember:
    if warm.result is None or cold.result is None:
        return warm
    compared = warm_start_audit.audit_warm_start(warm.result.z, cold.result.z)
    audit = audit_of(cold.record, **compared._asdict())
    record = dataclasses.replace(warm.record, audit=audit)
    return warm._replace(record=record, result=warm.result._replace(record=record))


def _sources(one: DataSet, *, share: bool, in_turn: bool) -> dict[str, str]:
    """Which fit each takes its draws from: by default its own."""
    first: dict[bytes, str] = {}
    sources: dict[str, str] = {}
    for task in one.fitted:
        rows = np.sort(one.read(task.slices, [store.OBSERVATION])[store.OBSERVATION])
        shares = share and not (in_turn and task.kind == "increment")
        sources[task.fit] = first.setdefault(rows.tobytes(), task.fit) if shares else task.fit
    return sources


def _size(rows: int) -> int:
    """Fits whose sizes round up to the same power of two's quarter share a program: units make sizes unequal."""
    step = max(1, 2 ** (int(np.ceil(np.log2(max(rows, 1)))) - 3))
    return -(-rows // step) * step


def fit_members(fitting: Fitting, members: Sequence[SimulatedFit]) -> list[FittedMember]:
    """Fit members of one size.

    Parameters
    ----------
    fitting
        What they share.
    members
        All with a warm start, or none.
    """
    likelihood, sampler = fitting.likelihood, fitting.sampler
    wanted = batches.stored_columns(likelihood.model, likelihood.unit)
    of = {f"{one.owner}/{one.task.fit}": one for one in members}
    values = [fitting.data_sets[one.owner].read(one.task.slices, wanted) for one in members]
    made = batches.make_batches(
        likelihood.model,
        [dataclasses.replace(one.task, fit=label) for label, one in of.items()],
        values,
        likelihood.labels,
        likelihood.unit,
        likelihood.compare,
        sampler.precision,
    )
    found: list[FittedMember] = []
    for batch in made:
        own = [of[task.fit] for task in batch.tasks]
        keys = jnp.stack([one.key for one in own])
        left = [one.left for one in own if one.left is not None]
        draws = sample_batch.sample_batch(batch, sampler, keys, fitting.log, left=left or None)
        fitted = Fitted(batch, draws, np.full(len(own), np.nan))
        found += [_done(fitting, fitted, i, one) for i, one in enumerate(own)]
    return found


def _done(fitting: Fitting, fitted: Fitted, number: int, member: SimulatedFit) -> FittedMember:
    sampler = fitting.sampler
    settings = {"sampler": dataclasses.asdict(sampler)}
    record = fit_record.record(fitted, number, sampler, settings, {}, (0.0, 0.0))
    record = dataclasses.replace(record, fit=member.task.fit)
    if record.status == "stopped":
        return FittedMember(member.owner, record, None, None)
    # Of hidden sites those that the study has draws of: what is not run there is not run here.
    kept = {site.name for site in kept_sites(fitted.batch, sampler.keep)}
    hidden = [site.name for site in fitting.likelihood.hidden if site.name in kept]
    tree = posterior_file.as_tree(fit_record.datasets(fitted, number, hidden))
    result = FitResult(member.task, record, tree, health_of(record, tree))
    leave = partial(warm_start_of, member.task.rows, fitted.draws, number)
    return FittedMember(member.owner, record, result, leave)


def _in_order(
    one: DataSet, found: Mapping[str, FittedMember], sources: Mapping[str, str]
) -> StudyFits:
    recorded: dict[str, FitRecord] = {}
    done: dict[str, FitResult] = {}
    for task in one.fitted:
        source = found[sources[task.fit]]
        recorded[task.fit] = dataclasses.replace(source.record, fit=task.fit)
        if source.result is not None:
            done[task.fit] = source.result._replace(task=task, record=recorded[task.fit])
    return StudyFits(list(one.tasks), recorded, done)
