"""Random signs or replicates as the null of missing terms: how often each rejects, beside the test that knows the term.

    .venv/bin/python tests/benchmarks/form_nulls.py

Tables of tests/calibration/scenarios.py, regressions by maximum likelihood; of a null the outcomes are
drawn again from the fit. Takes about two minutes of one core and prints shares of tables.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit, xlogy
from scipy.stats import chi2

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))

from scenarios import simulate

N_SETS = 1_999
LEVELS = (0.005, 0.01, 0.02, 0.05)
NDArray = np.ndarray


class Case(NamedTuple):
    """Tables of one scenario and the regression that they get; `null`: outcomes are drawn from the fit."""

    scenario: str
    n_rows: int
    n_tables: int
    family: str = "logistic"
    null: bool = False


CASES = (
    Case("bent", 1600, 150),
    Case("quadratic_logit", 200, 100),
    Case("rare_logit", 800, 300, null=True),
    Case("bent", 1600, 300, null=True),
    Case("poisson", 200, 300, "poisson", null=True),
    Case("overdispersion", 800, 200, "poisson"),
    Case("heteroscedastic", 800, 200, "normal"),
    Case("eight_slopes", 100, 300, "normal", null=True),
)


class Fit(NamedTuple):
    """Means, weights `(rows,)`, sd of the residuals and log likelihood of a regression at its maximum."""

    mean: NDArray
    weight: NDArray
    sd: float
    log_likelihood: float


def fit(x: NDArray, y: NDArray, family: str) -> Fit:
    """Fit a logistic, a Poisson or a normal regression by Newton's method."""
    if family == "normal":
        mean = x @ np.linalg.lstsq(x, y, rcond=None)[0]
        variance = ((y - mean) ** 2).sum() / (len(y) - x.shape[1])
        log_likelihood = -0.5 * len(y) * float(np.log(((y - mean) ** 2).mean()))
        return Fit(mean, np.ones(len(y)), float(np.sqrt(variance)), log_likelihood)
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        mean, weight = _moments(x @ beta, family)
        step = np.linalg.solve((x * weight[:, None]).T @ x, x.T @ (y - mean))
        beta += np.clip(step, -2, 2)
    mean, weight = _moments(x @ beta, family)
    is_counts = family == "poisson"
    own = xlogy(y, mean) - mean if is_counts else xlogy(y, mean) + xlogy(1 - y, 1 - mean)
    return Fit(mean, weight, 1.0, float(own.sum()))


def _moments(predictor: NDArray, family: str) -> tuple[NDArray, NDArray]:
    mean = np.exp(predictor) if family == "poisson" else expit(predictor)
    return mean, mean if family == "poisson" else mean * (1 - mean)


def p_values(case: Case, seed: int) -> Iterator[float]:
    """Give p by signs, by replicates, by replicates that trust the dispersion, and by the ratio of likelihoods."""
    rng = np.random.default_rng([seed, case.n_rows])
    table = simulate(case.scenario, seed, case.n_rows)
    x1, x2, y = table["x1"], table["x2"], table["y"]
    names = [name for name in table if name.startswith("x")]
    x = np.stack([np.ones(case.n_rows), *(table[name] for name in names)], axis=1)
    found = fit(x, y, case.family)
    if case.null:
        y = _drawn(rng, found, (case.n_rows,), case.family)
        found = fit(x, y, case.family)
    columns = [_standard(x1) ** 2, _standard(x2) ** 2, _standard(x1) * _standard(x2)]
    columns += [np.log(x1)] if x1.min() > 0 else []
    information = (x * found.weight[:, None]).T @ x
    terms = np.stack(
        [c - x @ np.linalg.solve(information, (x * found.weight[:, None]).T @ c) for c in columns],
        axis=1,
    )
    entries = terms * (y - found.mean)[:, None]
    entries /= np.sqrt((entries**2).sum(axis=0))
    signs = 2.0 * rng.integers(2, size=(N_SETS, case.n_rows)) - 1
    yield _rank(np.abs(entries.sum(axis=0)).max(), np.abs(signs @ entries).max(axis=1))
    drawn = _drawn(rng, found, (N_SETS, case.n_rows), case.family)
    residual = np.concatenate([y[None], drawn]) - found.mean
    score = residual @ terms
    largest = np.abs(score / score[1:].std(axis=0)).max(axis=1)
    phi = (residual**2).sum(axis=1)
    phi[0] *= case.n_rows / (case.n_rows - x.shape[1])
    scaled = largest / np.sqrt(phi / phi[1:].mean())
    yield _rank(scaled[0], scaled[1:])
    yield _rank(largest[0], largest[1:])
    bent = fit(np.column_stack([x, columns[-1 if x1.min() > 0 else 0]]), y, case.family)
    yield float(chi2.sf(2 * (bent.log_likelihood - found.log_likelihood), 1))


def _standard(values: NDArray) -> NDArray:
    return (values - values.mean()) / values.std()


def _drawn(rng: np.random.Generator, found: Fit, shape: tuple[int, ...], family: str) -> NDArray:
    if family == "normal":
        return found.mean + found.sd * rng.standard_normal(shape)
    is_counts = family == "poisson"
    drawn = rng.poisson(found.mean, shape) if is_counts else rng.random(shape) < found.mean
    return drawn.astype(float)


def _rank(observed: float, others: NDArray) -> float:
    return float(1 + (others >= observed).sum()) / (1 + len(others))


def main() -> None:
    """Print a line for each case and way."""
    ways = ("signs", "replicates", "replicates without phi", "likelihood ratio of the one term")
    print("| tables | rows | number | null by |", " | ".join(f"p <= {a}" for a in LEVELS), "|")
    print("| --- " * (4 + len(LEVELS)) + "|")
    for case in CASES:
        found = np.array([[*p_values(case, seed)] for seed in range(1, 1 + case.n_tables)])
        name = f"{case.scenario}{', null' if case.null else ''}"
        for way, p in zip(ways, found.T, strict=True):
            shares = " | ".join(f"{(p <= level).mean():.3f}" for level in LEVELS)
            print(f"| {name} | {case.n_rows} | {case.n_tables} | {way} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
