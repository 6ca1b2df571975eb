"""Beginning stalled chains anew, beside a placebo and beside letting them run.

    .venv/bin/python tests/benchmarks/stalls.py --seeds 5

`restart` is the rule of `sampler.stall`; `placebo` begins as many chains anew, in the same windows, but
chosen at random among those of fits in which none stalled; `ignore` lets all run. Gradients include
warmup and those of discarded chains. Adds its lines to tests/benchmarks/results/stalls.csv and prints,
by target, the smallest ESS per 1,000 gradients summed over fits, and how many chains began anew.
"""

import argparse
import datetime
import functools
import os
from pathlib import Path
from typing import Any
from unittest import mock

RESULTS = Path(__file__).parent / "results" / "stalls.csv"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import engines  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from scalecheck import sampler  # noqa: E402
from scalecheck.sampler import stall  # noqa: E402
from scalecheck.sampler.stall import first_stall  # noqa: E402

FITS, CHAINS, WARMUP, DRAWS = 16, 4, 500, 500


def funnel(unused: Any) -> Any:
    """Neal's funnel of four further coordinates, moderately wide."""

    def potential(z: Any) -> jax.Array:
        v, x = z["v"], z["x"]
        return 0.5 * (v / 1.5) ** 2 + 0.5 * jnp.sum(x**2) * jnp.exp(-v) + 2 * v

    return potential


def correlated(unused: Any) -> Any:
    """Normal of five coordinates, correlated .9."""
    precision = np.linalg.inv(0.9 + 0.1 * np.eye(5)).astype("float32")
    return lambda z: 0.5 * jnp.append(z["x"], z["v"]) @ precision @ jnp.append(z["x"], z["v"])


def good(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Starts within the bulk of both targets."""
    return {
        "v": rng.normal(size=(FITS, CHAINS)).astype("float32"),
        "x": rng.normal(size=(FITS, CHAINS, 4)).astype("float32"),
    }


def bad(rng: np.random.Generator, depth: float) -> dict[str, np.ndarray]:
    """One chain of every second fit starts deep in the neck of the funnel."""
    starts = good(rng)
    starts["v"][::2, 0] = depth
    starts["x"][::2, 0] *= np.exp(depth / 2)
    return starts


TARGETS = {
    "funnel, some starts at v = -15": (funnel, functools.partial(bad, depth=-15)),
    "funnel, some starts at v = -25": (funnel, functools.partial(bad, depth=-25)),
    "funnel, good starts": (funnel, good),
    "correlated normal": (correlated, good),
}


def run(target: str, seed: int, restart: Any) -> sampler.Draws:
    """Sample all fits of a target."""
    potential, starts = TARGETS[target]
    return sampler.sample_lanes(
        potential,
        {"unused": np.zeros((FITS, 1), "float32")},
        starts(np.random.default_rng(seed)),
        sampler.Settings(WARMUP, 0.8, 10, ()),
        key=jax.random.split(jax.random.PRNGKey(seed), FITS),
        draws=DRAWS,
        restart=restart,
    )


def measure(target: str, seed: int) -> list[dict[str, Any]]:
    """Run all three on the same starts and keys."""
    fresh = good(np.random.default_rng(1000 + seed))
    restart = lambda fit, chain, times: {name: z[fit, chain] for name, z in fresh.items()}  # noqa: E731
    restarted = run(target, seed, restart)
    rng, left = np.random.default_rng(2000 + seed), len(restarted.discarded)

    def at_random(leapfrogs: np.ndarray) -> np.ndarray:
        nonlocal left
        found = np.full(leapfrogs.shape[1], -1)
        is_due = np.isfinite(leapfrogs).all(axis=1).sum() == 3
        if left and is_due and (first_stall(leapfrogs) < 0).all() and rng.random() < 0.5:
            found[rng.integers(len(found))] = 2
            left -= 1
        return found

    with mock.patch.object(stall, "first_stall", at_random):
        placebo = run(target, seed, restart)
    ignored = run(target, seed, None)
    runs = {"restart": restarted, "placebo": placebo, "ignore": ignored}
    return [
        {"date": datetime.date.today().isoformat(), "target": target, "rule": rule, "seed": seed}
        | _line(found)
        for rule, found in runs.items()
    ]


def _line(found: sampler.Draws) -> dict[str, float]:
    gradients = sum(int(one.n_steps.sum()) for one in found.iterations)
    gradients += sum(one.leapfrogs for one in found.discarded)
    ess = sum(
        engines.smallest_ess({name: z[..., None] if z.ndim == 2 else z for name, z in fit.items()})
        for fit in found.z
    )
    return {
        "discarded": len(found.discarded),
        "gradients": gradients,
        "ess": ess,
        "ess_per_1000_gradients": 1000 * ess / gradients,
    }


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    lines = []
    for seed in range(1, options.seeds + 1):
        for target in TARGETS:
            lines += measure(target, seed)
            print(pd.DataFrame(lines[-3:]).round(2).to_string(header=seed == 1), flush=True)
    found = pd.DataFrame(lines)
    found.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False, float_format="%.4g")
    numbers = found.drop(columns=["date", "seed"]).groupby(["target", "rule"], sort=False)
    print(numbers.median().round(3).to_string())


if __name__ == "__main__":
    main()
