"""How the shipped studies end with other seeds; and how often studies that are null raise an alarm.

    .venv/bin/python tests/calibration/stories.py golf --seeds 20

Each story is a study with one thing changed, run whole. Results are added to
tests/calibration/results/stories.csv, one line a story and seed; those that are there are not run again.
`golf_null` simulates 20,000 rows from the angle model (distances drawn from the published table, sigma
.0255, sources and years at random): whatever is suspect or strong there is a false alarm, as it is of
`weldon`. `flights_200` has 200 flights in all its levels together, as many as a month's effect hides in.
"""

import argparse
import csv
import dataclasses
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
SIGMA = 0.0255
ROWS = 20_000
COLUMNS = (
    "story",
    "seed",
    "verdict",
    "misfit",
    "heterogeneous",
    "axes",
    "families",
    "used",
    "total",
    "first_seen",
    "unusable",
    "smallest_adjusted_p",
)

Settings = Any


class Story(NamedTuple):
    """A study file and what is changed in it, given the settings and a scratch folder and a seed."""

    file: str
    study: str
    change: Callable[[Settings, Path, int], Settings] = lambda settings, folder, seed: settings


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


def _null(settings: Settings, folder: Path, seed: int) -> Settings:
    simulate_null(folder / "putts.csv", seed)
    data = dataclasses.replace(settings.data, file=str(folder / "putts.csv"), expand=None)
    increments = dataclasses.replace(settings.increments, stop="never")
    return dataclasses.replace(settings, data=data, increments=increments)


def _few(settings: Settings, folder: Path, seed: int) -> Settings:
    """17 rows for each of 12 months."""
    subsets = dataclasses.replace(settings.subsets, size=17)
    increments = dataclasses.replace(settings.increments, start=100, end=200)
    return dataclasses.replace(settings, subsets=subsets, increments=increments)


STORIES = {
    "golf": Story("golf/study.yaml", "golf"),
    "golf_null": Story("golf/study.yaml", "golf", _null),
    "weldon": Story("weldon/study.yaml", "weldon"),
    "weldon_fair": Story("weldon_fair/study.yaml", "weldon-fair"),
    "flights": Story("flights/study.yaml", "flights"),
    "flights_200": Story("flights/study.yaml", "flights", _few),
}


def run(name: str, seed: int, folder: Path) -> Mapping[str, object]:
    """Run one study, and give its line of the table."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    from whole_study import run_study

    from scalecheck.study import read_study

    story = STORIES[name]
    overrides = {"study_file": f"config/studies/{story.file}", "seed": seed}
    settings = story.change(read_study.select(overrides, [])[story.study], folder, seed)
    verdict = run_study(settings, folder / "study")
    seen = [f for f in verdict["findings"] if f["status"] in ("suspect", "strong")]
    adjusted = [f["p_adjusted"] for f in verdict["findings"] if f["p_adjusted"] is not None]
    return {
        "story": name,
        "seed": seed,
        **{key: verdict[key] for key in ("verdict", "misfit", "heterogeneous")},
        # An axis of a surprise is what leads; those of heterogeneity were tested.
        "axes": _words(f["where"]["axis"] for f in seen if f["family"] == "heterogeneity"),
        "families": _words(f["family"] for f in seen),
        **{key: verdict["rows"][key] for key in ("used", "total", "first_seen")},
        "unusable": " ".join(verdict["unusable"]),
        "smallest_adjusted_p": f"{min(adjusted):.2g}",
    }


def _words(names: Any) -> str:
    return " ".join(dict.fromkeys(name for name in names if name))


def main() -> None:
    """Run what is missing and print the table's summary."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("story", nargs="+", choices=[*STORIES])
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    os.chdir(ROOT)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(RESULTS / ".jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    path = RESULTS / "stories.csv"
    for name in options.story:
        done = {int(row["seed"]) for row in _rows(path) if row["story"] == name}
        for seed in (seed for seed in range(1, options.seeds + 1) if seed not in done):
            folder = Path(tempfile.mkdtemp(prefix="scalecheck-"))
            row = run(name, seed, folder)
            shutil.rmtree(folder)
            append(path, row)
            print(row, flush=True)
        print(f"{name}: {summary([row for row in _rows(path) if row['story'] == name])}")


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline=""))) if path.exists() else []


def append(path: Path, row: Mapping[str, object]) -> None:
    """Add a line; one write, so that two processes may."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def summary(rows: list[dict[str, str]]) -> str:
    """Count how they ended, and what was seen."""
    verdicts = Counter(row["verdict"] for row in rows)
    flags = Counter(
        key for row in rows for key in ("misfit", "heterogeneous") if row[key] == "True"
    )
    seen = Counter(word for row in rows for word in f"{row['axes']} {row['families']}".split())
    first = Counter(row["first_seen"] for row in rows if row["first_seen"])
    return f"{len(rows)} seeds, {dict(verdicts)}, {dict(flags)}; seen {dict(seen)}; first at {dict(first)}"


if __name__ == "__main__":
    main()
