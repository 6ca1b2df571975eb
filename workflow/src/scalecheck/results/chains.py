"""How fits ran, as the arrays that the checks of their cost take."""

from collections.abc import Sequence

import numpy as np

from scalecheck.checks import divergences
from scalecheck.checks.chain_table import Chains, ChainWindow
from scalecheck.checks.effort import Effort
from scalecheck.checks.scaling import Growth
from scalecheck.checks.warm_start_audit import Audit
from scalecheck.files.record import RecordedAudit
from scalecheck.results.study_fits import FitResult, capped_of, sampling_of
from scalecheck.study.settings import Study, freeze


def effort_of(fits: Sequence[FitResult]) -> Effort:
    """What some fits took after warmup."""
    return Effort(
        [fit.task.fit for fit in fits],
        [fit.task.level for fit in fits],
        timed_rows(fits),
        _leapfrogs(fits),
        np.array([np.mean(fit.record.step_size) for fit in fits]),
        seconds_per_gradient(fits),
        np.array([fit.health.usable for fit in fits], dtype=bool),
    )


def growth_of(fits: Sequence[FitResult]) -> Growth:
    """What increments took after warmup."""
    return Growth(
        [fit.task.fit for fit in fits],
        np.array([fit.task.rows for fit in fits]),
        _leapfrogs(fits),
        np.array([fit.health.usable for fit in fits], dtype=bool),
    )


def _leapfrogs(fits: Sequence[FitResult]) -> np.ndarray:
    """`(fit, chain)` mean per iteration, over all draws: also those beyond `sampler.draws`."""
    found = [_statistic(fit, "n_steps").mean(axis=1) for fit in fits]
    return np.stack(found) if found else np.empty((0, 1))


def chains_of(fit: FitResult) -> Chains:
    """How the chains of a fit ran."""
    settings = freeze(Study, fit.record.settings).sampler
    return Chains(
        fit.task.fit,
        fit.task.kind,
        sampling_of(fit.record, fit.tree),
        _windows(fit),
        settings.target_accept,
        float(settings.max_tree_depth),
        _audit(fit.record.audit),
        fit.record.parameters,
        len(fit.record.discarded),
        capped_of(fit.record),
        fit.health.reason,
        fit.health.advice,
        divergences.describe_divergences(fit.record),
    )


def _audit(found: RecordedAudit | None) -> Audit | None:
    """Give how a warm fit compares with a cold one; None where the cold one was stopped."""
    if found is None or found.p is None:
        return None
    return Audit(*(getattr(found, name) for name in Audit._fields))


def _windows(fit: FitResult) -> list[ChainWindow]:
    stops = [window.stop for window in fit.record.windows]
    n_steps, diverging = (
        np.split(_statistic(fit, name, "warmup_sample_stats"), stops, axis=1)[:-1]
        for name in ("n_steps", "diverging")
    )
    return [
        ChainWindow(
            window.stop,
            np.array(window.step_size),
            np.array(window.acceptance_rate),
            np.array(window.inverse_mass_matrix),
            *seen,
        )
        for window, *seen in zip(fit.record.windows, n_steps, diverging, strict=True)
    ]


def _statistic(fit: FitResult, name: str, group: str = "sample_stats") -> np.ndarray:
    return fit.tree[group][name].to_numpy()


def seconds_per_gradient(fits: Sequence[FitResult]) -> np.ndarray:
    """Of one chain on the rows of each fit as they are padded, `(fit,)`; NaN where it was not timed."""
    return np.array([fit.record.seconds_per_gradient for fit in fits], dtype="float64")


def timed_rows(fits: Sequence[FitResult]) -> np.ndarray:
    """Rows `(fit,)` on which gradients were timed: with those that pad."""
    return np.array([fit.record.padded_rows for fit in fits])
