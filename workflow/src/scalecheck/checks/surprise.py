"""Whether new rows are surprising under the posterior of the rows before them.

Replicates of the new rows are drawn from the posterior of the previous increment. Under the model
the observed rows are one more replicate, so the rank of any statistic among them is its p-value,
without asymptotics (posterior SBC, arXiv:2502.03279). The family's statistic is the largest of
several studentised ones: the smallest of their ranks ties.

Formulas and sources: docs/statistics.md, section 4.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from scipy.special import ndtri

from scalecheck.checks import statistic_design, statistic_messages
from scalecheck.checks.finding import Effect, Finding, notable, rounded
from scalecheck.checks.statistic_design import Statistic
from scalecheck.checks.statistic_messages import Setting

Measured = Float[np.ndarray, "member q"]
ByStatistic = Float[np.ndarray, " q"]

LARGE = 4.0

REPLICATES = 999

# Where the observed is among the first two, so many more are drawn, over the weight of the step: a p of
# 2 in 3,000 is strong after the correction for seven families, and for looks as the weight says.
MORE = 3_000

# Of more new rows than this, some are left out.
MOST_PREDICTED = 30_000

# The longer comparison ends early when so many replicates were more extreme (Besag & Clifford 1991):
# p is then above 0.001 and known to a quarter.
ENOUGH = 20

# Where the last hundredth of a normal distribution begins, in sds.
_LAST = float(ndtri(0.99))


class NewRows(NamedTuple):
    """Which rows are new.

    Attributes
    ----------
    fit
        The increment that they belong to.
    first, last
        Numbers of the first and the last new row, from 1.
    before
        Rows of the increment that predicts.
    fits
        Fits that the comparison rests on.
    weight
        Share of the family's error rate.
    note
        What else the comparison rests on; nothing where there is nothing to say.
    """

    fit: str
    first: int
    last: int
    before: int
    fits: tuple[str, ...]
    weight: float
    note: str = ""


def n_more(weight: float) -> int:
    """Further replicates that resolve whether a step of this share of the error rate is strong."""
    return int(np.ceil(MORE / weight))


def check_surprise(
    statistics: Sequence[Statistic],
    values: Measured,
    more: Callable[[], Iterable[Float[np.ndarray, "chunk q"]]],
    *,
    step: NewRows,
    setting: Setting,
    rng: np.random.Generator,
) -> tuple[Finding, pd.DataFrame]:
    """Rank the new rows among replicates of them.

    Parameters
    ----------
    statistics
        What was measured.
    values
        `(S + 1, q)` of the observed rows, then of S replicates.
    more
        Gives the statistics `(chunk, q)` of further replicates, a chunk at a time; asked only where
        the observed rows are among the two most extreme.
    step
        The new rows.
    setting
        What meanings depend on.
    rng
        Breaks ties among equal statistics.

    Returns
    -------
    finding
        Its effect is the leading statistic, studentised, plus and minus 1.96 of its own sds under
        the model.
    table
        One row per statistic that varies: fit, statistic, observed, median, sd (of the observed and
        all replicates), studentised (signed), p (its own rank), leading.
    """
    scale = _Scale.of(statistics, values)
    p = _p_value(values, scale, more, _Scale.of(statistics, values[1:]), rng)
    leading = _leading(statistics, values, scale)
    signed = float(scale.studentised(values[:1])[0, leading])
    size = abs(signed)
    kind, axis = statistic_messages.meaning(statistics[leading], setting)
    finding = Finding(
        family="surprise",
        p=p,
        weight=step.weight,
        large=size > LARGE,
        effect=Effect(f"studentised {statistics[leading].name}", size, size - 1.96, size + 1.96),
        axis=axis,
        fit=step.fit,
        kind=kind,
        fits=step.fits,
        message=_message(statistics[leading], signed, step, notable(p, step.weight)),
    )
    return finding, _table(step.fit, statistics, values, scale, leading, rng)


class _Scale(NamedTuple):
    """What statistics are studentised by, each on a scale on which it is nearly symmetric.

    Attributes
    ----------
    side
        `(q,)` which deviations count, as `statistic_messages.sides` says.
    what
        `(q,)` names of the statistics.
    median
        `(q,)`.
    below, above
        `(q,)` sd, or more where the tail on that side is longer than a normal one.
    """

    side: Int[np.ndarray, " q"]
    what: Shaped[np.ndarray, " q"]
    median: ByStatistic
    below: ByStatistic
    above: ByStatistic

    @classmethod
    def of(cls, statistics: Sequence[Statistic], members: Measured) -> "_Scale":
        """Take the scale of members `(member, q)`: a rank is exact if none of those ranked is special among them."""
        side = np.array([statistic_messages.sides(statistic) for statistic in statistics])
        what = np.array([statistic.what for statistic in statistics])
        return cls(side, what, *_spread(_symmetric(what, members)))

    def studentised(self, values: Measured) -> Measured:
        """Return values `(member, q)` as sds from the median."""
        deviation = _symmetric(self.what, values) - self.median
        return np.clip(deviation / np.where(deviation < 0, self.below, self.above), -1e6, 1e6)

    def extremeness(self, values: Measured) -> Measured:
        """Return how far values `(member, q)` are out on the side that counts."""
        signed = self.studentised(values)
        return np.where(self.side == 0, np.abs(signed), self.side * signed)


def _symmetric(what: Shaped[np.ndarray, " q"], values: Measured) -> Measured:
    """Return values `(member, q)` with a long tail drawn in: it would crowd out others where the largest is looked for.

    Cube roots of sums of squares are nearly normal (Wilson & Hilferty 1931).
    """
    sums = np.isin(what, list(statistic_design.SUMS_OF_SQUARES))
    values = np.where(sums, np.cbrt(values), values)
    kurtosis = np.isin(what, [statistic_design.KURTOSIS, statistic_design.WITHIN_KURTOSIS])
    return np.where(kurtosis, np.log(np.maximum(values, 1.0)), values)


def _spread(values: Measured) -> tuple[ByStatistic, ByStatistic, ByStatistic]:
    """Return the median and the sd below and above it, of values `(member, q)`.

    A tail longer than a normal one, seen at its last hundredth, counts as a larger sd.
    """
    low, median, high = np.quantile(values, [0.01, 0.5, 0.99], axis=0)
    # Where all members agree, as replicates of what never happens do, any deviation is one of many sds.
    sd = np.maximum(values.std(axis=0), 1e-9 * np.abs(median) + 1e-30)
    return median, np.maximum(sd, (median - low) / _LAST), np.maximum(sd, (high - median) / _LAST)


def _leading(statistics: Sequence[Statistic], values: Measured, scale: _Scale) -> int:
    """Return the statistic that says what the deviation means.

    It is the one that is furthest out; but the sum of scores in its own sds, without the cube
    root. For that sum stays near zero whatever is wrong with a model that was wrong before, too: if
    it is large, then something changed, and says more than what it changed first.
    """
    extremeness = scale.extremeness(values[:1])[0]
    for j, statistic in enumerate(statistics):
        if statistic.what == statistic_design.SCORE:
            own = values[:, j]
            extremeness[j] = (own[0] - np.median(own)) / max(float(own.std()), 1e-30)
    return int(extremeness.argmax())


def _p_value(
    values: Measured,
    scale: _Scale,
    more: Callable[[], Iterable[Float[np.ndarray, "chunk q"]]],
    scale_of_replicates: _Scale,
    rng: np.random.Generator,
) -> float:
    """Return the rank of the largest among S + 1 or, if it is one of the first two, among more.

    The second comparison stands alone: its p is at most a with probability a. So p is at most a <
    3 / (S + 1) no more often; and a larger a allows the two most extreme of S + 1 anyhow.
    """
    largest = scale.extremeness(values).max(axis=1)
    p = _rank(largest, rng)
    if p * len(largest) > 2.5:
        return p
    # Studentised without the observed, which is exchangeable with the further replicates only then.
    observed = float(scale_of_replicates.extremeness(values[:1]).max())
    further = (scale_of_replicates.extremeness(chunk).max(axis=1) for chunk in more())
    return _sequential(observed, further)


def _sequential(observed: float, chunks: Iterable[Float[np.ndarray, " chunk"]]) -> float:
    """Return the p of a sequential comparison with replicates, of which chunks `(chunk,)` follow."""
    n_seen = n_greater = 0
    for chunk in chunks:
        counted = n_greater + np.cumsum(chunk >= observed)
        if counted[-1] >= ENOUGH:
            return ENOUGH / (n_seen + int(np.argmax(counted >= ENOUGH)) + 1)
        n_seen, n_greater = n_seen + len(chunk), int(counted[-1])
    return (n_greater + 1) / (n_seen + 1)


def _rank(extremeness: Float[np.ndarray, " member"], rng: np.random.Generator) -> float:
    """Return the rank of the first among all, from 1 / (S + 1) to 1, ties at random."""
    n_greater = int((extremeness > extremeness[0]).sum())
    n_equal = int((extremeness == extremeness[0]).sum())
    return float(n_greater + rng.integers(1, n_equal + 1)) / len(extremeness)


def _message(statistic: Statistic, signed: float, step: NewRows, seen: bool) -> str:
    sds = f"{statistic.name}: {rounded(abs(signed))} sds"
    rows = f"rows {step.first} to {step.last}"
    note = f"; {step.note}" if step.note else ""
    before = f"after {step.before} rows" if step.before else "of the model"
    if not seen:
        predicts = f"the model predicts {before}" if step.before else "the model predicts"
        return f"{rows} look like what {predicts} (largest deviation, {sds}){note}"
    said = statistic_messages.sentence(statistic, above=signed > 0)
    return f"{rows} {said} ({sds} from the prediction {before}){note}"


def _table(
    fit: str,
    statistics: Sequence[Statistic],
    values: Measured,
    scale: _Scale,
    leading: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    columns = {
        "fit": fit,
        "statistic": [statistic.name for statistic in statistics],
        "observed": values[0],
        "median": np.median(values, axis=0),
        "sd": values.std(axis=0),
        "studentised": scale.studentised(values[:1])[0],
        "p": [_rank(column, rng) for column in scale.extremeness(values).T],
        "leading": np.arange(len(statistics)) == leading,
    }
    table = pd.DataFrame(columns)
    return table[table["sd"] > 0].reset_index(drop=True)
