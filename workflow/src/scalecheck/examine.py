"""Run the families of checks over the fits of a study, and look at each increment as it ends."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from scalecheck import culprits
from scalecheck.checks import agreement, drift, heterogeneity, surprise
from scalecheck.checks.finding import NOTABLE, Finding, not_run
from scalecheck.checks.moments import Moments, Prior
from scalecheck.evidence import MOST_PREDICTED, Evidence
from scalecheck.plan import PlannedFit, Slice
from scalecheck.program import Log
from scalecheck.results import FitResult, Study, estimates_table, fits_table, moments, read_study
from scalecheck.study import DataSettings, IncrementSettings
from scalecheck.verdict import is_strong_alone

NDArray = np.ndarray

FAMILIES = ("agreement", "heterogeneity", "drift", "surprise")
TIME_BLOCKS = 8


class Examined(NamedTuple):
    """What the checks found: findings before their error rates are combined, and tidy tables by name."""

    findings: list[Finding]
    tables: dict[str, pd.DataFrame]


def examine(
    evidence: Evidence, data: DataSettings, increments: IncrementSettings, log: Log
) -> Examined:
    """Run every family of checks on a study whose fits are done."""
    with jax.enable_x64(True):
        return _examine(evidence, data, increments, log)


def _examine(
    evidence: Evidence, data: DataSettings, increments: IncrementSettings, log: Log
) -> Examined:
    study = read_study(evidence.folder, increments.order)
    for fit in study.done.values():
        if not fit.health.usable:
            log(f"{fit.task.fit} cannot be used: {fit.health.reason}")
    prior = evidence.prior()
    agreed = check_agreement(evidence, study, prior)
    dispersion = agreed.findings[0].effect.value if agreed.findings[0].effect else 1.0
    parts = [
        agreed,
        check_heterogeneity(evidence, study, data, increments),
        check_drift(evidence, study, prior, dispersion),
        check_surprise(evidence, study),
    ]
    for part in parts:
        for finding in part.findings:
            log(f"{finding.family}: p = {finding.p}: {finding.message}")
    tables = {name: table for part in parts for name, table in part.tables.items()}
    tables["fits"] = fits_table(study)
    tables["estimates"] = estimates_table(study, list(evidence.vector.shapes))
    return Examined([finding for part in parts for finding in part.findings], tables)


def _names(evidence: Evidence) -> tuple[str, ...]:
    return evidence.vector.names


def check_agreement(evidence: Evidence, study: Study, prior: Prior) -> Examined:
    """Do random subsets agree?"""
    subsets = study.usable("subset")
    planned = [task for task in study.tasks if task.kind == "subset"]
    names = [fit.task.fit for fit in subsets]
    if len(subsets) < 3:
        reason = f"fewer than 3 of {len(planned)} random subsets have a usable posterior"
        return Examined([not_run("agreement", reason, weight=1.0)], {"agreement": pd.DataFrame()})
    pooled = moments(subsets)
    finding, table = agreement.check(pooled, prior, names=_names(evidence), fits=names)
    if finding.p is not None and finding.p < NOTABLE:
        finding = culprits.name(finding, evidence, subsets, pooled)
    return Examined([finding], {"agreement": table})


def check_heterogeneity(
    evidence: Evidence, study: Study, data: DataSettings, increments: IncrementSettings
) -> Examined:
    """Does a parameter change along an axis, or as data arrive?"""
    axes = list(data.axes)
    time = ["arrival"] if increments.order == "arrival" else []
    weight = 1 / max(1, len(axes) + len(time))
    results = [_along_axis(evidence, study, axis, weight) for axis in axes]
    results += [_along_time(evidence, study, data.order or "arrival", weight) for _ in time]
    if not results:
        return Examined(
            [not_run("heterogeneity", "data.axes names no axis", weight=1.0)],
            {"heterogeneity": pd.DataFrame()},
        )
    tables = [table for _, table in results if len(table)]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return Examined([finding for finding, _ in results], {"heterogeneity": table})


def _along_axis(
    evidence: Evidence, study: Study, axis: str, weight: float
) -> tuple[Finding, pd.DataFrame]:
    kind = "misfit" if axis in evidence.model.covariates else "heterogeneous"
    tasks = [task for task in study.tasks if task.axis == axis]
    pooled_task = next(task for task in tasks if task.kind == "axis")
    where = {"axis": axis, "fit": pooled_task.fit, "weight": weight}
    pooled = study.done[pooled_task.fit]
    if not pooled.health.usable:
        reason = f"the pooled fit {pooled_task.fit} cannot be used: {pooled.health.reason}"
        return not_run("heterogeneity", reason, **where), pd.DataFrame()
    if reason := evidence.no_row_checks():
        return not_run("heterogeneity", reason, **where), pd.DataFrame()
    levels = [task for task in tasks if task.kind == "level"]
    codes = np.repeat(np.arange(len(levels)), [task.rows for task in levels])
    values = evidence.columns(pooled_task.slices)
    theta = moments([pooled])
    return heterogeneity.check(
        axis,
        [task.level for task in levels],
        evidence.scores(values, codes, theta.mean[0]),
        theta,
        _level_moments(study, levels, len(_names(evidence))),
        names=_names(evidence),
        fits=[pooled_task.fit, *(task.fit for task in levels)],
        weight=weight,
        kind=kind,
        ordered=False,
        rng=evidence.rng(f"heterogeneity {axis}"),
    )


def _level_moments(study: Study, levels: Sequence[PlannedFit], d: int) -> Moments:
    """Moments of each level; NaN where its fit cannot be used, which only the picture needs."""
    parts: list[Moments] = []
    for task in levels:
        fit = study.done[task.fit]
        nan = Moments(np.full((1, d), np.nan), np.full((1, d, d), np.nan), np.full(1, np.nan))
        parts.append(moments([fit]) if fit.health.usable else nan)
    return Moments(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _along_time(
    evidence: Evidence, study: Study, name: str, weight: float
) -> tuple[Finding, pd.DataFrame]:
    """Equal blocks of the largest increment, in order of arrival."""
    usable = study.usable("increment")
    reason = evidence.no_row_checks() if usable else "no increment has a usable posterior"
    if reason:
        return not_run("heterogeneity", reason, axis=name, weight=weight), pd.DataFrame()
    pooled = usable[-1]
    n_rows = pooled.task.rows
    n_blocks = min(TIME_BLOCKS, n_rows)
    blocks = np.arange(n_rows) * n_blocks // n_rows
    edges = np.flatnonzero(np.diff(blocks, prepend=-1, append=n_blocks))
    labels = [f"rows {a + 1} to {b}" for a, b in zip(edges[:-1], edges[1:], strict=True)]
    theta = moments([pooled])
    return heterogeneity.check(
        name,
        labels,
        evidence.scores(evidence.columns(pooled.task.slices), blocks, theta.mean[0]),
        theta,
        None,
        names=_names(evidence),
        fits=[pooled.task.fit],
        weight=weight,
        kind="heterogeneous",
        ordered=True,
        rng=evidence.rng("heterogeneity over time"),
    )


def check_drift(evidence: Evidence, study: Study, prior: Prior, dispersion: float) -> Examined:
    """Do nested increments move more than they should?"""
    fits = study.usable("increment")
    looks = sum(task.kind == "increment" for task in study.tasks) - 1
    if len(fits) < 2:
        return Examined(
            [not_run("drift", "fewer than 2 increments have a usable posterior", weight=1.0)],
            {"drift": pd.DataFrame()},
        )
    findings, table = drift.check(
        moments(fits),
        [fit.task.rows for fit in fits],
        prior,
        names=_names(evidence),
        fits=[fit.task.fit for fit in fits],
        dispersion=dispersion,
        looks=looks,
    )
    return Examined(findings, {"drift": table})


def check_surprise(evidence: Evidence, study: Study) -> Examined:
    """Is each new block of rows surprising under the posterior before it?"""
    fits = study.usable("increment")
    looks = sum(task.kind == "increment" for task in study.tasks) - 1
    reason = evidence.no_predictions() or (
        "" if len(fits) > 1 else "fewer than 2 increments have a usable posterior"
    )
    if reason:
        return Examined([not_run("surprise", reason, weight=1.0)], {"surprise": pd.DataFrame()})
    results = [
        surprise_step(evidence, before, after, 1 / looks)
        for before, after in zip(fits[:-1], fits[1:], strict=True)
    ]
    table = pd.concat([table for _, table in results], ignore_index=True)
    return Examined([finding for finding, _ in results], {"surprise": table})


def surprise_step(
    evidence: Evidence, before: FitResult, after: FitResult, weight: float
) -> tuple[Finding, pd.DataFrame]:
    """Rank the rows that are new in an increment among their predictions from the one before."""
    rng = evidence.rng(f"surprise {after.task.fit}")
    order = after.task.slices[0].order
    values = evidence.columns([Slice(order, before.task.rows, after.task.rows)])
    n_new = after.task.rows - before.task.rows
    if n_new > MOST_PREDICTED:
        chosen = np.sort(rng.choice(n_new, MOST_PREDICTED, replace=False))
        values = {name: column[chosen] for name, column in values.items()}
    outcome, replicates, log_scores = evidence.predictions(before, values, rng)
    return surprise.check(
        outcome,
        replicates,
        log_scores,
        fit=after.task.fit,
        rows_before=before.task.rows,
        rows_after=after.task.rows,
        fits=(before.task.fit, after.task.fit),
        weight=weight,
        rng=rng,
    )


def look(evidence: Evidence, before: FitResult, after: FitResult, looks: int, alpha: float) -> str:
    """Look at an increment as it ends: the reason to stop, or nothing.

    Only findings that the whole study is bound to call strong stop the chain: adjusted as if every
    family were tested on its own (Bonferroni), which bounds Holm's adjustment from above.
    """
    if not (before.health.usable and after.health.usable):
        return ""
    with jax.enable_x64(True):
        findings = _step_findings(evidence, before, after, looks)
    strong = [finding for finding in findings if is_strong_alone(finding, len(FAMILIES), alpha)]
    return strong[0].message if strong else ""


def _step_findings(
    evidence: Evidence, before: FitResult, after: FitResult, looks: int
) -> list[Finding]:
    step = drift.check_step(
        moments([before]),
        moments([after]),
        before.task.rows,
        after.task.rows,
        evidence.prior(),
        names=_names(evidence),
        fits=(before.task.fit, after.task.fit),
        dispersion=1.0,
        weight=drift.step_weight(looks),
    )
    if evidence.no_predictions():
        return [step]
    return [step, surprise_step(evidence, before, after, 1 / looks)[0]]
