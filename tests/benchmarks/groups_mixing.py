"""Effective draws per gradient of the hierarchical logistic regression, sampled in several ways.

    .venv/bin/python tests/benchmarks/groups_mixing.py
    .venv/bin/python tests/benchmarks/groups_mixing.py --rows 20000 --ways "accept .6" "partly centred"

The first groups of config/studies/logistic_groups, of ten rows on average; four chains of lanes on the
processor, which start at random. Each way adds a line to tests/benchmarks/results/groups_mixing.csv:
leapfrogs per draw, the lowest ESS of alpha, beta and the sigmas, the highest R-hat of them, the lowest
ESS per 1,000 gradients (after warmup, and with it), and seconds of processor time.
"""

import argparse
import datetime
import os
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results" / "groups_mixing.csv"
STUDY = Path(__file__).parents[2] / "config" / "studies" / "logistic_groups"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
import pandas as pd  # noqa: E402

from scalecheck import diagnostics, grouped, sampler  # noqa: E402
from scalecheck.model import density  # noqa: E402

KEPT = ("alpha", "beta", "sigma_alpha", "sigma_gamma")


class Way(NamedTuple):
    """How to sample: centredness of intercepts and of slopes, and settings of NUTS."""

    of_alpha: float = 0.0
    of_gamma: float = 0.0
    accept: float = 0.8
    depth: int = 6
    dense: tuple[tuple[str, ...], ...] = ()


# Groups have ten rows of binary outcomes each: the data know an intercept about as well as the population does,
# a slope a tenth as well.
WAYS = {
    "as the study": Way(),
    "depth 10": Way(depth=10),
    "depth 5": Way(depth=5),
    "accept .6": Way(accept=0.6),
    "accept .9": Way(accept=0.9),
    "dense, shared": Way(dense=(KEPT,)),
    "partly centred": Way(0.5, 0.1),
    "intercepts centred": Way(of_alpha=1.0),
    "centred": Way(1.0, 1.0),
}


def model(x: Any, group: Any, n_group: int, y: Any, *, of_alpha: float, of_gamma: float) -> None:
    """Give intercepts and slopes of groups, each centred in part: 0 is not at all, 1 is wholly."""
    k = x.shape[1]
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 1.5))
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0).expand([k]).to_event(1))
    s_alpha = numpyro.sample("sigma_alpha", dist.HalfNormal(1.0))
    s_gamma = numpyro.sample("sigma_gamma", dist.HalfNormal(0.5).expand([k]).to_event(1))
    with numpyro.plate("groups", n_group):
        z_alpha = numpyro.sample("z_alpha", dist.Normal(of_alpha * alpha, s_alpha**of_alpha))
        centre = dist.Normal(of_gamma * beta, s_gamma**of_gamma).to_event(1)
        z_gamma = numpyro.sample("z_gamma", centre)
    intercepts = alpha + s_alpha ** (1 - of_alpha) * (z_alpha - of_alpha * alpha)
    slopes = beta + s_gamma ** (1 - of_gamma) * (z_gamma - of_gamma * beta)
    eta = grouped.take(intercepts, group) + grouped.dot(x, slopes, group)
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=eta), obs=y)


def read(n_rows: int) -> dict[str, np.ndarray]:
    """Read whole groups of about so many rows, sorted by group."""
    table = pd.read_parquet(STUDY / "rows.parquet")
    table = table[table["group"] < n_rows // 10].sort_values("group", kind="stable")
    codes = np.unique(table["group"], return_inverse=True)[1]
    x = table.filter(like="x").to_numpy("float32")
    return {"x": x, "group": codes.astype("int32"), "y": table["y"].to_numpy("float32")}


def fit(way: str, rows: dict[str, np.ndarray], given: argparse.Namespace) -> dict[str, Any]:
    """Sample in one way, and say what came of it."""
    one = WAYS[way]
    n_group = int(rows["group"].max()) + 1
    function = partial(model, n_group=n_group, of_alpha=one.of_alpha, of_gamma=one.of_gamma)
    shapes = density.unconstrained(function, rows)
    rng = np.random.default_rng(given.seed)
    starts = {
        name: jnp.asarray(0.5 * rng.normal(size=(1, given.chains, *site.shape)), site.dtype)
        for name, site in shapes.items()
    }
    began = time.process_time()
    found = sampler.sample_lanes(
        density.potential(function),
        {name: values[None] for name, values in rows.items()},
        starts,
        sampler.Settings(given.warmup, one.accept, one.depth, one.dense),
        key=jax.random.split(jax.random.PRNGKey(given.seed), 1),
        draws=given.draws,
        streams=sampler.Streams(KEPT, lambda z, arrays: {}),
    )
    seconds = time.process_time() - began
    draws = np.concatenate(
        [np.reshape(found.z[0][n], (given.chains, given.draws, -1)) for n in KEPT], axis=2
    )
    rhat, ess = diagnostics.rhat_and_ess(draws)
    steps = np.asarray(found.iterations[0].n_steps, float)
    sampling = steps[:, given.warmup :]
    return {
        "way": way,
        "rows": len(rows["y"]),
        "parameters": sum(site.size for site in shapes.values()),
        "warmup": given.warmup,
        "draws": given.draws,
        "leapfrogs": round(sampling.mean(), 1),
        "ess_min": round(ess.min()),
        "rhat_max": round(float(rhat.max()), 4),
        "ess_per_1000": round(1000 * ess.min() / sampling.sum(), 2),
        "with_warmup": round(1000 * ess.min() / steps.sum(), 2),
        "cpu_seconds": round(seconds),
    }


def main() -> None:
    """Sample in every way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=500)
    parser.add_argument("--draws", type=int, default=700)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    given = parser.parse_args()
    rows = read(given.rows)
    for way in given.ways:
        line = {"date": datetime.date.today().isoformat(), **fit(way, rows, given)}
        print(pd.Series(line).to_string(), flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        pd.DataFrame([line]).to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)


if __name__ == "__main__":
    main()
