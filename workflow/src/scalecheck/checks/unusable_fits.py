"""Fits that cannot be used, and why, in one sentence for each cause."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from scalecheck.checks.divergences import BIASED
from scalecheck.diagnostics import HIGHEST_RHAT, write_rhat

# Cause of a fit that cannot be used because integrals over its units are not known, beside `convergence.CAUSES`.
INTEGRALS = "integrals"


class UnusableFit(NamedTuple):
    """Why a fit cannot be used.

    Attributes
    ----------
    reason
        The whole of it: what was measured, what is the matter, what to do.
    cause, advice
        What is the matter, as `convergence.CAUSES` names it, and the sentence on it; empty of a fit
        that ended without draws.
    worst
        The parameter that was measured.
    rhat, ess
        Highest and lowest of the fit.
    """

    reason: str
    cause: str = ""
    worst: str = ""
    advice: str = ""
    rhat: float = math.nan
    ess: float = math.nan


def describe_unusable(fits: Mapping[str, UnusableFit], n_fits: int | None = None) -> str:
    """Say why fits cannot be used: one sentence for each cause, with the number of its fits.

    Parameters
    ----------
    fits
        By name.
    n_fits
        How many fits there are; None where that is not known.
    """
    groups: dict[str, dict[str, UnusableFit]] = {}
    for name, fit in fits.items():
        groups.setdefault(fit.cause or _kind(fit.reason), {})[name] = fit
    by_size = sorted(groups.values(), key=len, reverse=True)
    return "; ".join(_sentence(group, n_fits) for group in by_size)


def _kind(reason: str) -> str:
    """Tell reasons of fits without draws apart by what to do: their last clause; the numbers before it differ."""
    return reason.rsplit(": ", 1)[-1]


def _sentence(group: Mapping[str, UnusableFit], n_fits: int | None) -> str:
    # `max` takes the first of equals, and no NaN is larger.
    worst = max(group, key=lambda name: (_far(group[name].rhat), -_far(group[name].ess)))
    if len(group) == 1:
        return f"{worst}: {group[worst].reason}"
    count = f"{len(group)} of {n_fits} fits" if n_fits else f"{len(group)} fits"
    if not group[worst].advice or group[worst].cause in (BIASED, INTEGRALS):
        # What was measured is neither R-hat nor ESS.
        return f"{count}, as {worst}: {group[worst].reason}"
    same = len({fit.advice for fit in group.values()}) == 1
    where = "" if same else f"in {worst}, the worst, "
    return f"{count}: {_measured(group)}: {where}{group[worst].advice}"


def _far(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _measured(group: Mapping[str, UnusableFit]) -> str:
    """Give the range of what was measured."""
    names = {fit.worst for fit in group.values()}
    if len(names) > 1:
        names = {name.split("[")[0] for name in names}  # of one site
    of = f" of {names.pop()}" if len(names) == 1 else ""
    if all(fit.rhat <= HIGHEST_RHAT for fit in group.values()):
        ess = sorted(fit.ess for fit in group.values())
        return f"{'ESS' + of if of else 'the lowest ESS'} is {_range(f'{ess[0]:.0f}', f'{ess[-1]:.0f}')}"
    rhat = sorted(fit.rhat for fit in group.values())
    return f"{'R-hat' + of if of else 'the highest R-hat'} is {_range(write_rhat(rhat[0]), write_rhat(rhat[-1]))}"


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"
