"""What the fits of the default study cost, beside the same fits in a loop of `MCMC` objects.

    .venv/bin/python tests/benchmarks/golf_cost.py --repeats 3

Runs the whole study into an empty folder (cold cache) and naive.py on the same fits, in turn, and
prints CPU seconds of the fits (starts, compilation, warmup and sampling), their ratio, and the wall
time of the whole study. Adds a line a repeat to tests/benchmarks/results/golf_cost.csv.
"""

import argparse
import csv
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "golf_cost.csv"
COLUMNS = ("date", "fits", "ours_cpu_seconds", "naive_cpu_seconds", "ratio", "study_wall_seconds")


def ours(results: Path) -> tuple[float, float, int]:
    """CPU seconds of the fits, wall seconds of the study, and number of fits."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    environment["SCALECHECK_CACHE"] = str(results / "compiled")
    began = time.perf_counter()
    subprocess.run(
        [
            "snakemake",
            "--cores",
            "all",
            "--quiet",
            "all",
            "--nolock",
            "--config",
            f"results={results}",
        ],
        cwd=ROOT,
        env=environment,
        check=True,
    )
    wall = time.perf_counter() - began
    recorded = [json.loads(path.read_text()) for path in results.glob("golf/fits/*/record.json")]
    done = [record for record in recorded if record["status"] == "done"]
    phases = ("compile", "warmup", "sampling")
    return sum(record["cpu_seconds"][p] for record in done for p in phases), wall, len(done)


def naive(results: Path) -> float:
    """CPU seconds of the same fits in a loop."""
    out = results / "naive.json"
    script = Path(__file__).parent / "naive.py"
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    subprocess.run(
        [sys.executable, script, results / "golf", "--out", out],
        cwd=ROOT,
        env=environment,
        check=True,
    )
    return sum(json.loads(out.read_text()).values())


def main() -> None:
    """Measure in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            cpu, wall, n_fits = ours(Path(folder))
            other = naive(Path(folder))
        row = (
            datetime.date.today().isoformat(),
            n_fits,
            f"{cpu:.1f}",
            f"{other:.1f}",
            f"{cpu / other:.3f}",
            f"{wall:.0f}",
        )
        new = not RESULTS.exists()
        with RESULTS.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([COLUMNS, row] if new else [row])
        print(dict(zip(COLUMNS, row, strict=True)), flush=True)


if __name__ == "__main__":
    main()
