"""Errors of a unit's log marginal density, plain and corrected, against quadrature: a table for the documentation.

    .venv/bin/python tests/benchmarks/laplace_errors.py
    .venv/bin/python tests/benchmarks/laplace_errors.py --units 500

Random intercepts with an sd of one, of counts (Poisson, mean log 1) and of yes and no (logistic, mean 0); theta is the
truth. `mean` is the mean error of a unit with its sign, which adds up over units; `sd` is the sd of errors between
units, and `largest` the largest. `of a difference` is the mean error, with its sign, of what a unit's log density
changes by where the log of the sd of the population grows by .2: what weights of draws are made of. The corrected
density has the same random numbers and shapes of units at both. All in float64.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax  # noqa: E402
import numpy as np  # noqa: E402
import random_effects  # noqa: E402

from scalecheck.laplace.marginal_density import MarginalDensity  # noqa: E402

ROWS = (2, 5, 50)
CHANGE = np.array([0.0, 0.2])


def errors(name: str, n_units: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Errors of both marginals by unit, `(rows of a unit, unit)`, at theta and of the change from there."""
    family = random_effects.FAMILIES[name]
    theta, sizes = np.array([family.centre, 0.0]), np.repeat(ROWS, n_units)
    values, _ = family.simulate(np.random.default_rng(1), sizes, family.centre, 1.0)
    marginal = MarginalDensity(random_effects.batch_of(family.model, values, precision="float64"))
    assert len(marginal.blocks) == 1
    marginal.settle(theta)
    keys = jax.random.split(jax.random.PRNGKey(2), 1)
    at, beside = (
        random_effects.both_marginals(marginal, one, keys) for one in (theta, theta + CHANGE)
    )
    exact, other = (family.log_marginal(one, values) for one in (theta, theta + CHANGE))
    found = {"plain": (at.plain, beside.plain), "corrected": (at.corrected[0], beside.corrected[0])}
    return [
        (
            what,
            (one - exact).reshape(len(ROWS), -1),
            (two - one - other + exact).reshape(len(ROWS), -1),
        )
        for what, (one, two) in found.items()
    ]


def main(n_units: int) -> None:
    """Print the table."""
    print("| model | rows of a unit | marginal | mean | sd | largest | of a difference |")
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for name in random_effects.FAMILIES:
        both = errors(name, n_units)
        for i, rows in enumerate(ROWS):
            for what, one, change in both:
                figures = one[i].mean(), one[i].std(), np.abs(one[i]).max(), change[i].mean()
                written = " | ".join(f"{figure:+.5f}" for figure in figures[:1])
                written += "".join(f" | {figure:.5f}" for figure in figures[1:3])
                print(f"| {name} | {rows} | {what} | {written} | {figures[3]:+.5f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Errors of a unit's log marginal density.")
    parser.add_argument("--units", type=int, default=300, help="units of each size")
    with jax.enable_x64(True):
        main(parser.parse_args().units)
