"""Whether random subsets agree.

Random subsets are exchangeable by construction, so what this tests is the variance that the model
claims: where they differ by more than their posteriors say, the likelihood is wrong. Cochran's Q
(Cochran 1954) is computed twice, and only what both computations see counts: each alone rejects
true models (by natural parameters rare events, by pooled variance small logistic regressions).

Where subsets differ by less than their posteriors say, they share something: rows that stand in the
table twice. That is no misfit. It is asked only where the rows know all parameters far better than the
prior does: elsewhere what is shared is the prior, and how far it pulls is known for normal ones only.

Formulas and sources: docs/statistics.md, section 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import chi2

from scalecheck.checks import moments
from scalecheck.checks.finding import INTERVAL, Effect, Finding, not_run, notable, rounded
from scalecheck.checks.moments import Moments, Prior

LARGE = 1.25

# Posterior over prior variance up to which a direction is asked whether subsets differ by too little. The prior then
# shrinks what is seen by a tenth at most, whatever its shape.
WELL_KNOWN = 0.1

COLUMNS = ["half", "parameter", "statistic", "df", "p_upper", "p_lower", "p_holm"]


class Spread(NamedTuple):
    """The spread of the subsets as a chi-square statistic.

    Attributes
    ----------
    half
        natural or pooled.
    statistic
        Cochran's Q.
    df
        Its degrees of freedom.
    n_dropped
        Directions not identified by a subset; for the natural half, by the subset that identifies
        fewest.
    """

    half: str
    statistic: float
    df: int
    n_dropped: int

    @property
    def upper(self) -> float:
        """Probability of a larger spread."""
        return float(chi2.sf(self.statistic, self.df))

    @property
    def lower(self) -> float:
        """Probability of a smaller spread; 1 of no direction."""
        return float(chi2.cdf(self.statistic, self.df)) if self.df else 1.0

    @property
    def dispersion(self) -> Effect:
        """Between-subset variance over what the posteriors say, with its chi-square interval."""
        high, low = chi2.ppf([(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], self.df)
        quotients = (self.statistic / x for x in (self.df, low, high))
        return Effect("dispersion", *(float(quotient) for quotient in quotients))


def check_agreement(
    subsets: Moments,
    prior: Prior,
    *,
    names: Sequence[str],
    own: Bool[np.ndarray, " d"],
    fits: Sequence[str],
) -> tuple[Finding, pd.DataFrame]:
    """Compare the posteriors of random subsets of equal size.

    Parameters
    ----------
    subsets
        Posterior moments, unconstrained scale; `fit` runs over `fits`, `d` over `names`.
    prior
        Prior moments of the same parameters.
    names
        `(d,)` names of the parameters.
    own
        `(d,)` parameters of which each subset has an estimate of its own: the model gives them a prior that
        depends on no other, and no latent site that all subsets share. Of these is asked whether
        subsets differ by too little.
    fits
        Names of the subsets.

    Returns
    -------
    finding
        Its effect is the dispersion with an 89 % interval, taken from the half with the
        larger p-value. Where subsets differ by too little, it is of no kind, and never large.
    table
        One row per half (parameter "") and per parameter: half, parameter, statistic, df, p_upper,
        p_lower, p_holm. A parameter that the subsets do not identify has no p-value; the halves
        "natural, well known" and "pooled, well known" have the lower tail.
    """
    subsets, prior = moments.in_double(subsets), moments.in_double(prior)
    reason = moments.why_not_comparable(subsets, prior)
    if len(fits) < 3:
        reason = f"agreement needs at least 3 usable subsets, got {len(fits)}"
    halves: list[Spread] = []
    if not reason:
        white = moments.whiten(subsets, prior)
        halves = [_natural(white, moments.IDENTIFIED), _pooled(white, moments.IDENTIFIED)]
        if min(half.df for half in halves) < 1:
            reason = "a subset identifies no direction beyond the prior: use larger ones"
    if reason:
        return not_run("agreement", reason, fits=tuple(fits)), pd.DataFrame(columns=COLUMNS)
    well_known = _well_known(subsets.of(own), prior.of(own))
    parameters = _parameters(subsets, prior, names)
    parameters["p_lower"] = parameters["p_lower"].where(own)
    finding = _finding(halves, well_known, parameters, fits)
    return finding, _table([*halves, *well_known], parameters)


def _well_known(subsets: Moments, prior: Prior) -> list[Spread]:
    """Compute both halves if the rows know far more than the prior in every direction; none otherwise."""
    if not subsets.mean.shape[1]:
        return []
    white = moments.whiten(subsets, prior)
    halves = [_natural(white, WELL_KNOWN), _pooled(white, WELL_KNOWN)]
    # Where some directions are not, others may be narrow because the posterior lies along a curve: as that of
    # `scale * z`, which subsets share whatever their rows.
    if any(half.df < 1 or half.n_dropped for half in halves):
        return []
    return [half._replace(half=f"{half.half}, well known") for half in halves]


def _natural(white: Moments, identified: float) -> Spread:
    """Compare likelihood-only estimates: natural parameters without the prior.

    Directions count whose posterior variance is below `identified` of the prior's.
    """
    ess = white.ess[:, None]
    variance, directions = moments.directions_of(white.covariance)
    precision = _unbiased(ess, white.mean.shape[1]) / variance
    keep = precision > 1 / identified
    information = np.where(keep, precision - 1, 1.0)
    along = np.einsum("kij,ki->kj", directions, white.mean)
    estimate = precision * along / information
    # The second term: Monte Carlo error of the mean, blown up by taking the prior out.
    weight = np.where(keep, 1 / (1 / information + precision / information**2 / ess), 0.0)
    centre, rank = _weighted_mean(directions, weight, estimate)
    residual = estimate - np.einsum("kij,i->kj", directions, centre)
    n_dropped = int((~keep).sum(axis=1).max())
    return Spread("natural", float((weight * residual**2).sum()), int(keep.sum()) - rank, n_dropped)


def _unbiased(ess: Float[np.ndarray, "fit 1"], n_parameters: int) -> Float[np.ndarray, "fit 1"]:
    """Return what makes the inverse of a sample covariance unbiased (Hartlap et al. 2007)."""
    return np.clip((ess - n_parameters - 2) / np.maximum(ess - 1, 1), 0.05, 1.0)


def _weighted_mean(
    directions: Float[np.ndarray, "fit d d"],
    weight: Float[np.ndarray, "fit d"],
    estimate: Float[np.ndarray, "fit d"],
) -> tuple[Float[np.ndarray, " d"], int]:
    """Return the mean `(d,)` weighted by singular matrices, and the rank of their sum."""
    total = np.einsum("kij,kj,klj->il", directions, weight, directions)
    moment = np.einsum("kij,kj->i", directions, weight * estimate)
    root = moments.inverse_root(total, 1e-10)
    return root @ (root.T @ moment), root.shape[1]


def _pooled(white: Moments, identified: float) -> Spread:
    """Compare posterior means by the one sampling covariance that subsets of equal size share."""
    ratio, variance, directions = _sampling_variance(white)
    keep = ratio < identified
    deviation = (white.mean - white.mean.mean(axis=0)) @ directions
    statistic = (deviation[:, keep] ** 2 / variance[keep]).sum()
    n_kept = int(keep.sum())
    return Spread("pooled", float(statistic), n_kept * (len(white.mean) - 1), len(keep) - n_kept)


def _sampling_variance(white: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how the posterior means of subsets vary around a fixed truth.

    In a normal model that is by `V - V V0^-1 V`, less than their posteriors, and by Monte Carlo
    error.

    Returns
    -------
    ratio
        `(d,)` posterior over prior variance, along each direction.
    variance
        `(d,)` variance of the posterior means, in units of the prior variance.
    directions
        `(d, d)`, columns.
    """
    ratio, directions = moments.directions_of(white.covariance.mean(axis=0))
    shrunk = ratio * np.clip(1 - ratio, 1e-3, None)
    return ratio, shrunk + ratio * np.mean(1 / white.ess), directions


