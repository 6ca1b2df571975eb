"""Time and peak memory of a fit of config/studies/logistic_groups at full size: 2.1 million parameters.

    .venv/bin/python tests/benchmarks/memory.py
    .venv/bin/python tests/benchmarks/memory.py --warmup 20 --draws 20 --depth 6
    .venv/bin/python tests/benchmarks/memory.py --rows 100000 --groups 10000

One chain of lanes on the processor, rows sorted by group, from a draw of the prior; alpha, beta and the
sigmas are kept, of the standardised effects of the groups moments are streamed. By default a few
iterations: what a run takes in memory does not depend on how long it is, but for the draws of the few
sites that are kept. Adds a line to tests/benchmarks/results/memory.csv: the forecast, the peak resident
size, that before the fit (libraries and data), seconds by phase, and of the kept scalars the smallest
bulk ESS and the largest split R-hat.
"""

import argparse
import datetime
import functools
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "memory.csv"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parents[1]))

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from study_files import load  # noqa: E402

from scalecheck import diagnostics, sampler  # noqa: E402
from scalecheck.fitting import memory  # noqa: E402
from scalecheck.model import density  # noqa: E402
from scalecheck.runtime import free_memory  # noqa: E402

KEPT = ("alpha", "beta", "sigma_alpha", "sigma_gamma")
SEED = 827


def data(n_rows: int, n_groups: int, k: int) -> dict[str, np.ndarray]:
    """Simulate the table of the study, sorted by group as the rows of a fit are."""
    rows = (
        load("logistic_groups", "rows")
        .simulate(n_rows, n_groups, k)
        .rows.sort_values("group", kind="stable")
    )
    x = rows[[f"x{i}" for i in range(k)]].to_numpy("float32")
    return {"x": x, "group": rows["group"].to_numpy("int32"), "y": rows["y"].to_numpy("int32")}


def peak() -> float:
    """Peak resident size of this process, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def begin(
    function: Any, names: list[str], rows: Any, key: jax.Array, n_chains: int
) -> dict[str, jax.Array]:
    """Draw unconstrained starts `(chain, ...)` from the prior."""
    drawn = density.prior_draws(function, names, rows, jax.random.split(key, n_chains))
    return jax.vmap(lambda one: density.unconstrain(function, one, rows))(drawn)


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
    function = functools.partial(load("logistic_groups", "model").model, n_group=given.groups)
    shapes = density.unconstrained(function, rows)
    key, start = jax.random.split(jax.random.PRNGKey(SEED))
    starts = {
        name: values[None]
        for name, values in begin(function, list(shapes), rows, start, given.chains).items()
    }
    n_parameters = sum(one.size for one in shapes.values())
    latent = tuple(name for name in shapes if name not in KEPT)

    def reduced(z: Any, arrays: Any) -> dict[str, jax.Array]:
        values = density.constrain(function, z, arrays)
        return {name: values[name] for name in latent}

    streams = sampler.Streams(KEPT, reduced)
    settings = sampler.Settings(given.warmup, 0.8, given.depth, ())
    potential = density.potential(function)
    found = memory.batch_memory(
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
    print(
        memory.check_memory(found, free_memory.free(), f"{n_parameters:,} parameters"), flush=True
    )
    before, began = peak(), time.perf_counter()
    fitted = sampler.sample_lanes(
        potential,
        arrays,
        starts,
        settings,
        key=key[None],
        draws=given.draws,
        streams=streams,
        on_block=lambda told: print(
            f"{time.perf_counter() - began:6.1f} s  {told[0].iterations.min()}/{told[0].total}"
            f"  {told[0].leapfrogs.mean():.1f} leapfrogs  {peak():.2f} GB",
            flush=True,
        ),
    )
    kept = np.concatenate(
        [np.reshape(fitted.z[0][name], (given.chains, given.draws, -1)) for name in KEPT], axis=-1
    )
    rhat, ess = diagnostics.rhat_and_ess(kept.astype("float64"))
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
        "ess_min": round(float(ess.min()), 1),
        "rhat_max": round(float(rhat.max()), 3),
    }
    print(pd.Series(line).to_string())
    RESULTS.parent.mkdir(exist_ok=True)
    # Whole: lines of an older version have fewer columns.
    before_it = [pd.read_csv(RESULTS)] if RESULTS.exists() else []
    pd.concat([*before_it, pd.DataFrame([line])]).to_csv(RESULTS, index=False)


if __name__ == "__main__":
    main()
