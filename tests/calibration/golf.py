"""How often the golf study ends as it should, over seeds; and how often a null study raises an alarm.

    .venv/bin/python tests/calibration/golf.py story --seeds 20
    .venv/bin/python tests/calibration/golf.py null --seeds 20

`story` runs the default study with other seeds. `null` simulates 20,000 rows from the angle model
(distances drawn from the published table, sigma .0255, sources and years at random), and runs the
study with `stop: never`: whatever is suspect or strong there is a false alarm. Results are added to
tests/calibration/results/golf-<which>.csv, one line a seed; seeds that are there are not run again.
"""

import argparse
import csv
import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
SIGMA = 0.0255
ROWS = 20_000
COLUMNS = (
    "seed", "verdict", "misfit", "heterogeneous", "source", "distance_ft", "agreement", "drift",
    "surprise", "used", "total", "first_seen", "unusable", "smallest_adjusted_p",
)  # fmt: skip


def simulate_null(path: Path, seed: int) -> None:
    """Write a table of putts that the angle model is right about."""
    import numpy as np
    import pandas as pd
    from scipy.special import ndtr

    rng = np.random.default_rng([seed, 827])
    published = pd.read_csv(ROOT / "config/studies/golf/putts.csv")
    weights = published.attempts / published.attempts.sum()
    distance = published.distance_ft.to_numpy()[rng.choice(len(published), ROWS, p=weights)]
    threshold = np.arcsin((4.25 - 1.68) / 2 / 12 / distance)
    holed = rng.random(ROWS) < 2 * ndtr(threshold / SIGMA) - 1
    pd.DataFrame(
        {
            "source": rng.choice(["a", "b"], ROWS),
            "year": rng.integers(1990, 2020, ROWS),
            "distance_ft": distance,
            "holed": holed.astype(int),
        }
    ).to_csv(path, index=False)


def run(which: str, seed: int, folder: Path) -> dict[str, object]:
    """Run one study, and give its line of the table."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    from whole_study import run_study

    from scalecheck import configuration

    settings = configuration.select(
        {"study_file": "config/studies/golf/study.yaml", "seed": seed}, []
    )["golf"]
    if which == "null":
        simulate_null(folder / "putts.csv", seed)
        data = dataclasses.replace(settings.data, file=str(folder / "putts.csv"), expand=None)
        increments = dataclasses.replace(settings.increments, stop="never")
        settings = dataclasses.replace(settings, data=data, increments=increments)
    verdict = run_study(settings, folder / "golf")
    seen = [f for f in verdict["findings"] if f["status"] in ("suspect", "strong")]
    axes = {f["where"]["axis"] for f in seen}
    families = [f["family"] for f in seen]
    adjusted = [f["p_adjusted"] for f in verdict["findings"] if f["p_adjusted"] is not None]
    return {
        "seed": seed,
        **{name: verdict[name] for name in ("verdict", "misfit", "heterogeneous")},
        "source": "source" in axes,
        "distance_ft": "distance_ft" in axes,
        **{name: name in families for name in ("agreement", "drift", "surprise")},
        **{name: verdict["rows"][name] for name in ("used", "total", "first_seen")},
        "unusable": verdict["unusable"],
        "smallest_adjusted_p": f"{min(adjusted):.2g}",
    }


def main() -> None:
    """Run what is missing and print the table's summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("which", choices=["story", "null"])
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    os.chdir(ROOT)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(RESULTS / ".jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    path = RESULTS / f"golf-{options.which}.csv"
    path.parent.mkdir(exist_ok=True)
    rows = list(csv.DictReader(path.open())) if path.exists() else []
    done = {int(row["seed"]) for row in rows}
    for seed in (seed for seed in range(1, options.seeds + 1) if seed not in done):
        folder = Path(tempfile.mkdtemp(prefix="scalecheck-"))
        row = run(options.which, seed, folder)
        shutil.rmtree(folder)
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)
    rows = list(csv.DictReader(path.open()))
    for name in (
        "misfit",
        "heterogeneous",
        "source",
        "distance_ft",
        "agreement",
        "drift",
        "surprise",
    ):
        print(f"{name}: {sum(row[name] == 'True' for row in rows)} of {len(rows)}")
    alarms = sum(row["verdict"] in ("misfit", "suspect") for row in rows)
    print(f"misfit or suspect: {alarms} of {len(rows)}")


if __name__ == "__main__":
    main()
