"""On which scale statistics of a block of rows are compared, and how far out the observed rows are among replicates.

Formulas and sources: docs/statistics.md, section 4.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import ndtri

from scalecheck.checks import statistic_design, statistic_messages
from scalecheck.checks.statistic_design import Statistic

Measured = Float[np.ndarray, "member q"]
ByStatistic = Float[np.ndarray, " q"]

# The longer comparison ends early when so many replicates were more extreme (Besag & Clifford 1991):
# p is then above 0.001 and known to a quarter.
ENOUGH = 20

# Where the last hundredth of a normal distribution begins, in sds.
_LAST = float(ndtri(0.99))


class Scale(NamedTuple):
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
    def of(cls, statistics: Sequence[Statistic], members: Measured) -> "Scale":
        """Take the scale of members `(member, q)`: a rank is exact if none of those ranked is special among them."""
        side = np.array([statistic_messages.sides(statistic) for statistic in statistics])
        what = np.array([statistic.what for statistic in statistics])
        return cls(side, what, *_spread(_symmetric(what, members)))

    @classmethod
    def of_sums(cls, statistics: Sequence[Statistic], members: Measured) -> "Scale":
        """Take the scale of members `(member, q)` that are sums of studentised statistics: symmetric as they are."""
        side = np.array([statistic_messages.sides(statistic) for statistic in statistics])
        return cls(side, np.full(len(side), ""), *_spread(members))

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


def rank_of_first(
    largest: Float[np.ndarray, " member"],
    longer: Callable[[], tuple[float, Iterable[Float[np.ndarray, " chunk"]]]],
    rng: np.random.Generator,
) -> float:
    """Return the rank of the first of S + 1 or, if it is one of the first two, among more.

    The second comparison stands alone: its p is at most a with probability a. So p is at most a <
    3 / (S + 1) no more often; and a larger a allows the two most extreme of S + 1 anyhow.

    Parameters
    ----------
    largest
        `(S + 1,)` how far out each member is, the observed one first.
    longer
        Gives how far out the observed is in a second comparison, and further replicates, `(chunk,)` at a time.
    rng
        Breaks ties.
    """
    p = rank(largest, rng)
    return p if p * len(largest) > 2.5 else _sequential(*longer())


def _sequential(observed: float, chunks: Iterable[Float[np.ndarray, " chunk"]]) -> float:
    """Return the p of a sequential comparison with replicates, of which chunks `(chunk,)` follow."""
    n_seen = n_greater = 0
    for chunk in chunks:
        counted = n_greater + np.cumsum(chunk >= observed)
        if counted[-1] >= ENOUGH:
            return ENOUGH / (n_seen + int(np.argmax(counted >= ENOUGH)) + 1)
        n_seen, n_greater = n_seen + len(chunk), int(counted[-1])
    return (n_greater + 1) / (n_seen + 1)


def rank(extremeness: Float[np.ndarray, " member"], rng: np.random.Generator) -> float:
    """Return the rank of the first among all, from 1 / (S + 1) to 1, ties at random."""
    n_greater = int((extremeness > extremeness[0]).sum())
    n_equal = int((extremeness == extremeness[0]).sum())
    return float(n_greater + rng.integers(1, n_equal + 1)) / len(extremeness)