def _parameters(subsets: Moments, prior: Prior, names: Sequence[str]) -> pd.DataFrame:
    """Test each parameter's spread by the pooled half, with Holm's correction of the upper tail."""
    _, variance, directions = _sampling_variance(moments.whiten(subsets, prior))
    loading = np.linalg.cholesky(prior.covariance) @ directions
    deviation = subsets.mean - subsets.mean.mean(axis=0)
    statistic = (deviation**2).sum(axis=0) / (loading**2 @ variance)
    df = len(subsets.mean) - 1
    ratio = np.diag(subsets.covariance.mean(axis=0)) / np.diag(prior.covariance)
    table = pd.DataFrame({"parameter": list(names), "statistic": statistic, "df": df})
    table["p_upper"] = np.where(ratio < moments.IDENTIFIED, chi2.sf(statistic, df), np.nan)
    table["p_lower"] = np.where(ratio < moments.IDENTIFIED, chi2.cdf(statistic, df), np.nan)
    table["p_holm"] = holm(table["p_upper"].to_numpy())
    return table


def holm(p: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Adjust p-values `(n,)` for their number (Holm 1979); NaN stays and is not counted."""
    order = np.argsort(p)  # NaN last
    n_tests = int(np.isfinite(p).sum())
    steps = p[order] * np.maximum(n_tests - np.arange(len(p)), 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _finding(
    halves: list[Spread], well_known: list[Spread], parameters: pd.DataFrame, fits: Sequence[str]
) -> Finding:
    wide = max(halves, key=lambda half: half.upper)
    narrow = max(well_known, key=lambda half: half.lower, default=None)
    lower = narrow.lower if narrow else 1.0
    p = min(1.0, 2 * min(wide.upper, lower))
    too_wide = narrow is None or lower > min(wide.upper, 0.5)
    dispersion = wide.dispersion if narrow is None or too_wide else narrow.dispersion
    # No single parameter may be identified.
    tail = parameters["p_upper" if too_wide else "p_lower"]
    parameter = None if tail.isna().all() else str(parameters["parameter"][tail.idxmin()])
    return Finding(
        family="agreement",
        p=p,
        weight=1.0,
        large=too_wide and dispersion.low > LARGE,
        effect=dispersion,
        parameter=parameter,
        kind="misfit" if too_wide else "",
        fits=tuple(fits),
        message=_message(dispersion, parameter, len(fits), too_wide, notable(p, 1.0))
        + moments.not_identified(max(half.n_dropped for half in halves), len(parameters)),
    )


def _message(
    dispersion: Effect, parameter: str | None, n_subsets: int, too_wide: bool, seen: bool
) -> str:
    value, low, high = (rounded(number) for number in dispersion[1:])
    excess = rounded(100 * max(0.0, 1 - 1 / dispersion.value))
    numbers = f"dispersion {value}, 89 % interval {low} to {high}, I2 {excess} %"
    chiefly = f", chiefly in {parameter}" if parameter else ""
    if not seen:
        return f"the {n_subsets} subsets differ as much as the posteriors say ({numbers})"
    if too_wide:
        return (
            "the subsets differ by more than the posteriors say: the model claims too little "
            f"variance ({numbers}){chiefly}: allow for overdispersion, heavier tails or "
            "dependence between rows"
        )
    return (
        f"the subsets differ by less than the posteriors say ({numbers}){chiefly}: they share something,"
        " as where rows stand in the table twice: look for duplicates, or name in data.unit what comes"
        " together"
    )


def _table(halves: list[Spread], parameters: pd.DataFrame) -> pd.DataFrame:
    rows = [(h.half, "", h.statistic, h.df, h.upper, h.lower, np.nan) for h in halves]
    rows += [("pooled", *row) for row in parameters.itertuples(index=False)]
    return pd.DataFrame(rows, columns=COLUMNS)
