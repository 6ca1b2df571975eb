"""The oracles: for each defect the score or likelihood-ratio test that knows it.

Every oracle is told the defect and the true values of the other parameters, and pays for not
knowing them: its statistic is the part that no combination of their scores gives. This is Neyman's
C(alpha) test at the truth, to first order the score test at the maximum likelihood estimate. Its
null distribution and its projection come from tables simulated from the true model, so that its
level is exact, whatever the number of rows.

With s = d log p / d eta and h = d^2 log p / d eta^2 of each row (eta its predictor), sums over rows:

- groups: sum over groups of (sum s)^2 + sum h, the score of a variance of group effects (Lin 1997);
- drift, regime, quadratic, source_units: sum s w, with w the column that the defect adds;
- overdispersion: sum s^2 + h, the score of a variance of row effects (Dean 1992);
- heteroscedastic: sum of x1 d log p / d log scale (Cook & Weisberg 1983);
- contamination, zero_inflation: log likelihood ratio of the mixture with its middle share;
- autoregression: sum of s times the s before it, the score of an autocorrelation (Breusch 1978).
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from benchmark_models import MODELS, NULL, Model, rows_of, simulate
from defect_kinds import CHANGE, KINDS, OUTLYING, SHIFTED
from truths import Rows

NDArray = np.ndarray
# Simulated tables of a null, with seeds that no table of the benchmark has.
N_NULLS, FIRST_SEED = 999, 10_000_000
ONE_SIDED = ("groups", "overdispersion", "contamination", "zero_inflation", "autoregression")
_STEP, _SECOND_STEP = 1e-5, 1e-3


class Measured(NamedTuple):
    """A table as oracles see it.

    Attributes
    ----------
    statistics
        By defect.
    scores
        `(k,)` of the parameters of the model.
    """

    statistics: NDArray
    scores: NDArray


class Null(NamedTuple):
    """Tables of a true model.

    Attributes
    ----------
    coefficients
        `(k, defect)` by which scores are projected out.
    statistics
        `(table, defect)`, projected.
    """

    coefficients: NDArray
    statistics: NDArray


def p_value(name: str, defect: str, table: dict[str, NDArray]) -> float:
    """Give the p-value of the oracle of a defect for a table of a model."""
    null = null_of(name, len(table["y"]), N_NULLS)
    return float(p_values(name, null, [measure(name, table)], defect)[0])


def p_values(name: str, null: Null, measured: list[Measured], defect: str) -> NDArray:
    """Rank tables among those of the null: `(table,)`."""
    number = MODELS[name].defects.index(defect)
    own = [one.statistics[number] - one.scores @ null.coefficients[:, number] for one in measured]
    of_null = null.statistics[:, number]
    if defect not in ONE_SIDED:
        own, of_null = np.abs(own), np.abs(of_null)
    above = len(of_null) - np.searchsorted(np.sort(of_null), own, side="left")
    return (1 + above) / (1 + len(of_null))


@functools.cache
def null_of(name: str, n_rows: int, n_tables: int) -> Null:
    """Simulate the null of a model with so many rows."""
    seen = [
        measure(name, simulate(name, NULL, 0, FIRST_SEED + number, n_rows))
        for number in range(n_tables)
    ]
    statistics, scores = (np.array(part) for part in zip(*seen, strict=True))
    centred = scores - scores.mean(axis=0)
    coefficients = np.linalg.lstsq(centred, statistics - statistics.mean(axis=0), rcond=None)[0]
    return Null(coefficients, statistics - scores @ coefficients)


def measure(name: str, table: dict[str, NDArray]) -> Measured:
    """Take the statistics of all defects of a model, and the scores of its parameters."""
    model = MODELS[name]
    rows, extra = rows_of(name, table), np.zeros(0)
    if model.truth.levels is not None:
        own, extra = model.truth.levels(rows)
        rows = rows._replace(own=own)
    asked = Asked(model, rows)
    statistics = [_STATISTICS[defect](asked) for defect in model.defects]
    return Measured(np.array(statistics), np.concatenate([asked.scores(), extra]))


class Asked:
    """A table and the true density of its rows."""

    def __init__(self, model: Model, rows: Rows) -> None:
        self.model, self.rows = model, rows
        self.theta = np.array(model.truth.theta)
        self.columns = rows.columns
        self.time = np.arange(len(rows.y)) / (len(rows.y) - 1)

    def log_density(self, offset: Any = 0.0, scale: Any = 1.0) -> NDArray:
        return self.model.truth.log_density(self.theta, self.rows, offset, scale)

    @functools.cached_property
    def base(self) -> NDArray:
        return self.log_density()

    @functools.cached_property
    def s(self) -> NDArray:
        return (self.log_density(_STEP) - self.log_density(-_STEP)) / (2 * _STEP)

    @functools.cached_property
    def h(self) -> NDArray:
        up, down = self.log_density(_SECOND_STEP), self.log_density(-_SECOND_STEP)
        return (up - 2 * self.base + down) / _SECOND_STEP**2

    def scores(self) -> NDArray:
        """Scores `(d,)` of the parameters, summed over rows."""
        return np.array([self._score(step) for step in _STEP * np.eye(len(self.theta))])

    def _score(self, step: NDArray) -> float:
        log_density = self.model.truth.log_density
        up, down = (log_density(self.theta + way * step, self.rows, 0.0, 1.0) for way in (1, -1))
        return (up - down).sum() / (2 * _STEP)


def _groups(a: Asked) -> float:
    return (np.bincount(a.columns["grp"], a.s) ** 2).sum() + a.h.sum()


def _drift(a: Asked) -> float:
    return a.s @ ((a.time - 0.5) * a.columns["x1"])


def _regime(a: Asked) -> float:
    return a.s @ (a.time > CHANGE)


def _overdispersion(a: Asked) -> float:
    return (a.s**2 + a.h).sum()


def _quadratic(a: Asked) -> float:
    return a.s @ (a.columns["x1"] ** 2 - 1)


def _contamination(a: Asked) -> float:
    if a.model.normal:
        other = a.log_density(scale=np.sqrt(1 + OUTLYING**2))
    else:
        far = SHIFTED * a.model.spread
        other = np.logaddexp(a.log_density(far), a.log_density(-far)) - np.log(2)
    return _mixed(other - a.base, KINDS["contamination"].sizes[1])


def _zero_inflation(a: Asked) -> float:
    ratio = np.where(a.rows.y == 0, -a.base, -np.inf)
    return _mixed(ratio, KINDS["zero_inflation"].sizes[1])


def _mixed(log_ratio: NDArray, share: float) -> float:
    """Log likelihood ratio of a mixture with this share of rows whose density is another."""
    return np.logaddexp(np.log1p(-share), np.log(share) + log_ratio).sum()


def _heteroscedastic(a: Asked) -> float:
    up, down = (a.log_density(scale=np.exp(way * _STEP)) for way in (1, -1))
    return (up - down) @ a.columns["x1"] / (2 * _STEP)


def _source_units(a: Asked) -> float:
    return a.s @ (a.columns["x1"] * (a.columns["src"] == 0))


def _autoregression(a: Asked) -> float:
    return a.s[1:] @ a.s[:-1]


_STATISTICS = {
    "groups": _groups,
    "drift": _drift,
    "regime": _regime,
    "overdispersion": _overdispersion,
    "quadratic": _quadratic,
    "contamination": _contamination,
    "heteroscedastic": _heteroscedastic,
    "zero_inflation": _zero_inflation,
    "source_units": _source_units,
    "autoregression": _autoregression,
}
