"""The twenty models of the defect benchmark, their true parameters, and the tables that are simulated from them."""

import dataclasses
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scenarios
import truths
from defect_kinds import KINDS, Altered
from scenarios import BINARY, COUNTS, GAUSSIAN, SCENARIOS, Design, Scenario
from scipy.special import logit
from truths import Rows, Truth

NDArray = np.ndarray
NULL = "null"
CALIBRATED = Path(scenarios.__file__).parent / "models.py"
MORE_MODELS = Path(__file__).parent / "more_models.py"

N_RATERS, N_ITEMS, N_SITES = 15, 10, 20
SITES_MEAN, SITES_SD, SITES_CORRELATION = (1.0, -0.5), (0.8, 0.4), 0.4
CHOICES = (0.2, 0.6, -0.3, -0.4)
INFLATED, KEPT = 0.2, 0.5

# What every predictor can have; and what comes with outcomes of some families.
SHAPES = ("groups", "drift", "regime", "quadratic", "source_units")
RESIDUALS = ("contamination", "heteroscedastic", "autoregression")


@dataclasses.dataclass(frozen=True)
class Model:
    """One of the twenty.

    Attributes
    ----------
    scenario
        Its null: how rows are drawn, and which function of which arguments is fitted.
    truth
        Its density and true parameters.
    defects
        Those that apply.
    spread
        Standard deviation that a normal outcome as informative about the predictor would have.
    file
        Of the NumPyro function.
    normal
        Whether the outcome has standard residuals, which defects can change.
    residual
        Draws the residuals.
    recorded
        `(replicate (draw, rows), table) -> {column: (draw, rows)}`: what a table would have of it.
    """

    scenario: Scenario
    truth: Truth
    defects: tuple[str, ...]
    spread: float = 1.0
    file: Path = CALIBRATED
    normal: bool = False
    residual: Callable[[np.random.Generator, int], NDArray] = lambda rng, n: rng.standard_normal(n)
    recorded: Callable[[NDArray, dict[str, NDArray]], dict[str, NDArray]] = (
        lambda replicate, table: {"y": replicate}
    )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The null and its defects."""
        return (NULL, *self.defects)


def simulate(name: str, defect: str, strength: int, seed: int, n_rows: int) -> dict[str, NDArray]:
    """Simulate a table: columns `(rows,)`.

    Parameters
    ----------
    name, defect
        Of MODELS and of KINDS, or "null".
    strength
        0, 1 or 2; of no matter for a null.
    seed
        Rows and outcome begin with the same random numbers, whatever the defect.
    """
    model = MODELS[name]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), n_rows])
    design = Altered(*scenarios.draw_design(model.scenario, n_rows, rng))
    design.residual = model.residual
    if defect != NULL:
        own = np.random.default_rng([seed, zlib.crc32(defect.encode()), n_rows])
        kind = KINDS[defect]
        design.change = kind.change(design, own, kind.sizes[strength], model.spread, model.normal)
    return _write(model, design, model.scenario.outcome(design))


def _write(model: Model, design: Altered, drawn: Any) -> dict[str, NDArray]:
    drawn = drawn if isinstance(drawn, dict) else {"y": drawn}
    change = design.change
    drawn = drawn | {"y": np.where(change.zero, 0.0, drawn["y"])}
    columns = dict(zip(model.scenario.covariates, design.x.T, strict=True))
    if "x1" in columns:
        columns["x1"] = columns["x1"] * change.written
    unit = {model.scenario.unit: design.unit} if model.scenario.unit else {}
    return {**drawn, **columns, "grp": design.grp, "src": design.src, **unit}


def rows_of(name: str, table: dict[str, NDArray]) -> Rows:
    """Give a table as the true density takes it, with levels where they are seen."""
    model = MODELS[name]
    ones = np.ones(len(table["y"]))
    x = np.stack([ones, *(table[column] for column in model.scenario.covariates)], axis=1)
    return Rows(table["y"], x, table)


# ---- outcomes that the calibration has not


def _student(d: Design) -> NDArray:
    return d.predictor(GAUSSIAN) + d.noise()


def _inflated(d: Design) -> NDArray:
    return d.counts(np.exp(d.predictor(COUNTS))) * (d.rng.random(len(d.x)) > INFLATED)


def _survival(d: Design) -> dict[str, NDArray]:
    """Weibull lifetimes, of which those that outlast the time of watching are censored."""
    life = np.exp(d.predictor((2.0, 0.4))) * d.rng.weibull(1.4, len(d.x))
    end = d.rng.uniform(1.0, 21.0, len(d.x))
    return {"y": np.minimum(life, end), "lost": (life > end).astype(float), "end": end}


def _watched(life: NDArray, table: dict[str, NDArray]) -> dict[str, NDArray]:
    end = table["end"]
    return {"y": np.minimum(life, end), "lost": (life > end).astype(float)}


def _choices(d: Design) -> NDArray:
    """Draw one of three choices by the largest of three utilities."""
    own = np.stack([np.zeros(len(d.x)), d.predictor(CHOICES[:2]), d.predictor(CHOICES[2:])])
    return (own + d.rng.gumbel(size=own.shape)).argmax(axis=0).astype(float)


def _two_kinds(d: Design) -> NDArray:
    return SCENARIOS["mixture"].outcome(d) + d.predictor((0.0,))


def _crossed(d: Design) -> dict[str, NDArray]:
    rater, item = d.labels(N_RATERS), d.labels(N_ITEMS)
    strict, easy = 0.7 * d.rng.standard_normal(N_RATERS), 0.5 * d.rng.standard_normal(N_ITEMS)
    y = d.predictor((0.3, 0.5)) + strict[rater] + easy[item] + d.noise()
    return {"y": y, "rater": rater, "item": item}


def _sites_covariance() -> NDArray:
    both = SITES_CORRELATION * SITES_SD[0] * SITES_SD[1]
    return np.array([[SITES_SD[0] ** 2, both], [both, SITES_SD[1] ** 2]])


def _sites(d: Design) -> dict[str, NDArray]:
    site = d.labels(N_SITES)
    root = np.linalg.cholesky(_sites_covariance())
    level = d.rng.standard_normal((N_SITES, 2)) @ root.T
    own = level[site, 0] + level[site, 1] * d.x[:, 0]
    return {"y": d.predictor(SITES_MEAN) + own + d.noise(), "site": site}


def _autoregressive(d: Design) -> dict[str, NDArray]:
    pushed = d.predictor((0.3, 0.5)) + d.noise()
    y = np.empty(len(pushed))
    before = 0.0
    for number, push in enumerate(pushed):
        before = y[number] = KEPT * before + push
    return {"y": y, "lag": np.concatenate([[0.0], y[:-1]])}


# ---- the twenty


def _like(name: str, **other: Any) -> Scenario:
    """Give a scenario of the calibration, compared along groups as well."""
    found = SCENARIOS[name]
    axes = dict.fromkeys([*found.axes, "grp"])
    return dataclasses.replace(found, kind="null", axes=tuple(axes), rows=None, **other)


def _new(model: str, outcome: Callable[[Design], Any], n_parameters: int) -> Scenario:
    return Scenario(
        model, outcome, n_parameters, n_covariates=1, axes=("src", "x1", "grp"), rows=None
    )


_UNITS = truths.of_groups("unit", GAUSSIAN, 0.7)
_GROUPED = ("groups", "drift", "regime", "quadratic", "contamination", "heteroscedastic")
MODELS = {
    "linear": Model(
        _like("linear"),
        Truth((*GAUSSIAN, 0.0), truths.normal),
        (*SHAPES, *RESIDUALS),
        normal=True,
    ),
    "student": Model(
        dataclasses.replace(_like("student"), outcome=_student),
        Truth((*GAUSSIAN, 0.0), truths.student),
        (*SHAPES, "heteroscedastic", "autoregression"),
        spread=1.2,
        normal=True,
        residual=lambda rng, n: rng.standard_t(4, n),
    ),
    "logit": Model(
        _like("logit"), Truth(BINARY, truths.bernoulli), (*SHAPES, "autoregression"), spread=2.1
    ),
    "poisson": Model(
        _like("poisson"),
        Truth(COUNTS, truths.poisson),
        (*SHAPES, "overdispersion", "contamination", "zero_inflation", "autoregression"),
        spread=0.59,
    ),
    "negative_binomial": Model(
        _like("negative_binomial"),
        Truth((*COUNTS, np.log(3.0)), truths.negative_binomial),
        (*SHAPES, "contamination", "zero_inflation", "autoregression"),
        spread=0.85,
    ),
    "gamma": Model(
        _like("gamma"),
        Truth((*COUNTS, np.log(2.0)), truths.gamma),
        (*SHAPES, "contamination", "autoregression"),
        spread=0.72,
    ),
    "centred": Model(
        _like("centred"),
        Truth((*GAUSSIAN, 0.0), truths.normal, _UNITS),
        (*_GROUPED, "source_units"),
        normal=True,
    ),
    "noncentred": Model(
        _like("noncentred"), Truth((*GAUSSIAN, 0.0), truths.normal, _UNITS), _GROUPED, normal=True
    ),
    "counties": Model(
        _like("counties_8"),
        Truth((1.0, -0.5, 0.0), truths.normal, truths.of_groups("county", (1.0, -0.5), 0.8)),
        (*SHAPES, *RESIDUALS),
        normal=True,
    ),
    "index": Model(
        _like("index"),
        Truth((-0.5, 0.0, 0.3, 1.0, 0.5, 0.0), truths.indexed("treatment", 4)),
        (*SHAPES, *RESIDUALS),
        normal=True,
    ),
    "hurdle": Model(
        _like("hurdle"),
        Truth((1.0, 0.3, np.log(2.0), logit(0.3)), truths.hurdle),
        (*SHAPES, "contamination"),
        spread=0.85,
    ),
    "ordinal": Model(
        _like("ordinal"),
        Truth((0.8, -1.0, 0.5, 1.5), truths.ordinal),
        (*SHAPES, "zero_inflation"),
        spread=1.8,
    ),
    "survival": Model(
        dataclasses.replace(_like("censored"), outcome=_survival),
        Truth((2.0, 0.4, np.log(1.4)), truths.weibull),
        (*SHAPES, "contamination"),
        spread=0.83,
        recorded=_watched,
    ),
    "zero_inflated": Model(
        dataclasses.replace(_like("bounded"), outcome=_inflated),
        Truth((*COUNTS, logit(INFLATED)), truths.zero_inflated),
        (*SHAPES, "overdispersion", "contamination"),
        spread=0.7,
    ),
    "beta": Model(
        _like("beta"),
        Truth((-0.3, 0.5, np.log(10.0)), truths.beta),
        (*SHAPES, "contamination", "autoregression"),
        spread=0.62,
    ),
    "multinomial": Model(
        _new("multinomial", _choices, 4),
        Truth(CHOICES, truths.choices),
        SHAPES,
        spread=2.2,
        file=MORE_MODELS,
    ),
    "crossed": Model(
        _new("crossed", _crossed, 5),
        Truth(
            (0.3, 0.5, 0.0),
            truths.normal,
            truths.of_crossed(("rater", "item"), (0.3, 0.5), (0.7, 0.5)),
        ),
        (*SHAPES, *RESIDUALS),
        file=MORE_MODELS,
        normal=True,
    ),
    "slopes": Model(
        _new("slopes", _sites, 6),
        Truth(
            (*SITES_MEAN, 0.0),
            truths.normal,
            truths.of_slopes("site", SITES_MEAN, _sites_covariance()),
        ),
        (*SHAPES, *RESIDUALS),
        file=MORE_MODELS,
        normal=True,
    ),
    "mixture": Model(
        dataclasses.replace(_like("mixture"), outcome=_two_kinds),
        Truth((-1.0, 3.0, 0.0, logit(0.35)), truths.mixture),
        ("groups", "regime", "contamination", "autoregression"),
        spread=1.14,
        normal=True,
    ),
    "autoregressive": Model(
        _new("autoregressive", _autoregressive, 4),
        Truth((0.3, 0.5, KEPT, 0.0), truths.autoregressive),
        (*SHAPES, "contamination", "heteroscedastic"),
        file=MORE_MODELS,
        normal=True,
    ),
}
