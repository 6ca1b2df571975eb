"""The fits of a study as they ended, and their tables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from scalecheck import diagnostics
from scalecheck.checks import convergence, divergences
from scalecheck.checks.chain_table import Sampling
from scalecheck.checks.convergence import FailedFit
from scalecheck.checks.moments import Moments
from scalecheck.checks.unusable_fits import INTEGRALS, UnusableFit
from scalecheck.data.planned_fits import read_planned
from scalecheck.files import checksums, formats
from scalecheck.files.layout import StudyFolder
from scalecheck.files.record import FitRecord
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import Study, freeze

FIT_COLUMNS = ("status", "usable", "reason", "cause", "worst", "advice")
FIT_COLUMNS += ("iterations", "leapfrogs_per_iteration")
FIT_COLUMNS += ("gradients_warmup", "gradients_sampling", "padded_rows", "seconds_per_gradient")
FIT_COLUMNS += ("seconds_compile", "seconds_warmup", "seconds_sampling", "capped", "restarts")
FIT_COLUMNS += ("step_size", "divergences", "depth_saturated", "rhat_max", "ess_min", "e_bfmi_min")


class FitResult(NamedTuple):
    """A fit that was done.

    Attributes
    ----------
    task
        As planned.
    record
        Its record.
    tree
        Its posterior.
    health
        Whether it can be used.
    """

    task: PlannedFit
    record: FitRecord
    tree: xr.DataTree
    health: diagnostics.Health

    @property
    def z(self) -> np.ndarray:
        """Compared parameters, unconstrained, `(chain, draw, d)`."""
        return self.tree["unconstrained_posterior"]["z"].to_numpy().astype("float64")

    @property
    def in_arrival_order(self) -> bool:
        """Whether its rows come as they arrived, so that the number of a row is a time."""
        return self.task.slices[0].order == "arrival"


def read_fit(folder: StudyFolder, task: PlannedFit, record: FitRecord) -> FitResult:
    """Read a fit that was done, and assess it."""
    tree = checksums.read_posterior(folder, record)
    return FitResult(task, record, tree, health_of(record, tree))


def health_of(record: FitRecord, tree: xr.DataTree) -> diagnostics.Health:
    """Assess a fit that was done; say of one that cannot be used what is the matter."""
    z = tree["unconstrained_posterior"]["z"].to_numpy()
    sampling = sampling_of(record, tree)
    health = diagnostics.assess(z, sampling.energy, record.parameters)
    if health.usable:
        return _unless_unknown(_unless_biased(health, record), record)
    settings = freeze(Study, record.settings).sampler
    failed = FailedFit(
        record.parameters, z, sampling, float(settings.max_tree_depth), settings.draws
    )
    health = convergence.explain(health, failed)
    if not capped_of(record):
        return _with_smaller_steps(health, record)
    # What was left out is the likeliest remedy of slow chains, and of no others.
    if health.cause == "slow":
        measured = health.reason.removesuffix(health.advice)
        health = health._replace(advice="raise sampler.max_gradients", cause="capped")
        health = health._replace(reason=measured + health.advice)
    return health._replace(reason=f"{capped_of(record)}; {health.reason}")


def _unless_biased(health: diagnostics.Health, record: FitRecord) -> diagnostics.Health:
    """Refuse a fit whose estimates are known to be wrong: smaller steps gave others."""
    refit = record.refit
    if refit is None or divergences.bias_of(record) != "yes":
        return health
    return health._replace(
        reason=divergences.describe_divergences(record),
        worst=divergences.worst_move(refit).parameter,
        cause=divergences.BIASED,
        advice=divergences.advice_on(refit),
    )


def _unless_unknown(health: diagnostics.Health, record: FitRecord) -> diagnostics.Health:
    """Refuse a fit whose integrals over units are not known."""
    if not health.usable or record.integrals is None or not record.integrals.reason:
        return health
    advice = "leave sampler.marginalise out"
    reason = f"{record.integrals.reason}: {advice}"
    return health._replace(reason=reason, cause=INTEGRALS, advice=advice)


def _with_smaller_steps(health: diagnostics.Health, record: FitRecord) -> diagnostics.Health:
    """Say of chains that are slow that smaller steps mend them, where they were tried and did."""
    refit = record.refit
    if health.cause != "slow" or refit is None or not divergences.mends(refit):
        return health
    measured = health.reason.removesuffix(health.advice)
    advice = (
        f"{sum(record.divergences)} divergences hold up the chains, which converge with smaller steps:"
        f" {divergences.advice_on(refit)}"
    )
    return health._replace(reason=measured + advice, advice=advice, cause="divergent")


def sampling_of(record: FitRecord, tree: xr.DataTree) -> Sampling:
    """Give what the chains of a fit did after warmup."""
    seen = {name: values.to_numpy() for name, values in tree["sample_stats"].data_vars.items()}
    return Sampling(
        potential=-seen["lp"].astype("float64"),
        energy=seen["energy"].astype("float64"),
        n_steps=seen["n_steps"],
        acceptance_rate=seen["acceptance_rate"],
        diverging=seen["diverging"],
        step_size=np.array(record.step_size),
    )


def capped_of(record: FitRecord) -> str:
    """Give which chains of a fit took the most gradients that they may; empty where none did."""
    return record.capped.reason if record.capped else ""


def moments(fits: Sequence[FitResult]) -> Moments:
    """Posterior moments of some fits."""
    flat = [fit.z.reshape(-1, fit.z.shape[-1]) for fit in fits]
    return Moments(
        np.stack([draws.mean(axis=0) for draws in flat]),
        np.stack([np.cov(draws, rowvar=False).reshape(draws.shape[1], -1) for draws in flat]),
        np.array([fit.health.ess for fit in fits]),
    )


class StudyFits(NamedTuple):
    """The fits of a study as they ended.

    Attributes
    ----------
    tasks
        Every planned fit.
    recorded
        The record of each, by fit.
    done
        Those that were fitted, by fit.
    """

    tasks: list[PlannedFit]
    recorded: dict[str, FitRecord]
    done: dict[str, FitResult]

    @property
    def stopped(self) -> dict[str, str]:
        """Fits that were ended without draws, and why."""
        return {fit: one.reason for fit, one in self.recorded.items() if one.status == "stopped"}

    @property
    def unusable(self) -> dict[str, UnusableFit]:
        """Fits that ran and cannot be used, and why."""
        bad = {name: fit.health for name, fit in self.done.items() if not fit.health.usable}
        return {
            **{
                name: UnusableFit(*(getattr(one, key) for key in UnusableFit._fields))
                for name, one in bad.items()
            },
            **{name: UnusableFit(reason) for name, reason in self.stopped.items()},
        }

    def usable(self, kind: str, axis: str = "") -> list[FitResult]:
        """Fits of a kind whose posterior can be used, in plan order."""
        return [
            fit
            for fit in self.done.values()
            if (fit.task.kind, fit.task.axis) == (kind, axis) and fit.health.usable
        ]


def read_study_fits(folder: StudyFolder, order: str) -> StudyFits:
    """Read the plan and every fit."""
    tasks = read_planned(folder, order)
    recorded = {task.fit: checksums.read_record(folder, task.fit) for task in tasks}
    done = {
        task.fit: read_fit(folder, task, recorded[task.fit])
        for task in tasks
        if recorded[task.fit].status == "done"
    }
    return StudyFits(tasks, recorded, done)


def fits_table(study: StudyFits) -> pd.DataFrame:
    """Cost decomposition and health, one row per planned fit."""
    rows = [_fit_row(study, task) for task in study.tasks]
    return pd.DataFrame(rows, columns=[*formats.PLAN_COLUMNS, *FIT_COLUMNS])


def _fit_row(study: StudyFits, task: PlannedFit) -> Mapping[str, Any]:
    record = study.recorded[task.fit]
    if record.status != "done":
        ended = {"status": record.status, "usable": False, "reason": record.reason}
        return {**task.columns, **ended, **(_cost(record) if record.status == "stopped" else {})}
    health = study.done[task.fit].health
    statistics = study.done[task.fit].tree
    n_chains, n_draws = statistics["sample_stats"]["n_steps"].shape
    n_warmup = statistics["warmup_sample_stats"]["n_steps"].shape[1]
    return {
        **task.columns,
        "status": "done",
        "usable": health.usable,
        "reason": health.reason,
        **{name: getattr(health, name) for name in ("cause", "worst", "advice")},
        "iterations": n_chains * (n_warmup + n_draws),
        "leapfrogs_per_iteration": record.gradients.total / (n_chains * (n_warmup + n_draws)),
        **_cost(record),
        "capped": capped_of(record),
        "restarts": len(record.discarded),
        "step_size": float(np.mean(record.step_size)),
        "divergences": sum(record.divergences),
        "depth_saturated": record.depth_saturated,
        "rhat_max": health.rhat,
        "ess_min": health.ess,
        "e_bfmi_min": health.e_bfmi,
    }


def _cost(record: FitRecord) -> dict[str, Any]:
    return {
        "gradients_warmup": sum(record.gradients.warmup),
        "gradients_sampling": sum(record.gradients.sampling),
        "padded_rows": record.padded_rows,
        "seconds_per_gradient": record.seconds_per_gradient,
        **{f"seconds_{name}": record.seconds[name] for name in ("compile", "warmup", "sampling")},
    }


def estimates_table(study: StudyFits, sites: Sequence[str]) -> pd.DataFrame:
    """Every compared scalar of every fit, on the model's scale."""
    parts = [
        diagnostics.estimates(fit.tree["posterior"].to_dataset(), sites).assign(
            **{name: getattr(fit.task, name) for name in ("fit", "kind", "axis", "level", "rows")}
        )
        for fit in study.done.values()
    ]
    first = ["fit", "kind", "axis", "level", "rows", "parameter"]
    if not parts:
        return pd.DataFrame(columns=[*first, *diagnostics.ESTIMATES[1:]])
    table = pd.concat(parts, ignore_index=True)
    return table[first + [name for name in table.columns if name not in first]]
