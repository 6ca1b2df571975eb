"""What increments took, read from their records for the forecast of a fit that starts cold or as the last one did.

An increment that starts warm has a short warmup from a step size that is known. What a cold warmup takes, per
iteration and over what is taken after it, is learnt from the cold fits there are: the first increment and
audits. That ratio grows with the rows where units have parameters of their own: posteriors of what all share narrow,
those of units do not, and warmup begins with a metric that knows nothing of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

NDArray = np.ndarray
Records = Sequence[Mapping[str, Any]]

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

    rows: NDArray
    warmup: NDArray
    sampling: NDArray
    times: NDArray
    n_warmup: int
    n_draws: int


class Timings(NamedTuple):
    """Seconds of the same increments; all `(fit,)`.

    Attributes
    ----------
    padded_rows
        Rows with what pads small fits.
    alone
        Seconds of one gradient, timed apart on the fit's own rows.
    starting, running
        Seconds of import and compilation, and of all iterations.
    gradients
        That were computed in these iterations, whatever became of them.
    """

    padded_rows: NDArray
    alone: NDArray
    starting: NDArray
    running: NDArray
    gradients: NDArray


def taken(recorded: Records, n_rows: int, *, cold: bool = True) -> tuple[IncrementCosts, Timings] | None:
    """Gather what increments took; None where too few can be used to forecast with.

    Parameters
    ----------
    recorded
        Records of increments, in growing order; those that were skipped or cannot be used are left out.
    n_rows
        Of the fit to forecast.
    cold
        Whether that fit starts cold, or as the last increment did.
    """
    good = [one for one in recorded if one["status"] == "done" and one["usable"]]
    good = [one for one in good if sum(one["gradients"]["sampling"])]
    if len(good) < FEWEST:
        return None
    asked = good[0]["settings"]["sampler"]
    n_warmup = asked["warmup"] if cold else good[-1]["warmup"]
    draws, sampling = column(good, "draws"), _leapfrogs(good, "sampling")
    effort = IncrementCosts(
        rows=column(good, "rows"),
        warmup=_leapfrogs(good, "warmup") / column(good, "warmup")[:, None],
        sampling=sampling / draws[:, None],
        times=draws / asked["draws"],
        n_warmup=n_warmup,
        n_draws=asked["draws"],
    )
    if any(one["warmup"] != n_warmup for one in good):
        alike = [one for one in _fits(recorded) if one["warmup"] == n_warmup]
        effort = effort._replace(warmup=_ratio(alike, n_rows) * effort.sampling)
    seconds = [one["seconds"] for one in good]
    timings = Timings(
        padded_rows=column(good, "padded_rows"),
        alone=column(good, "seconds_per_gradient"),
        starting=column(seconds, "import") + column(seconds, "compile"),
        running=column(seconds, "warmup") + column(seconds, "sampling"),
        gradients=np.array([sum(map(sum, one["gradients"].values())) for one in good], float),
    )
    return effort, timings


def _fits(recorded: Records) -> list[Mapping[str, Any]]:
    """Increments, those that cannot be used among them, and their audits, which are cold."""
    done = [one for one in recorded if one["status"] == "done"]
    audits = [
        {**one, **one["audit"], "warmup": one["settings"]["sampler"]["warmup"]}
        for one in done
        if one.get("audit")
    ]
    return [one for one in [*done, *audits] if one["draws"] and sum(one["gradients"]["sampling"])]


def _ratio(fits: Records, n_rows: int) -> float:
    """Leapfrogs per iteration of warmup over those after it, in a fit of so many rows that starts as these did."""
    if not fits:  # the first was stopped or is missing: as if warmup were no dearer
        return 1.0
    warmup = _leapfrogs(fits, "warmup") / column(fits, "warmup")[:, None]
    sampling = _leapfrogs(fits, "sampling") / column(fits, "draws")[:, None]
    seen = np.log2(warmup / sampling).mean(axis=1)
    x = np.log2(column(fits, "rows"))
    off = x - x.mean()
    of_units = any(one["unit_parameters"] for one in fits)
    prior, weight = (_SLOPE_OF_UNITS if of_units else _SLOPE), (_RATIO_SD / _SLOPE_SD) ** 2
    slope = (off @ seen + weight * prior) / (off @ off + weight)
    return float(2 ** (seen.mean() + slope * (np.log2(n_rows) - x.mean())))


def _leapfrogs(recorded: Records, phase: str) -> NDArray:
    return np.array([one["gradients"][phase] for one in recorded], dtype="float64")


def column(rows: Records, name: str) -> NDArray:
    """Give one number of each record, `(fit,)`."""
    return np.array([row[name] for row in rows], dtype="float64")
