"""How well the integrals over units are known that draws of what units share were sampled with.

Integrals with other random numbers give another density. Where it weighs the draws very differently, these depend on
the random numbers.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from scalecheck.laplace import importance_draws, unit_summaries
from scalecheck.laplace.marginal_density import Integrated, MarginalDensity, are_many_lost
from scalecheck.laplace.population import PopulationMode

# Draws that are audited.
_AUDITED = 400
# Posterior sds by which a mean may move, and by how much the logarithm of an sd; share of draws that has to be
# effective. Both sets of random numbers err, so that one of them is off by less.
_FARTHEST, _FEWEST_EFFECTIVE = 0.25, 0.5
# Share of units that may have another mode that is left out.
_MOST_MISSED = 0.01


class IntegralAudit(NamedTuple):
    """How well the integrals are known that a fit was sampled with.

    Attributes
    ----------
    shift
        How far the mean of a parameter moves at most, in posterior sds, where draws of the fit have the weights that
        integrals with other random numbers give them.
    log_sd
        The same of the logarithm of a posterior sd.
    effective
        Share of these draws that is effective with those weights.
    fewest
        Smallest effective number of a unit's draws, over units and these draws.
    lost, missed
        Pairs of a unit and a draw without a mode and with few effective draws; units with another mode that the draws
        of their integrals hardly reach.
    is_lost, is_missed
        Whether these are too many.
    """

    shift: float
    log_sd: float
    effective: float
    fewest: float
    lost: int
    missed: int
    is_lost: bool
    is_missed: bool

    @property
    def reason(self) -> str:
        """Why the draws cannot be used; empty where they can."""
        if self.is_missed:
            return f"units with another mode that their integrals leave out: {self.missed:,}"
        if self.is_lost:
            return f"pairs of a unit and a draw without a mode around which to integrate: {self.lost:,}"
        is_near = self.shift <= _FARTHEST and self.log_sd <= _FARTHEST
        if not (is_near and self.effective >= _FEWEST_EFFECTIVE):
            return (
                "the integrals over units are not known well enough: with other random numbers a mean moves by"
                f" {self.shift:.2f} posterior sds, an sd by a factor of {math.exp(self.log_sd):.2f}, and"
                f" {self.effective:.0%} of the draws are effective"
            )
        return ""

    def in_words(self) -> str:
        """Say it in one line."""
        if self.reason:
            return self.reason
        return (
            f"units integrated out: with other random numbers means move by at most {self.shift:.2f} posterior sds,"
            f" sds by a factor of {math.exp(self.log_sd):.2f} ({self.effective:.0%} of the draws effective)"
        )


def audit_integrals(
    marginal: MarginalDensity, mode: PopulationMode, thetas: Float[np.ndarray, "draw d"]
) -> IntegralAudit:
    """Integrate the units at some draws with the random numbers that they were sampled with, and with others."""
    chosen = thetas[np.linspace(0, len(thetas) - 1, min(_AUDITED, len(thetas))).astype(int)]
    sampled, again = (_integrate(marginal, mode, chosen, numbers) for numbers in (0, 1))
    off = again.corrected - sampled.corrected
    weights = importance_draws.smooth(off)
    mean, covariance = weights.moments(chosen)
    sd = chosen.std(axis=0)
    shift = np.abs(mean - chosen.mean(axis=0)) / sd
    log_sd = np.abs(np.log(np.sqrt(np.diag(covariance)) / sd))
    # What is no number has no weight, which would look as if the others agreed.
    effective = weights.effective / len(chosen) if np.isfinite(off).all() else 0.0
    lost, n_units = int(again.lost.sum()), marginal.n_units
    missed = unit_summaries.missed_masses(marginal, mode.theta)
    n_missed = int(unit_summaries.has_other_mode(missed).sum())
    return IntegralAudit(
        float(shift.max()),
        float(log_sd.max()),
        effective,
        float(again.fewest.min()),
        lost,
        n_missed,
        are_many_lost(lost, len(chosen) * n_units),
        n_missed > _MOST_MISSED * n_units,
    )


def _integrate(
    marginal: MarginalDensity,
    mode: PopulationMode,
    thetas: Float[np.ndarray, "draw d"],
    again: int,
) -> Integrated:
    parts = marginal.each(
        lambda number: marginal.integrate(number, thetas, mode.theta, again),
        range(len(marginal.blocks)),
    )
    return marginal.add_up(Integrated(*map(np.stack, zip(*parts, strict=True))), thetas)
