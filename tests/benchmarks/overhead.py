"""What blocks and checkpoints cost: the same fits in longer blocks, as they are, and saved every second.

    .venv/bin/python tests/benchmarks/overhead.py --repeats 5

Each repeat samples a problem of targets.py three times with the same seed, by turns: once in blocks that
are four times as long, which still end where a fit does; once in blocks as they are; once in those and
with a checkpoint written every second. Draws are the same bits, which is checked. Compilation is left out
of the seconds of the processor. Adds its lines to tests/benchmarks/results/overhead.csv and prints medians
of the ratios to long blocks, and `share`: what all blocks cost by the difference, and checkpoints by theirs.
Last comes what all of this compiled, and the seconds of tracing, lowering and compiling.
"""

import argparse
import contextlib
import datetime
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

RESULTS = Path(__file__).parent / "results" / "overhead.csv"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import engines  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from targets import PROBLEMS, Problem  # noqa: E402

from scalecheck import sampler  # noqa: E402
from scalecheck.fitting import compilations  # noqa: E402
from scalecheck.fitting.checkpoint import Checkpointer  # noqa: E402
from scalecheck.model import density  # noqa: E402
from scalecheck.sampler import footprint, lane_engine  # noqa: E402

STEPS, ITERATIONS = 4 * lane_engine.STEPS, 4 * footprint.MOST_ROOM
VARIANTS = ("long blocks", "blocks", "saved every second")


def run(problem: Problem, variant: str, seed: int) -> tuple[sampler.Draws, int, float]:
    """Sample; give the draws, how many blocks they took, and seconds without compilation."""
    n_fits = len(problem.arrays["y"])
    told: list[Any] = []
    options: dict[str, Any] = {"on_block": told.append}
    with contextlib.ExitStack() as stack:
        if variant == "long blocks":
            stack.enter_context(mock.patch.multiple(lane_engine, FIRST_STEPS=STEPS, SECONDS=1e6))
            stack.enter_context(mock.patch.object(footprint, "MOST_ROOM", ITERATIONS))
            options["steps"] = STEPS
        if variant == "saved every second":
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="scalecheck-"))
            options["keep"] = Checkpointer(
                Path(scratch) / "checkpoint", "benchmark", 1.0, print
            ).keep
        found = sampler.sample_lanes(
            density.potential(problem.model),
            problem.arrays,
            engines.starts(problem, seed),
            sampler.Settings(engines.WARMUP, 0.8, 10, ()),
            key=jax.random.split(jax.random.PRNGKey(seed), n_fits),
            draws=engines.DRAWS,
            **options,
        )
    return found, len(told), found.cpu_seconds.warmup + found.cpu_seconds.sampling


def main() -> None:
    """Measure by turns, and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--problems", nargs="+", default=[*PROBLEMS], choices=[*PROBLEMS])
    options = parser.parse_args()
    lines = []
    for repeat in range(options.repeats):
        for name in options.problems:
            problem, whole = PROBLEMS[name](), None
            for variant in VARIANTS:
                found, n_blocks, seconds = run(problem, variant, repeat + 1)
                whole = whole or (found, seconds)
                for one, other in zip(found.z, whole[0].z, strict=True):
                    jax.tree.map(np.testing.assert_array_equal, one, other)
                lines.append(
                    {
                        "date": datetime.date.today().isoformat(),
                        "problem": name,
                        "variant": variant,
                        "seed": repeat + 1,
                        "blocks": n_blocks,
                        "cpu_seconds": seconds,
                        "ratio": seconds / whole[1],
                    }
                )
                print(lines[-1], flush=True)
    table = pd.DataFrame(lines)
    table.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False, float_format="%.4g")
    by = table.groupby(["problem", "variant"], sort=False)
    medians = by[["blocks", "cpu_seconds", "ratio"]].median()
    print(medians.groupby("problem", sort=False, group_keys=False).apply(with_shares).round(3))
    print(compilations.so_far())


def with_shares(medians: pd.DataFrame) -> pd.DataFrame:
    """Say what share of the seconds goes to blocks, and what share checkpoints add, of one problem."""
    (n_long, n_blocks, _), (long, blocks, saved) = medians["blocks"], medians["cpu_seconds"]
    each = (blocks - long) / (n_blocks - n_long)
    return medians.assign(
        share=[n_long * each / long, n_blocks * each / blocks, saved / blocks - 1]
    )


if __name__ == "__main__":
    main()
