"""Effective draws per CPU second of the lane engine, beside NumPyro's transition under vmap.

    .venv/bin/python tests/benchmarks/engines.py --repeats 3

Each repeat runs every engine on every problem of targets.py in turn, 4 chains of 500 + 500 iterations,
with another seed; the samplers of peers.py too, where they are installed. Compilation is left out of
the seconds, but of a loop of fresh `MCMC` objects, which compiles every time. `useful` is the share of
computed leapfrogs that moved a chain. `ceiling` is the time that the energies and gradients needed take
when all chains of all fits are one batch, over the time taken. Adds its lines to
tests/benchmarks/results/engines.csv and prints medians.
"""

import argparse
import datetime
import functools
import os
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "engines.csv"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import peers  # noqa: E402
from targets import PROBLEMS, Problem  # noqa: E402

from scalecheck import sampler  # noqa: E402
from scalecheck.diagnostics import array_stats  # noqa: E402
from scalecheck.model import density  # noqa: E402

CHAINS, WARMUP, DRAWS = 4, 500, 500
ENGINES = {
    "numpyro, all together": (functools.partial(sampler.sample_numpyro, fits_at_once=None), False),
    "numpyro, fit by fit": (functools.partial(sampler.sample_numpyro, fits_at_once=1), False),
    "lanes": (sampler.sample_lanes, False),
    "lanes, gradients in the metric": (sampler.sample_lanes, True),
}


def starts(problem: Problem, seed: int) -> dict[str, Any]:
    """Draw starts around zero, unconstrained."""
    first = {name: values[0] for name, values in problem.arrays.items()}
    names = _latent(problem, first)
    n_fits = len(problem.arrays["y"])
    keys = jax.random.split(jax.random.PRNGKey(seed), n_fits * CHAINS)
    drawn = density.prior_draws(problem.model, names, first, keys)
    z = jax.vmap(lambda values: density.unconstrain(problem.model, values, first))(drawn)
    return {name: 0.3 * v.reshape(n_fits, CHAINS, *v.shape[1:]) for name, v in z.items()}


def _latent(problem: Problem, arrays: dict[str, Any]) -> list[str]:
    trace = density.traced(problem.model, arrays, jax.random.PRNGKey(0))
    return [
        name for name, site in trace.items() if site["type"] == "sample" and not site["is_observed"]
    ]


def run(problem: Problem, engine: str, seed: int) -> dict[str, float]:
    """Sample a problem once; give what it took and what came of it."""
    n_fits = len(problem.arrays["y"])
    if engine in peers.PEERS:
        return _run_peer(problem, engine, seed)
    sample, fisher = ENGINES[engine]
    found = sample(
        density.potential(problem.model),
        problem.arrays,
        starts(problem, seed),
        sampler.Settings(WARMUP, 0.8, 10, (), fisher),
        key=jax.random.split(jax.random.PRNGKey(seed), n_fits),
        draws=DRAWS,
    )
    seconds = found.cpu_seconds.warmup + found.cpu_seconds.sampling
    leapfrogs = sum(int(one.n_steps.sum()) for one in found.iterations)
    ess = [smallest_ess(z) for z in found.z]
    return {
        "cpu_seconds": seconds,
        "compile_cpu_seconds": found.cpu_seconds.compile,
        "gradients": leapfrogs,
        "ess": sum(ess),
        "ess_per_cpu_second": sum(ess) / seconds,
        "ess_per_1000_gradients": 1000 * sum(ess) / leapfrogs,
        "useful": np.nan if found.useful is None else found.useful,
        "ceiling": leapfrogs * gradient_seconds(problem) / seconds,
    }


def _run_peer(problem: Problem, engine: str, seed: int) -> dict[str, float]:
    found = peers.PEERS[engine](problem, starts(problem, seed), seed)
    ess = sum(smallest_ess(z) for z in found.z)
    return {
        "cpu_seconds": found.cpu_seconds,
        "compile_cpu_seconds": found.compile_cpu_seconds,
        "gradients": found.gradients,
        "ess": ess,
        "ess_per_cpu_second": ess / found.cpu_seconds,
        "ess_per_1000_gradients": 1000 * ess / found.gradients,
        "useful": np.nan,
        "ceiling": found.gradients * gradient_seconds(problem) / found.cpu_seconds,
    }


