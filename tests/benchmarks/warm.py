"""Effective draws per gradient of increments that start warm, over those of cold ones.

    .venv/bin/python tests/benchmarks/warm.py --seeds 5

Each seed simulates one table for each model (a logistic regression with 50 intercepts, non-centred; one
with a unit plate that grows with the rows; one without groups) and runs the same increments cold and
warm, through the library. Gradients include warmup, a cold audit is not made. Adds its lines to
tests/benchmarks/results/warm.csv and prints, by model, the ratio of the smallest ESS per gradient over
the increments after the first, and the largest difference of a posterior mean in standard errors.
"""

import argparse
import datetime
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "warm.csv"
sys.path.insert(0, str(ROOT / "tests"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent / "results" / ".jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import small_studies  # noqa: E402
from small_studies import write_increment  # noqa: E402

from scalecheck.diagnostics import array_stats  # noqa: E402
from scalecheck.files import formats  # noqa: E402

ROWS, FIRST, GROUPS = 8000, 500, 50

INTERCEPTS = """
def model(x, group, n_group, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    b = numpyro.sample("b", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    with numpyro.plate("groups", n_group):
        u = numpyro.sample("u", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=mu + tau * u[group] + x @ b), obs=y)
"""
PLAIN = """
def model(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    b = numpyro.sample("b", dist.Normal(0, 1).expand([x.shape[-1]]).to_event(1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=mu + x @ b), obs=y)
"""
MODELS = {
    "hierarchical": (INTERCEPTS, {"categories": ["group"]}),
    "growing units": (INTERCEPTS, {"unit": "group"}),
    "plain": (PLAIN, {}),
}


def table(name: str, seed: int) -> pd.DataFrame:
    """Simulate rows; a unit has about 20 of them where units grow, and is met again for a while."""
    rng = np.random.default_rng([seed, 41])
    x = rng.normal(size=(ROWS, 5))
    if name == "growing units":
        group = np.repeat(np.arange(ROWS // 20), 20)
    else:
        group = rng.integers(0, GROUPS, ROWS)
    effects = 0.7 * rng.normal(size=group.max() + 1)
    eta = 0.3 + effects[group] * (name != "plain") + x @ rng.normal(size=5) / 2
    y = (rng.random(ROWS) < 1 / (1 + np.exp(-eta))).astype(int)
    columns = {f"x{j}": x[:, j] for j in range(5)}
    return pd.DataFrame({"group": [f"g{code:04d}" for code in group], "y": y, **columns})


def run(name: str, seed: int, *, warm: bool) -> list[dict[str, Any]]:
    """Run the increments; give a line for each."""
    source, data = MODELS[name]
    data = {key: value for key, value in data.items() if key != "categories"}
    with tempfile.TemporaryDirectory(prefix="scalecheck-warm-") as scratch:
        small = small_studies.make(
            scratch,
            table(name, seed),
            source,
            seed=seed,
            data=data,
            model={"arguments": {"x": [f"x{j}" for j in range(5)]}},
            subsets={"count": 0},
            increments={
                "start": FIRST,
                "end": ROWS,
                "stop": "never",
                "warm": warm,
                "cold_audit": 99,
            },
            sampler={"engine": "lanes", "chains": 4, "warmup": 500, "draws": 500},
        )
        lines = []
        for row in formats.read_plan(small.folder.plan):
            write_increment(small.assigned(), row.fit)
            lines.append(_line(small.read(row.fit)) | {"rows": row.rows})
    return lines


def _line(fit: Any) -> dict[str, Any]:
    z = fit.z
    stat = lambda function, **given: np.array(  # noqa: E731
        [function(z[..., j], chain_axis=0, draw_axis=1, **given) for j in range(z.shape[-1])], float
    )
    return {
        "fit": fit.task.fit,
        "gradients": fit.record.gradients.total,
        "ess": float(stat(array_stats.ess, method="bulk").min()),
        "rhat": float(stat(array_stats.rhat).max()),
        "mean": z.mean((0, 1)),
        "mcse": stat(array_stats.mcse, method="mean"),
    }


def compare(name: str, seed: int) -> list[dict[str, Any]]:
    """Run one table both ways; give a line for each increment after the first."""
    cold, warm = (run(name, seed, warm=warm) for warm in (False, True))
    return [
        {
            "date": datetime.date.today().isoformat(),
            "model": name,
            "seed": seed,
            "rows": one["rows"],
            **{
                f"{what}_{kind}": fit[what]
                for kind, fit in (("cold", one), ("warm", other))
                for what in ("gradients", "ess", "rhat")
            },
            "ratio": (other["ess"] / other["gradients"]) / (one["ess"] / one["gradients"]),
            "largest_z": float(
                np.abs((one["mean"] - other["mean"]) / np.hypot(one["mcse"], other["mcse"])).max()
            ),
        }
        for one, other in list(zip(cold, warm, strict=True))[1:]
    ]


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=[*MODELS], choices=[*MODELS])
    options = parser.parse_args()
    lines = []
    for seed in range(1, options.seeds + 1):
        for name in options.models:
            lines += compare(name, seed)
            print(pd.DataFrame(lines[-4:]).round(3).to_string(header=seed == 1), flush=True)
    found = pd.DataFrame(lines)
    found.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False, float_format="%.4g")
    grouped = found.groupby("model", sort=False)
    print(
        grouped.agg({"ratio": ["median", "min"], "largest_z": "max", "rhat_warm": "max"}).round(3)
    )


if __name__ == "__main__":
    main()
