"""What increments took, read from their records for the forecast of a fit that starts cold or as the last one did.

An increment that starts warm has a short warmup from a step size that is known. What a cold warmup takes, per
iteration and over what is taken after it, is learnt from the cold fits there are: the first increment and
audits. That ratio grows with the rows where units have parameters of their own: posteriors of what all share narrow,
those of units do not, and warmup begins with a metric that knows nothing of it.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from scalecheck.files.record import FitRecord
from scalecheck.study.settings import SamplerSettings, Study, freeze

FEWEST = 2
# Of the ratio's logarithm to base 2, by doubling of the rows: its slope a priori, without and with parameters of
# units, the error of that, and the error of the ratio of one fit. Chosen on seeds 1 to 6 of
# tests/benchmarks/forecast.py, that coverage is not counted on.
_SLOPE, _SLOPE_OF_UNITS, _SLOPE_SD, _RATIO_SD = 0.03, 0.3, 0.05, 0.15


class IncrementCosts(NamedTuple):
    """Leapfrogs of usable increments, in growing order.

    Attributes
    ----------
    rows
        `(fit,)`.
    warmup, sampling
        `(fit, chain)` leapfrogs per iteration of warmup and after it: of a warmup as the fit to forecast has it.
    times
        `(fit,)` draws taken over those asked for, 1 to 4.
    n_warmup, n_draws
        Iterations per chain that the settings ask for.
    """

    rows: np.ndarray
    warmup: np.ndarray
    sampling: np.ndarray
    times: np.ndarray
    n_warmup: int
    n_draws: int


class Timings(NamedTuple):
    """Seconds of the same increments; all `(fit,)`.

    Attributes
    ----------
    padded_rows
        Rows with what pads small fits.
    alone
        Seconds of one gradient, timed apart on these.
    starting, running
        Seconds of import and compilation, and of all iterations.
    gradients
        That were computed in these iterations, whatever became of them.
    """

    padded_rows: np.ndarray
    alone: np.ndarray
    starting: np.ndarray
    running: np.ndarray
    gradients: np.ndarray


def taken(
    recorded: Sequence[FitRecord], n_rows: int, *, cold: bool = True
) -> tuple[IncrementCosts, Timings] | None:
    """Gather what increments took; None where too few can be used to forecast with, or none was timed.

    Parameters
    ----------
    recorded
        Records of increments, in growing order; those that were skipped or cannot be used are left out.
    n_rows
        Of the fit to forecast.
    cold
        Whether that fit starts cold, or as the last increment did.
    """
    good = [one for one in recorded if one.status == "done" and one.usable]
    good = [one for one in good if sum(one.gradients.sampling)]
    if len(good) < FEWEST or not any(one.seconds_per_gradient for one in good):
        return None
    asked = _sampler_of(good[0])
    n_warmup = asked.warmup if cold else good[-1].warmup
    warmup, sampling = _per_iteration(good)
    effort = IncrementCosts(
        rows=_floats(one.rows for one in good),
        warmup=warmup,
        sampling=sampling,
        times=_floats(one.draws for one in good) / asked.draws,
        n_warmup=n_warmup,
        n_draws=asked.draws,
    )
    if any(one.warmup != n_warmup for one in good):
        alike = [one for one in _fits(recorded) if one.warmup == n_warmup]
        effort = effort._replace(warmup=_ratio(alike, n_rows) * effort.sampling)
    seconds = [one.seconds for one in good]
    timings = Timings(
        padded_rows=_floats(one.padded_rows for one in good),
        alone=_floats(one.seconds_per_gradient for one in good),
        starting=_floats(one["import"] + one["compile"] for one in seconds),
        running=_floats(one["warmup"] + one["sampling"] for one in seconds),
        gradients=_floats(one.gradients.total for one in good),
    )
    return effort, timings


def _sampler_of(record: FitRecord) -> SamplerSettings:
    return freeze(Study, record.settings).sampler


def _fits(recorded: Sequence[FitRecord]) -> list[FitRecord]:
    """Increments, those that cannot be used among them, and their audits, which are cold."""
    done = [one for one in recorded if one.status == "done"]
    audits = [
        dataclasses.replace(
            one,
            warmup=_sampler_of(one).warmup,
            gradients=one.audit.gradients,
            draws=one.audit.draws,
        )
        for one in done
        if one.audit
    ]
    return [one for one in [*done, *audits] if one.draws and sum(one.gradients.sampling)]


def _ratio(fits: Sequence[FitRecord], n_rows: int) -> float:
    """Leapfrogs per iteration of warmup over those after it, in a fit of so many rows that starts as these did."""
    if not fits:  # the first was stopped or is missing: as if warmup were no dearer
        return 1.0
    warmup, sampling = _per_iteration(fits)
    seen = np.log2(warmup / sampling).mean(axis=1)
    x = np.log2(_floats(one.rows for one in fits))
    off = x - x.mean()
    of_units = any(one.unit_parameters for one in fits)
    prior, weight = (_SLOPE_OF_UNITS if of_units else _SLOPE), (_RATIO_SD / _SLOPE_SD) ** 2
    slope = (off @ seen + weight * prior) / (off @ off + weight)
    return float(2 ** (seen.mean() + slope * (np.log2(n_rows) - x.mean())))


def _per_iteration(fits: Sequence[FitRecord]) -> tuple[np.ndarray, np.ndarray]:
    """`(fit, chain)` leapfrogs of warmup and after it."""
    warmup = np.array([one.gradients.warmup for one in fits], dtype="float64")
    sampling = np.array([one.gradients.sampling for one in fits], dtype="float64")
    return (
        warmup / _floats(one.warmup for one in fits)[:, None],
        sampling / _floats(one.draws for one in fits)[:, None],
    )


def _floats(values: Iterable[float | None]) -> np.ndarray:
    return np.array(list(values), dtype="float64")
