"""Whether one random subset needs anomalously many leapfrogs.

Random subsets are exchangeable, so that what one of them takes beyond the others is chance, most of
it the luck of its chains' adaptation, or the geometry of its posterior: rows that the model does not
fit. Leapfrogs are compared, never seconds, which belong to the machine. One side only: a subset that
takes few troubles nobody. Levels of an axis are not exchangeable: they are described, not tested.

Formulas and sources: docs/statistics.md, section 5.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Real
from scipy.stats import t as student

from scalecheck.checks.finding import NOTABLE, Effect, Finding, half_width, not_run, rounded

LARGE = 1.5
LARGE_SECONDS = 2.0  # what levels take is timed once, beside whatever else the machine does
FEWEST = 3
# Sd of log2 leapfrogs by adaptation alone: 0.11 over 16 seeds of one fit. The prior of the spread of
# subsets counts as much as `PRIOR_DF` of them, or three that happen to agree would accuse a fourth.
SPREAD = 0.15
PRIOR_DF = 4


class Effort(NamedTuple):
    """What some fits of one kind took after warmup.

    Attributes
    ----------
    fits, levels
        `(fit,)` names; the level of each, "" for random subsets.
    timed_rows
        `(fit,)` rows on which gradients were timed: with those that pad.
    leapfrogs
        `(fit, chain)` mean per iteration.
    step_size, seconds_per_gradient
        `(fit,)`.
    usable
        `(fit,)` whether the posterior can be used.
    """

    fits: Sequence[str]
    levels: Sequence[str]
    timed_rows: Real[np.ndarray, " fit"]
    leapfrogs: Float[np.ndarray, "fit chain"]
    step_size: Float[np.ndarray, " fit"]
    seconds_per_gradient: Float[np.ndarray, " fit"]
    usable: Bool[np.ndarray, " fit"]

    @property
    def log2(self) -> Float[np.ndarray, "fit chain"]:
        """`(fit, chain)` binary logarithm of the leapfrogs: a doubling is 1."""
        return np.log2(self.leapfrogs)


class Confirmation(NamedTuple):
    """A second fit of the same rows, with another seed.

    Attributes
    ----------
    fit
        The subset that was fitted again.
    leapfrogs
        `(chain,)` mean per iteration after warmup.
    usable
        Whether its posterior can be used; else it confirms nothing, though it may refute.
    """

    fit: str
    leapfrogs: Float[np.ndarray, " chain"]
    usable: bool = True


class Comparison(NamedTuple):
    """Each subset against all others.

    Attributes
    ----------
    others
        `(fit,)` mean log2 leapfrogs of the other subsets.
    ratio
        `(fit,)` leapfrogs over those of the others.
    scale, df
        `(fit,)` standard error of log2 ratio; degrees of freedom of its t distribution.
    p
        `(fit,)` one-sided, not yet corrected for looking at every subset; 1 where the ratio is
        below `LARGE`.
    """

    others: Float[np.ndarray, " fit"]
    ratio: Float[np.ndarray, " fit"]
    scale: Float[np.ndarray, " fit"]
    df: int
    p: Float[np.ndarray, " fit"]

    @property
    def worst(self) -> int:
        """Number of the most anomalous subset."""
        return int(np.lexsort((-self.ratio, self.p))[0])

    @property
    def p_worst(self) -> float:
        """Its p-value, corrected."""
        return min(1.0, len(self.p) * float(self.p[self.worst]))

    def effect(self, number: int) -> Effect:
        """Ratio of a subset with its interval."""
        width = half_width(float(self.scale[number]), self.df)
        ratio = float(self.ratio[number])
        return Effect("leapfrogs over others'", ratio, ratio * 2**-width, ratio * 2**width)


def compare_subsets(log2: Float[np.ndarray, "fit chain"]) -> Comparison:
    """Compare each subset with all others.

    The spread of the others is shrunk towards a prior, which the noise of the chains raises. A chain
    that is stuck raises it, too: that is the affair of adaptation.

    Parameters
    ----------
    log2
        `(fit, chain)` log2 of mean leapfrogs per iteration, at least three fits.
    """
    n_fits = len(log2)
    each = log2.mean(axis=1)
    others = (each.sum() - each) / (n_fits - 1)
    squares = ((each - each.mean()) ** 2).sum()
    # Sum of squares of the others about their own mean.
    spread = np.maximum(squares - (each - others) ** 2 * (n_fits - 1) / n_fits, 0.0)
    least = adaptation_variance(log2)
    df = PRIOR_DF + n_fits - 2
    variance = np.maximum((PRIOR_DF * least + spread) / df, least)
    scale = np.sqrt(variance * n_fits / (n_fits - 1))
    return Comparison(others, 2 ** (each - others), scale, df, _p(each - others, scale, df))


def adaptation_variance(log2: Float[np.ndarray, "fit chain"]) -> float:
    """Variance of the log2 leapfrogs of a fit by adaptation alone, from `(fit, chain)`: as chains say, or more."""
    n_chains = log2.shape[1]
    chains = float(log2.var(axis=1, ddof=1).mean()) / n_chains if n_chains > 1 else 0.0
    return max(SPREAD**2, chains)


def _p(difference: np.ndarray | float, scale: np.ndarray | float, df: int) -> np.ndarray:
    return np.where(difference >= np.log2(LARGE), student.sf(difference / scale, df), 1.0)


def check_effort(
    subsets: Effort, axes: Mapping[str, Effort], confirmation: Confirmation | None = None
) -> tuple[Finding, pd.DataFrame]:
    """Find the subset that takes anomalously many leapfrogs; describe levels.

    Only subsets whose posterior can be used are compared: chains that have not converged took the
    leapfrogs of a transient, which say nothing of the rows. How many were left out is said, and which
    of them took most.

    Parameters
    ----------
    subsets
        The random subsets, all that were fitted.
    axes
        By axis, its level subsets.
    confirmation
        Another fit of the worst subset, with a fresh seed: both have to say so, and without one the
        finding is never large.

    Returns
    -------
    finding
        Of the worst subset; its effect is the ratio to the others with an 89 % interval.
    table
        One row per subset and level: fit, kind, axis, level, usable, leapfrogs (mean per iteration),
        log2_leapfrogs and log2_sd (over chains), step_size, seconds_per_gradient, ratio (of leapfrogs)
        and seconds_ratio (of seconds per gradient and row; subsets: to the geometric mean of the
        others; levels: to the median of their axis), p (subsets that can be used; not yet corrected for
        looking at each).
    """
    known = _part(subsets, subsets.usable)
    reason = _problem(subsets, known)
    compared = None if reason else compare_subsets(known.log2)
    # Without leapfrogs, of a model without parameters, ratios are NaN.
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [_levels_table(axis, levels) for axis, levels in axes.items()]
        table = pd.concat([_subsets_table(subsets, compared), *parts], ignore_index=True)
    left_out = _left_out(subsets, known)
    if compared is None:
        message = reason + left_out
        return not_run("effort", message, weight=1.0, fits=tuple(known.fits)), table
    return _finding(known, compared, confirmation, left_out + _level_remark(table)), table


def _part(fits: Effort, chosen: Bool[np.ndarray, " fit"]) -> Effort:
    """Take some of the fits."""
    number = np.flatnonzero(chosen).tolist()
    fits_of = [fits.fits[i] for i in number], [fits.levels[i] for i in number]
    rows, leapfrogs, step_size, seconds, usable = (part[number] for part in fits[2:])
    return Effort(*fits_of, rows, leapfrogs, step_size, seconds, usable)


def _problem(subsets: Effort, known: Effort) -> str:
    if len(known.fits) < FEWEST:
        n_fits, n_usable = len(subsets.fits), len(known.fits)
        return f"effort needs at least {FEWEST} subsets that can be used, got {n_usable} of {n_fits} fitted"
    return "" if (known.leapfrogs > 0).all() else "no leapfrogs are taken: nothing is sampled"


def _left_out(subsets: Effort, known: Effort) -> str:
    """Say how many subsets were left out, and which of them took most leapfrogs."""
    others = _part(subsets, ~subsets.usable)
    n_left = len(others.fits)
    if not n_left:
        return ""
    each = others.leapfrogs.mean(axis=1)
    name, most = others.fits[int(np.argmax(each))], rounded(float(each.max()))
    usual = f", the others {rounded(float(known.leapfrogs.mean()))}" if known.fits else ""
    if n_left == 1:
        return f"; {name}, which cannot be used, is left out (it takes {most} per iteration{usual})"
    return (
        f"; {n_left} subsets that cannot be used are left out, of which {name} takes most leapfrogs"
        f" ({most} per iteration{usual})"
    )


def _finding(
    subsets: Effort, compared: Comparison, confirmation: Confirmation | None, remark: str
) -> Finding:
    worst = compared.worst
    name = subsets.fits[worst]
    second = confirmation if confirmation and confirmation.fit == name else None
    p, repeated = compared.p_worst, None
    if second is not None:
        difference = float(np.log2(second.leapfrogs).mean() - compared.others[worst])
        repeated = 2**difference
        # Both seeds have to say so; the second was not chosen among K.
        p = max(p, float(_p(difference, float(compared.scale[worst]), compared.df)))
    return Finding(
        family="effort",
        p=p,
        weight=1.0,
        large=_is_confirmed(second, repeated) and bool(compared.ratio[worst] >= LARGE),
        effect=compared.effect(worst),
        fit=name,
        kind="heterogeneous",
        fits=tuple(subsets.fits),
        message=_message(subsets, compared, second, repeated, p) + remark,
    )


def _is_confirmed(second: Confirmation | None, repeated: float | None) -> bool:
    return second is not None and second.usable and repeated is not None and repeated >= LARGE


def _message(
    subsets: Effort,
    compared: Comparison,
    second: Confirmation | None,
    repeated: float | None,
    p: float,
) -> str:
    worst = compared.worst
    name = subsets.fits[worst]
    numbers = (
        f"{rounded(compared.ratio[worst])} times the leapfrogs of the other subsets"
        f" ({rounded(2 ** subsets.log2[worst].mean())} per iteration)"
    )
    look = "see what its rows have that others lack, or change the parametrisation"
    if p < NOTABLE and repeated is not None:
        but = "" if second and second.usable else ", in a fit that cannot be used"
        return (
            f"{name} takes {numbers}, and {rounded(repeated)} times with another seed{but}: {look}"
        )
    if p < NOTABLE:
        return f"{name} takes {numbers}, not yet confirmed with another seed: {look}"
    if repeated is not None and repeated >= LARGE:
        return f"{name} takes {numbers}, and {rounded(repeated)} times with another seed, less than surely"
    if repeated is not None:
        return (
            f"{name} took {numbers}, but a refit with another seed did not repeat it"
            f" ({rounded(repeated)} times): luck of the adaptation, raise sampler.warmup"
        )
    return f"no subset takes anomalously many leapfrogs: {name} most, {numbers}"


def _level_remark(table: pd.DataFrame) -> str:
    """Name the level that stands out along its axis most, where one does."""
    levels = table[table["kind"] == "level"]
    levels = levels[(levels["ratio"] >= LARGE) | (levels["seconds_ratio"] >= LARGE_SECONDS)]
    if not len(levels):
        return ""
    worst = levels.loc[levels[["ratio", "seconds_ratio"]].max(axis=1).idxmax()]
    return (
        f"; along {worst['axis']}, {worst['level']} takes {rounded(worst['ratio'])} times the median leapfrogs"
        f" and {rounded(worst['seconds_ratio'])} times the median seconds per row of a gradient"
    )


def _subsets_table(subsets: Effort, compared: Comparison | None) -> pd.DataFrame:
    ratio, p = (np.full(len(subsets.fits), np.nan) for _ in range(2))
    if compared:
        ratio[subsets.usable], p[subsets.usable] = compared.ratio, compared.p
    seconds = np.log(subsets.seconds_per_gradient)
    n_others = max(1, len(seconds) - 1)
    relative = np.exp(seconds - (seconds.sum() - seconds) / n_others)
    relative = relative if len(seconds) > 1 else np.nan
    return _table(subsets, "subset", "").assign(ratio=ratio, seconds_ratio=relative, p=p)


def _levels_table(axis: str, levels: Effort) -> pd.DataFrame:
    # Levels differ in rows, and more rows take longer whatever they are, also those that only pad.
    each, seconds = 2 ** levels.log2.mean(axis=1), levels.seconds_per_gradient / levels.timed_rows
    return _table(levels, "level", axis).assign(
        ratio=each / np.median(each), seconds_ratio=seconds / np.median(seconds), p=np.nan
    )


def _table(part: Effort, kind: str, axis: str) -> pd.DataFrame:
    several = part.leapfrogs.shape[1] > 1
    return pd.DataFrame(
        {
            "fit": list(part.fits),
            "kind": kind,
            "axis": axis,
            "level": list(part.levels),
            "usable": part.usable,
            "leapfrogs": part.leapfrogs.mean(axis=1),
            "log2_leapfrogs": part.log2.mean(axis=1),
            "log2_sd": part.log2.std(axis=1, ddof=1) if several else np.nan,
            "step_size": part.step_size,
            "seconds_per_gradient": part.seconds_per_gradient,
        }
    )
