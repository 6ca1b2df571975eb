"""Whether new rows are surprising under the posterior of the rows before them.

Replicates of the new rows are drawn from the posterior of the previous increment. Under the model
the observed rows are one more replicate, so the rank of any statistic among them is its p-value,
without asymptotics (posterior SBC, arXiv:2502.03279). The family's statistic is the largest of
several studentised ones: the smallest of their ranks ties.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from scalecheck.checks.finding import Effect, Finding, not_run, notable, rounded

LARGE = 4.0
TAIL = 0.02
CHUNK = 1_000_000

LOG_SCORE, LOW_TAIL, MEAN, VARIANCE, SKEWNESS, KURTOSIS = STATISTICS = (
    "log score",
    "lowest log scores",
    "mean",
    "variance",
    "skewness",
    "kurtosis",
)

# What a statistic below and above its median says of the new rows, and what to do.
MEANINGS = {
    LOG_SCORE: (
        "are less probable than the model's own predictions: it is too sure of them",
        "are more probable than the model's own predictions: it is too vague about them",
    ),
    LOW_TAIL: (
        "contain outcomes that the model calls next to impossible: look for outliers, heavier "
        "tails or a missing component",
        "contain fewer improbable outcomes than the model predicts",
    ),
    MEAN: (
        "lie below what the model predicts: something shifted, or the mean has the wrong form",
        "lie above what the model predicts: something shifted, or the mean has the wrong form",
    ),
    VARIANCE: (
        "vary less than the model predicts: its outcomes need a smaller dispersion",
        "vary more than the model predicts: allow for overdispersion",
    ),
    SKEWNESS: (
        "have a longer lower tail than the model predicts: let the likelihood be skewed",
        "have a longer upper tail than the model predicts: let the likelihood be skewed",
    ),
    KURTOSIS: (
        "have lighter tails than the model predicts: look for bounds or mixed groups",
        "have heavier tails than the model predicts: look for outliers",
    ),
}


def check(
    outcome: np.ndarray,
    replicates: np.ndarray,
    log_scores: np.ndarray,
    *,
    fit: str,
    rows_before: int,
    rows_after: int,
    fits: Sequence[str],
    weight: float,
    rng: np.random.Generator,
) -> tuple[Finding, pd.DataFrame]:
    """Rank the new rows among replicates of them.

    Parameters
    ----------
    outcome
        `(n,)` observed outcomes of the new rows.
    replicates
        `(S, n)` predictions of them, one posterior draw each, compared in float32; S of 999 or
        more, for p cannot be below 1 / (S + 1).
    log_scores
        `(S + 1, n)` log predictive density of the outcome (row 0) and of each replicate, all under
        the same predictive distribution. Minus infinity is allowed.
    fit
        The increment that the new rows belong to.
    rows_before, rows_after
        Rows of the increment that predicts, and of this one.
    fits
        Both increments.
    weight
        Share of the family's error rate.
    rng
        Breaks ties: among equal outcomes, and among equal statistics.

    Returns
    -------
    finding
        Its effect is the largest studentised statistic, plus and minus 1.96 of its own sds under
        the model.
    table
        One row per statistic: fit, statistic, observed, median, sd (of the observed and all
        replicates), studentised (signed), p (its own rank), leading.
    """
    reason = _problem(outcome, log_scores)
    if reason:
        where = {"fit": fit, "fits": tuple(fits), "weight": weight}
        return not_run("surprise", reason, **where), pd.DataFrame(columns=_COLUMNS)
    values = np.column_stack([*_scores(log_scores), *_shape(outcome, replicates, rng)])
    evidence = _evidence(values)
    p = _rank(evidence.max(axis=1), rng)
    leading = int(evidence[0].argmax())
    signed = float(_studentised(values)[0, leading])
    statistic, size = STATISTICS[leading], abs(signed)
    finding = Finding(
        family="surprise",
        p=p,
        weight=weight,
        large=size > LARGE,
        effect=Effect(f"studentised {statistic}", size, size - 1.96, size + 1.96),
        fit=fit,
        kind="misfit",
        fits=tuple(fits),
        message=_message(statistic, signed, rows_before, rows_after, notable(p, weight)),
    )
    return finding, _table(fit, values, rng)


def _problem(outcome: np.ndarray, log_scores: np.ndarray) -> str | None:
    """Return why the new rows cannot be judged, or None where they can."""
    if len(outcome) < 2:
        return f"surprise needs at least 2 new rows, got {len(outcome)}"
    if not np.isfinite(outcome).all() or not (log_scores < np.inf).all():
        return "an outcome or a log score of the new rows is not a number"
    return None


def _scores(log_scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean log score and the mean of the lowest 2 % of them, `(S + 1,)` each."""
    n_lowest = max(1, int(np.ceil(TAIL * log_scores.shape[1])))
    # An impossible outcome must stay finite, or no sd could be taken.
    finite = np.maximum(log_scores, -1e6)
    lowest = np.partition(finite, n_lowest - 1, axis=1)[:, :n_lowest]
    return finite.mean(axis=1, dtype=float), lowest.mean(axis=1, dtype=float)


