"""Divergences after warmup: where they are, and whether they bias what is compared.

Where iterations diverge, chains may not get to see part of the posterior. How much that matters is seen in a second
fit of the same rows whose steps are smaller. Where its estimates are others, those of the first are wrong; where it
diverges as well, it does not tell.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Real
from scipy.stats import norm, rankdata

from scalecheck.checks.finding import rounded
from scalecheck.checks.two_samples import compare_samples
from scalecheck.diagnostics import INTERVAL
from scalecheck.files.record import DivergingRegion, FitRecord, Move, RecordedRefit

# Fewer are not worth a second fit. Take ten times as much of the posterior as diverges to be out of reach, 2 sds away:
# at this share of the draws means are off by 0.05 sds, the Monte Carlo error of 400 effective draws, which a fit needs.
LEAST_SHARE = 0.0025

# Posterior sds. Samples so far apart are chains that disagree: as two chains they would have an R-hat of 1.01 at 0.2
# sds, as twice four at 0.27. An sd that is a quarter too small or too large counts alike.
LARGEST_MOVE = 0.25
CLEAR = 0.01  # p, beyond which a move is no Monte Carlo error

# Between the ranks of diverging and other iterations, from -1 to 1: smaller differences are no place.
_NOTABLE_RANKS = 0.2
_CHANCE = 0.01

# Cause of a fit that cannot be used because its estimates are not those of smaller steps, beside `convergence.CAUSES`.
BIASED = "biased"

Bias = Literal["yes", "no", "unknown"]


# ---- where


def locate_divergences(
    diverging: Bool[np.ndarray, "chain draw"],
    scalars: Iterable[tuple[str, Real[np.ndarray, "chain draw"]]],
) -> DivergingRegion | None:
    """Find the scalar whose draws differ most between diverging and other iterations; None where none does clearly.

    They are compared by the difference of their mean ranks, and by that of the distances of ranks from the middle.

    Parameters
    ----------
    diverging
        `(chain, draw)`, whether an iteration diverged. What is known of it is the draw that it ended with.
    scalars
        Names and draws `(chain, draw)`, on the model's scale.
    """
    named = list(scalars)
    if not named or diverging.all() or not diverging.any():
        return None
    found = [
        (_rank_difference(diverging, ranks), near, number)
        for number, (_, values) in enumerate(named)
        for ranks, near in _rankings(values)
    ]
    difference, near, number = max(found, key=lambda one: abs(one[0]))
    if abs(difference) < max(_NOTABLE_RANKS, _by_chance(diverging, len(found))):
        return None
    name, values = named[number]
    low, high = _interval(values[diverging])
    others_low, others_high = _interval(values[~diverging])
    return DivergingRegion(
        parameter=name,
        near=near[int(difference > 0)],
        low=low,
        high=high,
        others_low=others_low,
        others_high=others_high,
    )


def _rankings(values: np.ndarray) -> Iterable[tuple[np.ndarray, tuple[str, str]]]:
    """Give ranks, and what draws of low and of high rank are near."""
    ranks = rankdata(values).reshape(values.shape)
    yield ranks, ("small values", "large values")
    folded = rankdata(np.abs(ranks - (ranks.size + 1) / 2)).reshape(values.shape)
    yield folded, ("the middle", "both ends")


def _rank_difference(diverging: np.ndarray, ranks: np.ndarray) -> float:
    """Rank-biserial correlation, from -1 to 1."""
    return float(2 * (ranks[diverging].mean() - ranks[~diverging].mean()) / ranks.size)


def _by_chance(diverging: np.ndarray, n_looks: int) -> float:
    """Largest difference of ranks by chance. Draws that diverge one after the other count as one."""
    begins = diverging & ~np.pad(diverging, ((0, 0), (1, 0)))[:, :-1]
    n_runs, n_others = int(begins.sum()), int((~diverging).sum())
    sd = np.sqrt((diverging.size + 1) / (3 * n_runs * n_others))
    return float(norm.isf(_CHANCE / (2 * n_looks)) * sd)


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return float(low), float(high)


# ---- whether they bias what is compared


def refit_target(target_accept: float) -> float:
    """Acceptance rate of a second fit: a quarter of what is left to 1, hence 0.95 for 0.8."""
    return 1 - (1 - target_accept) / 4


def largest_moves(
    first: Float[np.ndarray, "chain draw d"],
    second: Float[np.ndarray, "_ _ d"],
    names: Sequence[str],
) -> tuple[Move, Move]:
    """Give the mean and the sd that move most from one fit to another of the same rows; those that say bias first.

    Parameters
    ----------
    first, second
        Compared parameters `(chain, draw, d)`, unconstrained.
    names
        `(d,)`.
    """
    differences = compare_samples(first, second)
    n_looks = len(differences)
    mean, sd = (
        _first_to_say(
            Move(names[one.parameter], -one.gap, one.error, min(1.0, n_looks * one.p))
            for one in differences
            if one.statistic == statistic
        )
        for statistic in ("mean", "sd")
    )
    return mean, sd


def _first_to_say(moves: Iterable[Move]) -> Move:
    """Give the largest of those that say bias; where none does, the largest."""
    return max(moves, key=lambda one: (_says_bias(one), abs(one.gap)))


def _says_bias(move: Move) -> bool:
    return abs(move.gap) > LARGEST_MOVE and move.p < CLEAR


def bias_of(fit: FitRecord) -> Bias | None:
    """Whether divergences bias what is compared; None where a fit was not fitted again."""
    refit = fit.refit
    if refit is None:
        return None
    if refit.mean is None or refit.sd is None:
        return "unknown"
    moves = (refit.mean, refit.sd)
    if any(_says_bias(one) for one in moves):
        return "yes"
    is_large = any(abs(one.gap) > LARGEST_MOVE for one in moves)
    # What smaller steps do not reach, either, moves nothing.
    return "unknown" if is_large or refit.divergent_share >= LEAST_SHARE else "no"


# ---- in words


def describe_divergences(fit: FitRecord) -> str:
    """Say how many there are, where they are, whether they bias what is compared, and what to do; empty without any."""
    if not sum(fit.divergences):
        return ""
    said = count_divergences(fit)
    if fit.refit:
        return f"{said}, {describe_bias(fit, fit.refit)}"
    few = fit.divergent_share < LEAST_SHARE
    return f"{said}, {'too few for a second fit' if few else 'raise sampler.target_accept'}"


def count_divergences(fit: FitRecord) -> str:
    """Say how many there are, and near what: `12 divergences (0.6 % of the draws) near large values of tau (...)`."""
    n = sum(fit.divergences)
    said = f"{n} divergence{'' if n == 1 else 's'} ({100 * fit.divergent_share:.2g} % of the draws)"
    return f"{said} near {describe_region(fit.diverging)}" if fit.diverging else said


def describe_region(region: DivergingRegion) -> str:
    """Say near what draws diverge: `small values of tau (0.01 to 0.1, elsewhere 0.1 to 2)`."""
    low, high, others_low, others_high = (
        rounded(one) for one in (region.low, region.high, region.others_low, region.others_high)
    )
    return f"{region.near} of {region.parameter} ({low} to {high}, elsewhere {others_low} to {others_high})"


def describe_bias(fit: FitRecord, refit: RecordedRefit) -> str:
    """Say of a fit that was fitted again what that told, and what to do."""
    again = f"with target_accept {refit.target_accept:g} ({sum(refit.divergences)} divergences)"
    if refit.mean is None or refit.sd is None:
        return f"which may bias what is compared: {again} the chains do not agree, either: {advice_on(refit)}"
    bias, worst = bias_of(fit), _in_words(refit)
    if bias == "no":
        return (
            f"of which no bias is seen: {again} no mean moves by more than"
            f" {_sds(refit.mean)} and no sd by more than {_sds(refit.sd)}"
        )
    if bias == "yes":
        return f"which bias what is compared: {again} {worst}: {advice_on(refit)}"
    if refit.divergent_share >= LEAST_SHARE:
        return f"which may bias what is compared: {again} it diverges as well: {advice_on(refit)}"
    return f"which may bias what is compared: {again} {worst}, which can be chance: raise sampler.draws"


def mends(refit: RecordedRefit) -> bool:
    """Whether a second fit can be used and hardly diverges."""
    return refit.usable and refit.divergent_share < LEAST_SHARE


def advice_on(refit: RecordedRefit) -> str:
    """Say what to do against divergences, by what smaller steps did."""
    if mends(refit):
        return f"set sampler.target_accept to {refit.target_accept:g}"
    return (
        "smaller steps do not mend it: write group effects non-centred (sampler.reparam), give their scale a"
        " tighter prior, or let scalecheck-remedies search"
    )


def worst_move(refit: RecordedRefit) -> Move:
    """Give the move of a second fit, which can be compared, that says most."""
    return _first_to_say(one for one in (refit.mean, refit.sd) if one is not None)


def _in_words(refit: RecordedRefit) -> str:
    worst = worst_move(refit)
    return (
        f"the {'mean' if worst is refit.mean else 'sd'} of {worst.parameter} moves by {_sds(worst)}"
    )


def _sds(one: Move) -> str:
    return f"{rounded(abs(one.gap))} posterior sds (Monte Carlo error {rounded(one.error)})"
