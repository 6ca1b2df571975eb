"""Run the targets of NumPyro's tutorial on bad posterior geometry, ours beside its printed R-hat; then search each.

One table: the highest split R-hat of each site, 1000 + 1000 iterations of a single chain (which is what the tutorial
runs) from a uniform start, and what the search found unaided, of the horseshoe with 25 of its 500 columns by default.

    .venv/bin/python tests/benchmarks/geometry/geometry.py            # make geometry
    .venv/bin/python tests/benchmarks/geometry/geometry.py --full     # searches all 500 columns too
"""

import argparse
import datetime
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import pandas as pd
import targets
from numpyro.diagnostics import split_gelman_rubin

from scalecheck import sampler
from scalecheck.files import formats
from scalecheck.model import density
from scalecheck.remedies import problem, search
from scalecheck.remedies.models_without_data import batch_without_data, default_sampler

RESULTS = Path(__file__).parents[1] / "results" / "geometry.csv"
ITERATIONS = 1000
COLUMNS = (
    "target",
    "kind",
    "variant",
    "site",
    "theirs",
    "ours",
    "status",
    "ess_per_1000",
    "low",
    "high",
    "gain",
    "gain_low",
    "gain_high",
    "rhat",
    "gradients",
    "date",
    "numpyro",
    "jax",
)


class Run(NamedTuple):
    """A way in which the tutorial samples a target, and the R-hat that it prints (numpyro 0.8)."""

    target: str
    variant: str
    function: str
    depth: int
    dense: tuple[tuple[str, ...], ...]
    printed: dict[str, float]


def _printed(*values):
    return dict(zip(("betas", "lambdas", "tau"), values, strict=True))


RUNS = (
    Run("horseshoe", "centred", "horseshoe", 10, (), _printed(1.0775, 3.2450, 2.1926)),
    Run("horseshoe", "by hand", "horseshoe_by_hand", 10, (), _printed(1.0074, 1.0146, 1.0036)),
    Run(
        "horseshoe",
        "LocScaleReparam",
        "horseshoe_loc_scale",
        10,
        (),
        _printed(1.0103, 1.0124, 0.9998),
    ),
    Run(
        "horseshoe",
        "TransformReparam",
        "horseshoe_transform",
        10,
        (),
        _printed(1.0087, 1.0114, 1.0029),
    ),
    Run("two_dimensional", "diagonal", "two_dimensional", 3, (), {"x": 1.3810}),
    Run("two_dimensional", "dense", "two_dimensional", 3, (("x",),), {"x": 0.9992}),
    Run(
        "partially_correlated",
        "diagonal",
        "partially_correlated",
        3,
        (),
        {"x1": 1.5882, "x2": 1.5410, "y": 2.0179},
    ),
    Run(
        "partially_correlated",
        "dense",
        "partially_correlated",
        3,
        (("x1", "x2", "y"),),
        {"x1": 1.0697, "x2": 1.0738, "y": 1.2746},
    ),
    Run(
        "partially_correlated",
        "block",
        "partially_correlated",
        3,
        (("x1", "x2"),),
        {"x1": 1.0023, "x2": 1.0024, "y": 1.0030},
    ),
    Run("equicorrelated", "depth 5", "equicorrelated", 5, (), {"x": 1.1159}),
    Run("equicorrelated", "depth 10", "equicorrelated", 10, (), {"x": 1.0166}),
)

# Of each chain, and the depth with which the fit is as it is: the worse one of the tutorial.
SEARCHES = {
    "two_dimensional": (3, 10_000),
    "partially_correlated": (3, 20_000),
    "equicorrelated": (5, 40_000),
    "horseshoe": (10, 1_000_000),
}


def sample(run):
    """Sample one chain as the tutorial does; give the highest R-hat by site, and the leapfrogs."""
    batch = batch_without_data(getattr(targets, run.function), run.variant)
    arrays = {name: values[0] for name, values in batch.arrays.items()}
    shapes = density.unconstrained(batch.function, arrays)
    rng = np.random.default_rng(0)
    starts = {
        name: jax.numpy.asarray(rng.uniform(-2, 2, (1, 1, *site.shape)), site.dtype)
        for name, site in sorted(shapes.items())
    }
    found = sampler.sample_lanes(
        density.potential(batch.function),
        batch.arrays,
        starts,
        sampler.Settings(ITERATIONS, 0.8, run.depth, run.dense),
        key=jax.random.split(jax.random.PRNGKey(0), 1),
        draws=ITERATIONS,
    )
    z = {name: values[0] for name, values in found.z[0].items()}
    constrain = jax.jit(
        jax.vmap(lambda z: density.constrain(batch.function, z, arrays, deterministic=True))
    )
    values = {name: np.asarray(part)[None] for name, part in constrain(z).items()}
    rhat = {name: float(np.max(split_gelman_rubin(values[name]))) for name in run.printed}
    return rhat, int(found.iterations[0].n_steps.sum())


def rows_of_run(run):
    """Rows of the table of one way to sample."""
    rhat, leapfrogs = sample(run)
    for site, theirs in run.printed.items():
        yield {
            "target": run.target,
            "kind": "tutorial",
            "variant": run.variant,
            "site": site,
            "theirs": theirs,
            "ours": rhat[site],
            "gradients": leapfrogs,
        }


def rows_of_search(name, is_full, log):
    """Rows of the table of one search."""
    depth, gradients = SEARCHES[name]
    is_small = name == "horseshoe" and not is_full
    batch = batch_without_data(
        targets.small_horseshoe if is_small else getattr(targets, name), name
    )
    one = problem.problem_of_batch(batch, default_sampler(depth), 0, gradients)
    found = search.search_remedies(one, lambda line: log(f"{name}: {line}"))
    for row in found.table.to_dict("records"):
        is_best = found.best is not None and row["candidate"] == found.best.name
        kept = {key: row[key] for key in COLUMNS if key in row}
        yield {
            **kept,
            "target": name,
            "kind": "best" if is_best else "search",
            "variant": row["candidate"],
        }


def log(line):
    print(f"{datetime.datetime.now():%H:%M:%S} {line}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="search all 500 columns of the horseshoe"
    )
    parser.add_argument("--only", choices=list(SEARCHES), help="one target")
    options = parser.parse_args()
    rows = []
    for run in RUNS:
        if options.only in (None, run.target):
            rows += rows_of_run(run)
            log(f"{run.target}, {run.variant}: {rows[-1]['gradients']} gradients")
    for name in SEARCHES:
        if options.only in (None, name):
            rows += rows_of_search(name, options.full, log)
    stamp = {
        "date": f"{datetime.date.today()}",
        **{n: importlib.metadata.version(n) for n in ("numpyro", "jax")},
    }
    table = pd.DataFrame([row | stamp for row in rows], columns=list(COLUMNS))
    if options.only is not None and RESULTS.is_file():
        before = pd.read_csv(RESULTS)
        table = pd.concat([before[before["target"] != options.only], table])
    formats.write_table(RESULTS, table)
    shown = table.drop(columns=["date", "numpyro", "jax"]).map(
        lambda x: f"{x:.4g}" if isinstance(x, float) and x == x else x
    )
    print(shown.fillna("").to_string(index=False))


if __name__ == "__main__":
    main()
