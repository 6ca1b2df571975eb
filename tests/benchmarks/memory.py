"""Peak memory of a fit of a hierarchical logistic regression with 2.1 million parameters.

    .venv/bin/python tests/benchmarks/memory.py
    .venv/bin/python tests/benchmarks/memory.py --rows 100000 --groups 10000 --warmup 20 --draws 20

Varying intercepts and slopes, not centred, one chain of lanes on the processor; alpha, beta and the
sigmas are kept, of the standardised effects of the groups moments are streamed. A few iterations: what a
run takes in memory does not depend on how long it is, but for the draws of the few sites that are kept.
Adds a line to tests/benchmarks/results/memory.csv: the forecast, the peak resident size, that before the
fit (libraries and data), and seconds by phase.
"""

import argparse
import datetime
import os
import resource
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "memory.csv"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
import pandas as pd  # noqa: E402

from scalecheck import density, free_memory, memory, sampler  # noqa: E402

KEPT = ("alpha", "beta", "sigma_alpha", "sigma_gamma")
SEED = 827


def data(n_rows: int, n_groups: int, k: int) -> dict[str, np.ndarray]:
    """Simulate as "Poverty Bayes" does (Krapu 2026), in its order of calls."""
    rng = np.random.default_rng(SEED)
    group = rng.integers(0, n_groups, n_rows)
    x = rng.standard_normal((n_rows, k)).astype("float32")
    beta = rng.normal(0, 0.45, k).astype("float32")
    sigma_gamma = rng.uniform(0.15, 0.35, k).astype("float32")
    intercept = rng.normal(0, 0.8, n_groups).astype("float32")
    slopes = rng.normal(0, sigma_gamma, (n_groups, k)).astype("float32")
    eta = -1 + intercept[group] + (x * (beta + slopes[group])).sum(axis=1)
    y = rng.binomial(1, 1 / (1 + np.exp(-eta)))
    return {"x": x, "group": group.astype("int32"), "y": y.astype("int32")}


def model_of(n_groups: int) -> Any:
    """Give the model for so many groups."""

    def model(x: Any, group: Any, y: Any = None) -> None:
        k = x.shape[1]
        alpha = numpyro.sample("alpha", dist.Normal(0, 1.5))
        beta = numpyro.sample("beta", dist.Normal(0, 1).expand([k]).to_event(1))
        sigma_alpha = numpyro.sample("sigma_alpha", dist.HalfNormal(1))
        sigma_gamma = numpyro.sample("sigma_gamma", dist.HalfNormal(0.5).expand([k]).to_event(1))
        with numpyro.plate("groups", n_groups):
            z_alpha = numpyro.sample("z_alpha", dist.Normal(0, 1))
            z_gamma = numpyro.sample("z_gamma", dist.Normal(0, 1).expand([k]).to_event(1))
        slopes = beta + sigma_gamma * z_gamma[group]
        eta = alpha + sigma_alpha * z_alpha[group] + (x * slopes).sum(axis=1)
        with numpyro.plate("rows", x.shape[0]):
            numpyro.sample("y", dist.Bernoulli(logits=eta), obs=y)

    return model


def peak() -> float:
    """Peak resident size of this process, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Fit once, and write what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--covariates", type=int, default=20)
    parser.add_argument("--chains", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--depth", type=int, default=10, help="of the tree, which memory is for")
    given = parser.parse_args()
    rows = data(given.rows, given.groups, given.covariates)
    arrays = {name: values[None] for name, values in rows.items()}
    function = model_of(given.groups)
    shapes = density.unconstrained(function, rows)
    starts = {
        name: jnp.zeros((1, given.chains, *one.shape), one.dtype) for name, one in shapes.items()
    }
    n_parameters = sum(one.size for one in shapes.values())
    latent = tuple(name for name in shapes if name not in KEPT)

    def reduced(z: Any, arrays: Any) -> dict[str, jax.Array]:
        values = density.constrain(function, z, arrays)
        return {name: values[name] for name in latent}

    streams = sampler.Streams(KEPT, reduced)
    # Short trajectories will do: the state is allocated for `depth` doublings all the same.
    settings = sampler.Settings(given.warmup, 0.8, given.depth, ())
    potential = density.potential(function)
    found = memory.forecast(
        potential,
        arrays,
        starts,
        settings,
        streams,
        at_once=1,
        in_block=1,
        room=None,
        draws=given.draws,
    )
    print(memory.check(found, free_memory.free(), f"{n_parameters:,} parameters"), flush=True)
    before, began = peak(), time.perf_counter()
    fitted = sampler.sample_lanes(
        potential,
        arrays,
        starts,
        settings,
        key=jax.random.split(jax.random.PRNGKey(SEED), 1),
        draws=given.draws,
        streams=streams,
        on_block=lambda told: print(
            f"{time.perf_counter() - began:6.1f} s  {told[0].iterations.min()}/{told[0].total}"
            f"  {told[0].leapfrogs.mean():.1f} leapfrogs  {peak():.2f} GB",
            flush=True,
        ),
    )
    line = {
        "date": datetime.date.today().isoformat(),
        "rows": given.rows,
        "parameters": n_parameters,
        "chains": given.chains,
        "depth": given.depth,
        "iterations": given.warmup + given.draws,
        "leapfrogs": int(fitted.iterations[0].n_steps.sum()),
        "forecast_gb": round(found.together.total / free_memory.GB, 2),
        "peak_gb": round(peak(), 2),
        "before_gb": round(before, 2),
        **{f"{phase}_s": round(s, 1) for phase, s in fitted.seconds._asdict().items()},
    }
    print(pd.Series(line).to_string())
    RESULTS.parent.mkdir(exist_ok=True)
    pd.DataFrame([line]).to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)


if __name__ == "__main__":
    main()