def _shape(
    outcome: np.ndarray, replicates: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, variance, skewness and kurtosis over rows, `(S + 1,)` each, of PIT z-scores."""
    n_members, n_rows = len(replicates) + 1, len(outcome)
    score = ndtri((np.arange(n_members) + 0.5) / n_members)
    powers = score[:, None] ** np.arange(1, 5)
    moments = np.zeros((n_members, 4))
    width = max(1, CHUNK // n_members)
    for start in range(0, n_rows, width):
        columns = slice(start, start + width)
        order = _order(np.vstack([outcome[None, columns], replicates[:, columns]]).T, rng)
        for power in range(4):
            weights = np.broadcast_to(powers[:, power], order.shape).ravel()
            moments[:, power] += np.bincount(order.ravel(), weights=weights, minlength=n_members)
    return _standardised(*(moments / n_rows).T)


def _order(members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return, for each row of `(row, S + 1)`, the members in increasing order, ties at random.

    The bits of a positive float32 sort as an integer, those of a negative one in reverse; random
    bits below them break the ties. One sort of integers is several times as fast as sorting by two
    keys.
    """
    bits = (np.ascontiguousarray(members, dtype=np.float32) + np.float32(0)).view(np.int32)
    bits = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)
    keys = bits.astype(np.int64) << 32
    keys |= rng.integers(2**32, size=members.shape, dtype=np.uint32)
    return np.argsort(keys, axis=1)


def _standardised(
    first: np.ndarray, second: np.ndarray, third: np.ndarray, fourth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, variance, skewness and kurtosis from raw moments."""
    variance = np.maximum(second - first**2, np.finfo(float).tiny)
    skewness = (third - 3 * first * second + 2 * first**3) / variance**1.5
    kurtosis = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2
    return first, variance, skewness, kurtosis


def _studentised(values: np.ndarray) -> np.ndarray:
    """Return statistics `(S + 1, 6)` as sds from their median.

    Both are taken over the observed and all replicates, so that no member is special: a rank is
    exact only then.
    """
    sd = values.std(axis=0)
    return (values - np.median(values, axis=0)) / np.where(sd > 0, sd, 1.0)


def _evidence(values: np.ndarray) -> np.ndarray:
    """Return how far each statistic is out, `(S + 1, 6)`; the low tail counts downwards only."""
    signed = _studentised(values)
    return np.where(np.array(STATISTICS) == LOW_TAIL, -signed, np.abs(signed))


def _rank(evidence: np.ndarray, rng: np.random.Generator) -> float:
    """Return the rank of the first among all, from 1 / (S + 1) to 1, ties at random."""
    n_greater = int((evidence > evidence[0]).sum())
    n_equal = int((evidence == evidence[0]).sum())
    return float(n_greater + rng.integers(1, n_equal + 1)) / len(evidence)


def _message(statistic: str, signed: float, rows_before: int, rows_after: int, seen: bool) -> str:
    sds = f"{statistic}: {rounded(abs(signed))} sds"
    rows, before = f"rows {rows_before + 1} to {rows_after}", f"after {rows_before} rows"
    if not seen:
        return f"{rows} look like what the model predicts {before} (largest deviation, {sds})"
    return f"{rows} {MEANINGS[statistic][int(signed > 0)]} ({sds} from the prediction {before})"


def _table(fit: str, values: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    evidence = _evidence(values)
    columns = {
        "statistic": STATISTICS,
        "observed": values[0],
        "median": np.median(values, axis=0),
        "sd": values.std(axis=0),
        "studentised": _studentised(values)[0],
        "p": [_rank(column, rng) for column in evidence.T],
        "leading": np.arange(len(STATISTICS)) == evidence[0].argmax(),
    }
    return pd.DataFrame({"fit": fit, **columns})[_COLUMNS]


_COLUMNS = ["fit", "statistic", "observed", "median", "sd", "studentised", "p", "leading"]