def smallest_ess(z: dict[str, np.ndarray]) -> float:
    """Give the smallest bulk ESS over parameters."""
    flat = np.concatenate([v.reshape(*v.shape[:2], -1) for v in z.values()], axis=2).astype(float)
    each = [
        array_stats.ess(flat[..., j], method="bulk", chain_axis=0, draw_axis=1)
        for j in range(flat.shape[2])
    ]
    return float(min(each))


def gradient_seconds(problem: Problem) -> float:
    """CPU seconds of one energy and gradient of one chain, all chains of all fits in one batch."""
    z, arrays = starts(problem, 1), {k: jnp.asarray(v) for k, v in problem.arrays.items()}
    n_fits = len(problem.arrays["y"])

    def one(z: Any, arrays: Any) -> Any:
        return jax.value_and_grad(density.potential(problem.model)(**arrays))(z)

    chains = jax.vmap(jax.vmap(one, (0, None)))

    @jax.jit
    def repeat(z: Any, arrays: Any) -> Any:
        def move(_: Any, carry: Any) -> Any:
            # Each needs the one before, and the energies are used, or neither would be computed.
            energy, gradient = chains(carry[0], arrays)
            z = jax.tree.map(lambda x, g: x - 1e-30 * g, carry[0], gradient)
            return z, carry[1] + energy.sum()

        return jax.lax.fori_loop(0, 300, move, (z, jnp.zeros(())))

    jax.block_until_ready(repeat(z, arrays))
    best = np.inf
    for _ in range(3):
        began = time.process_time()
        jax.block_until_ready(repeat(z, arrays))
        best = min(best, time.process_time() - began)
    return best / 300 / n_fits / CHAINS


def main() -> None:
    """Measure in turn, and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--problems", nargs="+", default=[*PROBLEMS], choices=[*PROBLEMS])
    names = [*ENGINES, *peers.at_hand()]
    parser.add_argument("--engines", nargs="+", default=names, choices=names)
    options = parser.parse_args()
    lines = []
    for repeat in range(options.repeats):
        for name in options.problems:
            problem = PROBLEMS[name]()
            for engine in options.engines:
                head = {
                    "date": datetime.date.today().isoformat(),
                    "problem": name,
                    "engine": engine,
                }
                lines.append(head | {"seed": repeat + 1} | run(problem, engine, repeat + 1))
                print(lines[-1], flush=True)
    table = pd.DataFrame(lines)
    RESULTS.parent.mkdir(exist_ok=True)
    table.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False, float_format="%.4g")
    numbers = table.drop(columns=["date", "seed"]).groupby(["problem", "engine"], sort=False)
    print(with_ratios(numbers.median()).round(3).to_string())


def with_ratios(medians: pd.DataFrame) -> pd.DataFrame:
    """Set every engine beside the two that all are compared with.

    `over_numpyro` is of effective draws per second, compilation left out. `over_fresh` is the time of a
    loop of fresh `MCMC` objects, each of which compiles, over that of the engine with its compilation,
    and `over_fresh_compiled` over that without.
    """
    problems = medians.index.get_level_values("problem")

    def of(engine: str, column: str) -> np.ndarray:
        own = medians[column].unstack("engine")
        return own.get(engine, pd.Series(np.nan, own.index)).reindex(problems).to_numpy()

    cold = medians["cpu_seconds"] + medians["compile_cpu_seconds"]
    fresh = of("a loop of fresh MCMC", "cpu_seconds")
    return medians.assign(
        over_numpyro=medians["ess_per_cpu_second"]
        / of("numpyro, all together", "ess_per_cpu_second"),
        over_fresh=fresh / cold,
        over_fresh_compiled=fresh / medians["cpu_seconds"],
    )


if __name__ == "__main__":
    main()
