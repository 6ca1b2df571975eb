"""What is simulated: nulls, on which every alarm is false, and defects with their true answers.

Rows stand in the order of arrival. Every table has covariates x1, x2, ..., 40 groups `grp` of equal
size at random places, and 8 sources `src`, each of 5 whole groups; where rows come in units, these
follow one another, each within one source. Nulls of data structures have further columns: flags,
labels that the model counts, outcomes that are no plain number. Integers are codes of labels, all
other columns are numbers.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import lfilter
from scipy.special import expit

NDArray = np.ndarray

N_SUBSETS, N_GROUPS, N_SOURCES, UNIT_ROWS = 8, 40, 8, 5
N_COUNTIES, N_ITEMS, N_TREATMENTS, N_REGIONS = 20, 12, 4, 3
POWER_ROWS = 200
# A test of the missing logarithm of a known form rejects at .5 % in nine tables of ten of 1,600 rows.
LOG_SLOPE = 1.2
PLATE_ROWS = 12
TIME = "arrival"
BOTH = "both"

GAUSSIAN, BINARY, COUNTS = (0.3, 0.5, -0.3), (-0.4, 0.6, -0.3), (1.0, 0.3, -0.2)
EIGHT = (0.3, 0.5, -0.3, 0.2, 0.0, 0.0, 0.4, -0.1)


class Design(NamedTuple):
    """Rows without their outcome.

    Attributes
    ----------
    rng
        For the outcome.
    x
        `(rows, k)` covariates.
    time
        `(rows,)` from 0 to 1.
    grp, src, unit
        `(rows,)` codes.
    """

    rng: np.random.Generator
    x: NDArray
    time: NDArray
    grp: NDArray
    src: NDArray
    unit: NDArray

    def predictor(self, beta: Sequence[float] | NDArray) -> NDArray:
        """Intercept and slopes: `(rows,)`."""
        return beta[0] + self.x @ np.asarray(beta[1:])

    def labels(self, count: int) -> NDArray:
        """Codes of labels, each as likely: `(rows,)`."""
        return self.rng.integers(0, count, len(self.x))

    def noise(self) -> NDArray:
        return self.rng.standard_normal(len(self.x))

    def binary(self, predictor: NDArray) -> NDArray:
        return (self.rng.random(len(predictor)) < expit(predictor)).astype(float)

    def counts(self, mean: NDArray) -> NDArray:
        return self.rng.poisson(mean).astype(float)


# The outcome alone `(rows,)`, or with the columns that come with it: by name, `y` among them.
Drawn = NDArray | dict[str, NDArray]


@dataclass(frozen=True)
class Scenario:
    """One kind of data and the model that it is given to.

    Attributes
    ----------
    model
        Function of models.py.
    outcome
        Draws the outcome `(rows,)`, and columns that the model takes with it.
    n_parameters
        Compared parameters.
    n_covariates, correlation
        Number of covariates, and the correlation between any two.
    kind
        "null"; "structure", a null for the structure of its data, which tables list apart; or what
        the defect is: "misfit" or "heterogeneous"; "both", where there are two.
    accepted, accepted_beside
        Family and axis that name a defect rightly, and the second of two; the axis None: no axis.
    axes
        Columns along which fits are compared.
    unit
        The column of units that rows come in, which the model knows.
    draws
        Per chain at first; None for the usual number.
    n_subsets
        Random subsets, which hold all rows.
    rows
        Of a subset; None for as many as the parameters need.
    shared
        `Design -> Design`: what else is done to the columns.
    """

    model: str
    outcome: Callable[[Design], Drawn]
    n_parameters: int
    n_covariates: int = 2
    correlation: float = 0.0
    kind: str = "null"
    accepted: frozenset[tuple[str, str | None]] = frozenset()
    accepted_beside: frozenset[tuple[str, str | None]] = frozenset()
    axes: tuple[str, ...] = ("src", "x1", "x2", "grp")
    unit: str | None = None
    draws: int | None = None
    n_subsets: int = N_SUBSETS
    rows: int | None = None
    shared: Callable[[Design], Design] = lambda design: design

    @property
    def is_null(self) -> bool:
        return self.kind in ("null", "structure")

    @property
    def n_rows(self) -> int:
        """Rows of a subset: enough for a verdict where nothing is wrong, 200 to show power."""
        enough = max(100, 20 * self.n_parameters) if self.is_null else POWER_ROWS
        return self.rows or enough

    @property
    def covariates(self) -> list[str]:
        return [f"x{number}" for number in range(1, self.n_covariates + 1)]


def simulate(name: str, seed: int, n_rows: int) -> dict[str, NDArray]:
    """Simulate a table of a scenario, the same for the same seed: columns `(rows,)`."""
    scenario = SCENARIOS[name]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    design = scenario.shared(draw_design(scenario, n_rows, rng))
    columns = dict(zip(scenario.covariates, design.x.T, strict=True))
    codes = {"grp": design.grp, "src": design.src}
    unit = {scenario.unit: design.unit} if scenario.unit else {}
    drawn = scenario.outcome(design)
    drawn = drawn if isinstance(drawn, dict) else {"y": drawn}
    return {**drawn, **columns, **codes, **unit}


def draw_design(scenario: Scenario, n_rows: int, rng: np.random.Generator) -> Design:
    """Draw the rows of a scenario, without their outcome."""
    rho = scenario.correlation
    own = rng.standard_normal((n_rows, scenario.n_covariates))
    x = np.sqrt(rho) * rng.standard_normal((n_rows, 1)) + np.sqrt(1 - rho) * own
    unit = np.arange(n_rows) // UNIT_ROWS
    if scenario.unit:
        grp = rng.permutation(int(unit[-1]) + 1)[unit] % N_GROUPS
    else:
        grp = rng.permutation(n_rows) % N_GROUPS
    return Design(rng, x, np.arange(n_rows) / (n_rows - 1), grp, grp % N_SOURCES, unit)


# ---- outcomes


def _normal(beta: Sequence[float]) -> Callable[[Design], NDArray]:
    return lambda d: d.predictor(beta) + d.noise()


def _student(d: Design) -> NDArray:
    return d.predictor(GAUSSIAN) + d.rng.standard_t(4, len(d.x))


def _bernoulli(beta: Sequence[float]) -> Callable[[Design], NDArray]:
    return lambda d: d.binary(d.predictor(beta))


def _from_prior(d: Design) -> NDArray:
    return d.binary(d.predictor(0.4 * d.rng.standard_normal(3)))


def _poisson(d: Design) -> NDArray:
    return d.counts(np.exp(d.predictor(COUNTS)))


def _mixed_poisson(shape: float) -> Callable[[Design], NDArray]:
    return lambda d: d.counts(np.exp(d.predictor(COUNTS)) * d.rng.gamma(shape, 1 / shape, len(d.x)))


def _gamma(d: Design) -> NDArray:
    return np.exp(d.predictor(COUNTS)) * d.rng.gamma(2.0, 0.5, len(d.x))


def _zeros(share: float) -> Callable[[Design], NDArray]:
    return lambda d: _poisson(d) * (d.rng.random(len(d.x)) > share)


def _intercepts(d: Design) -> NDArray:
    effect = 0.7 * d.rng.standard_normal(int(d.unit[-1]) + 1)
    return d.predictor(GAUSSIAN) + effect[d.unit] + d.noise()


def _groups(spread: float) -> Callable[[Design], NDArray]:
    return lambda d: spread * d.rng.standard_normal(N_GROUPS)[d.grp]


def _drift(rate: float) -> Callable[[Design], NDArray]:
    return lambda d: rate * (d.time - 0.5) * d.x[:, 0]


def _square(size: float) -> Callable[[Design], NDArray]:
    return lambda d: size * (d.x[:, 0] ** 2 - 1)


def _normal_and(part: Callable[[Design], NDArray]) -> Callable[[Design], NDArray]:
    return lambda d: d.predictor(GAUSSIAN) + part(d) + d.noise()


def _bernoulli_and(part: Callable[[Design], NDArray]) -> Callable[[Design], NDArray]:
    return lambda d: d.binary(d.predictor(BINARY) + part(d))


def _regime(d: Design) -> NDArray:
    return d.counts(np.exp(d.predictor(COUNTS) + np.log(1.25) * (d.time > 0.6)))


def _contaminated(d: Design) -> NDArray:
    outlying = d.rng.random(len(d.x)) < 0.02
    return d.predictor(GAUSSIAN) + d.noise() + 6.0 * outlying * d.noise()


def _heteroscedastic(d: Design) -> NDArray:
    return d.predictor(GAUSSIAN) + np.exp(0.35 * d.x[:, 0]) * d.noise()


def _autoregressive(d: Design) -> NDArray:
    rho, noise = 0.4, d.noise()
    noise[1:] *= np.sqrt(1 - rho**2)
    return d.predictor(GAUSSIAN) + lfilter([1.0], [1.0, -rho], noise)


def _other_units(d: Design) -> NDArray:
    """Simulate from the right units; one source writes inches as centimetres."""
    x = d.x.copy()
    x[d.src == 0, 0] /= 2.54
    return d._replace(x=x).predictor(GAUSSIAN) + d.noise()


def _write_centimetres(d: Design) -> Design:
    x = d.x.copy()
    x[d.src == 0, 0] *= 2.54
    return d._replace(x=x)


def _write_positive(d: Design) -> Design:
    """The first covariate is a concentration: positive, with a long tail."""
    x = d.x.copy()
    x[:, 0] = np.clip(np.exp(0.3 + 0.6 * x[:, 0]), 0.5, 9.65)
    return d._replace(x=x)


def _bent(d: Design) -> NDArray:
    """It acts through its logarithm."""
    return d.binary(-0.5 + LOG_SLOPE * np.log(d.x[:, 0]) - 0.3 * d.x[:, 1])


def _drift_and_dispersion(d: Design) -> NDArray:
    mean = np.exp(d.predictor(COUNTS) + 0.8 * (d.time - 0.5))
    return d.counts(mean * d.rng.gamma(4.0, 0.25, len(d.x)))


def _bent_and_groups(d: Design) -> NDArray:
    own = 0.8 * d.rng.standard_normal(N_GROUPS)[d.grp]
    return d.binary(-0.5 + 2.0 * np.log(d.x[:, 0]) - 0.3 * d.x[:, 1] + own)


def _contaminated_source(d: Design) -> NDArray:
    return _contaminated(d) + 0.7 * (d.src == 0)


def _plates(d: Design) -> Drawn:
    """Doses on plates of twelve rows; on half of the plates a thousandth of the dose has the same effect."""
    plate = np.arange(len(d.x)) // PLATE_ROWS
    log_dose = d.rng.uniform(-4.0, 4.0, len(d.x))
    half = np.where(d.rng.random(int(plate[-1]) + 1) < 0.5, -1.5, 1.5)[plate]
    y = 1.0 + 2.0 * expit(np.log(10) * (log_dose - half)) + 0.3 * d.noise()
    return {"y": y, "dose": log_dose, "plate": plate}


# ---- outcomes of data structures


def _censored(d: Design) -> Drawn:
    """Weibull lifetimes; three in ten end after the time at which their row is lost from sight."""
    life = np.exp(d.predictor((2.0, 0.4))) * d.rng.weibull(1.4, len(d.x))
    end = d.rng.uniform(1.0, 21.0, len(d.x))
    return {"y": np.minimum(life, end), "lost": (life > end).astype(float)}


def _masked(d: Design) -> Drawn:
    """A sixth of the outcomes is not seen, more where x1 is large; the table has zeros there."""
    seen = d.binary(1.8 - 0.6 * d.x[:, 0])
    return {"y": seen * (d.predictor((1.0, 0.5)) + d.noise()), "seen": seen}


def _persons(d: Design) -> Drawn:
    """Each person answers some of the items, drawn at random."""
    n_persons = int(d.unit[-1]) + 1
    booklets = d.rng.permuted(np.tile(np.arange(N_ITEMS), (n_persons, 1)), axis=1)
    item = booklets[:, :UNIT_ROWS].ravel()
    ability = d.rng.standard_normal(n_persons)
    easy = 0.3 + d.rng.standard_normal(N_ITEMS)
    return {"y": d.binary(ability[d.unit] + easy[item]), "item": item}


def _counties(d: Design) -> Drawn:
    county = d.labels(N_COUNTIES)
    level = 1.0 + 0.8 * d.rng.standard_normal(N_COUNTIES)
    return {"y": d.predictor((0.0, -0.5)) + level[county] + d.noise(), "county": county}


def _treated(d: Design) -> Drawn:
    treatment = d.labels(N_TREATMENTS)
    level = np.array([-0.5, 0.0, 0.3, 1.0])
    return {"y": d.predictor((0.0, 0.5)) + level[treatment] + d.noise(), "treatment": treatment}


def _visits(d: Design) -> Drawn:
    """Counts by treatment, whose levels come from a population."""
    treatment = d.labels(N_TREATMENTS)
    level = 0.8 + 0.5 * d.rng.standard_normal(N_TREATMENTS)
    return {"y": d.counts(np.exp(level[treatment])), "treatment": treatment}


def _opposite(d: Design) -> Drawn:
    """Half of the sources have the effects of treatments turned round."""
    treatment = d.labels(N_TREATMENTS)
    effect = np.array([-0.3, -0.1, 0.1, 0.3])[treatment] * np.where(d.src < N_SOURCES // 2, 1, -1)
    return {"y": d.predictor((0.0, 0.5)) + effect + d.noise(), "treatment": treatment}


def _ordinal(d: Design) -> Drawn:
    """Grades 0 to 3: the number of cutpoints that a logistic variable exceeds."""
    latent = d.predictor((0.0, 0.8)) + d.rng.logistic(size=len(d.x))
    return np.searchsorted([-1.0, 0.5, 1.5], latent).astype(float)


def _choices(d: Design) -> Drawn:
    """One of three choices, whose shares differ between regions."""
    region = d.labels(N_REGIONS)
    shares = d.rng.dirichlet(np.full(3, 4.0), N_REGIONS)
    above = d.rng.random(len(d.x))[:, None] > np.cumsum(shares, axis=1)[region, :2]
    return {"y": above.sum(axis=1).astype(float), "region": region}


def _shares(d: Design) -> Drawn:
    """Beta shares as a table has them: of three digits, none of them 0 or 1."""
    mean, precision = expit(d.predictor((-0.3, 0.5))), 10.0
    share = d.rng.beta(precision * mean, precision * (1 - mean))
    return np.clip(share.round(3), 0.001, 0.999)


def _two_kinds(d: Design) -> Drawn:
    return np.where(d.rng.random(len(d.x)) < 0.35, -1.0, 3.0) + d.noise()


def _hurdle(d: Design) -> Drawn:
    """Nothing in three rows of ten, a gamma amount in the others."""
    amount = np.exp(d.predictor((1.0, 0.3))) * d.rng.gamma(2.0, 0.5, len(d.x))
    return amount * (d.rng.random(len(d.x)) > 0.3)


# ---- what is run


def _answers(*accepted: tuple[str, str | None]) -> frozenset[tuple[str, str | None]]:
    return frozenset(accepted)


# A source is five whole groups: what differs between groups differs between sources, and the other
# way round; where both are certain their ranks tie.
_GROUPS = _answers(
    ("heterogeneity", "grp"), ("heterogeneity", "src"), ("surprise", "grp"), ("surprise", "src")
)
_TIME = _answers(("heterogeneity", TIME), ("drift", TIME), ("surprise", TIME))
_SHAPE = _answers(("form", "x1"), ("heterogeneity", "x1"), ("surprise", "x1"))
_VARIANCE = _answers(("agreement", None), ("surprise", None))
_OUTCOME = _answers(("surprise", None))


def _defect(
    kind: str,
    accepted: frozenset[tuple[str, str | None]],
    model: str,
    outcome: Callable[[Design], NDArray],
    **other: Any,
) -> Scenario:
    d = {"linear": 4, "index": 6, "constant_hazard": 2, "dose_response": 5}.get(model, 3)
    return Scenario(model, outcome, d, kind=kind, accepted=accepted, **other)


_MISFIT, _HETEROGENEOUS = "misfit", "heterogeneous"

NULLS = {
    "linear": Scenario("linear", _normal(GAUSSIAN), 4),
    "logit": Scenario("logit", _bernoulli(BINARY), 3),
    "poisson": Scenario("poisson", _poisson, 3),
    "negative_binomial": Scenario("negative_binomial", _mixed_poisson(3.0), 4),
    "gamma": Scenario("gamma", _gamma, 4),
    "student": Scenario("student", _student, 4),
    "rare_logit": Scenario("logit", _bernoulli((-3.0, 0.5, -0.3)), 3),
    "correlated_logit": Scenario("logit", _bernoulli((-0.3, 0.5, 0.5)), 3, correlation=0.95),
    "strong_prior": Scenario("strong_logit", _from_prior, 3),
    "eight_slopes": Scenario("linear", _normal(EIGHT), 9, n_covariates=7),
    "bounded": Scenario("zero_inflated", _zeros(0.01), 4),
    # So few that the effective number is just enough, after the sampler has gone on.
    "low_ess": Scenario("logit", _bernoulli((-0.3, 0.5, 0.5)), 3, correlation=0.95, draws=150),
    "centred": Scenario("centred", _intercepts, 5, unit="unit"),
    "noncentred": Scenario("noncentred", _intercepts, 5, unit="unit"),
}


def _structure(
    model: str, outcome: Callable[[Design], Drawn], n_parameters: int, **other: Any
) -> Scenario:
    """Give a null for a data structure: one covariate and one axis that the model does not use."""
    usual = {"n_covariates": 1, "axes": ("src", "x1")}
    return Scenario(model, outcome, n_parameters, kind="structure", **usual | other)


def _answers_of_persons(n_subsets: int) -> Scenario:
    """Items are those of all subsets, persons are units of five answers."""
    return _structure(
        "persons",
        _persons,
        3,
        n_covariates=0,
        axes=("src",),
        unit="person",
        n_subsets=n_subsets,
        rows=250,
    )


# A county is in every subset, and no unit.
STRUCTURES = {
    "censored": _structure("censored", _censored, 3),
    "masked": _structure("masked", _masked, 3),
    "persons_6": _answers_of_persons(6),
    "persons_8": _answers_of_persons(8),
    "persons_12": _answers_of_persons(12),
    "counties_8": _structure("counties", _counties, 4, rows=150),
    "counties_24": _structure("counties", _counties, 4, rows=150, n_subsets=24),
    "index": _structure("index", _treated, 6, rows=120),
    "noncentred_index": _structure(
        "noncentred_index", _visits, 6, n_covariates=0, axes=("src",), rows=200
    ),
    "horseshoe": _structure(
        "horseshoe", _normal((0.0, 1.0, -0.5, 0.0, 0.0, 0.0, 0.0)), 14, n_covariates=6, rows=250
    ),
    "ordinal": _structure("ordinal", _ordinal, 4),
    "dirichlet": _structure(
        "dirichlet", _choices, 6, n_covariates=0, axes=("src", "region"), rows=120
    ),
    "beta": _structure("beta", _shares, 3),
    "mixture": _structure("mixture", _two_kinds, 4, n_covariates=0, axes=("src",)),
    "hurdle": _structure("hurdle", _hurdle, 4),
}
DEFECTS = {
    "groups": _defect(_HETEROGENEOUS, _GROUPS, "linear", _normal_and(_groups(0.5))),
    "drift": _defect(_HETEROGENEOUS, _TIME, "linear", _normal_and(_drift(0.8))),
    "regime": _defect(_HETEROGENEOUS, _TIME, "poisson", _regime),
    "overdispersion": _defect(_MISFIT, _VARIANCE, "poisson", _mixed_poisson(4.0)),
    "quadratic": _defect(_MISFIT, _SHAPE, "linear", _normal_and(_square(0.25))),
    "contamination": _defect(_MISFIT, _VARIANCE, "linear", _contaminated),
    "heteroscedastic": _defect(_MISFIT, _SHAPE, "linear", _heteroscedastic),
    "zero_inflation": _defect(_MISFIT, _OUTCOME, "poisson", _zeros(0.10)),
    "source_units": _defect(
        _HETEROGENEOUS, _GROUPS, "linear", _other_units, shared=_write_centimetres
    ),
    "autoregression": _defect(_MISFIT, _OUTCOME, "linear", _autoregressive),
    "groups_logit": _defect(_HETEROGENEOUS, _GROUPS, "logit", _bernoulli_and(_groups(0.8))),
    "drift_logit": _defect(_HETEROGENEOUS, _TIME, "logit", _bernoulli_and(_drift(1.2))),
    "quadratic_logit": _defect(_MISFIT, _SHAPE, "logit", _bernoulli_and(_square(0.5))),
    "bent": _defect(_MISFIT, _SHAPE, "logit", _bent, shared=_write_positive),
    # 230 plates, of which a subset of random rows has most.
    "drift_and_dispersion": _defect(
        *(BOTH, _TIME, "poisson", _drift_and_dispersion), accepted_beside=_VARIANCE
    ),
    "bent_and_groups": _defect(
        *(BOTH, _GROUPS, "logit", _bent_and_groups),
        shared=_write_positive,
        accepted_beside=_SHAPE,
    ),
    "contaminated_source": _defect(
        *(BOTH, _GROUPS, "linear", _contaminated_source), accepted_beside=_VARIANCE
    ),
    "plates": _defect(
        *(_HETEROGENEOUS, _answers(("heterogeneity", "plate"), ("surprise", "plate"))),
        *("dose_response", _plates),
        n_covariates=0,
        axes=("plate",),
        rows=345,
    ),
    "opposite_effects": _defect(
        *(_HETEROGENEOUS, _answers(("heterogeneity", "src"), ("surprise", "src"))),
        *("index", _opposite),
        n_covariates=1,
        axes=("src", "x1"),
        rows=500,
    ),
    # A thousand rows in all, increments of 500 and 1,000; three in ten are censored.
    "wrong_hazard": _defect(
        *(_MISFIT, _OUTCOME | _VARIANCE),
        *("constant_hazard", _censored),
        n_covariates=1,
        axes=("src", "x1"),
        n_subsets=2,
        rows=500,
    ),
}
SCENARIOS: Mapping[str, Scenario] = {**NULLS, **STRUCTURES, **DEFECTS}
