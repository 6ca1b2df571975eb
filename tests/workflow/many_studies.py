"""What Snakemake takes for many studies of many fits, whatever the fits compute: they only sleep.

    .venv/bin/python tests/workflow/many_studies.py                          # 20 studies of 10,000 subsets, 20 jobs
    .venv/bin/python tests/workflow/many_studies.py --batches 100 --dry-run  # on paper, once all is planned

Adds lines to tests/workflow/results/many_studies.csv: processor and wall seconds and the most memory of the Snakemake
process with what it waits for, jobs, and the files that lie in the folder afterwards.
"""

import argparse
import datetime
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pretending

RESULTS = Path(__file__).parent / "results" / "many_studies.csv"
COLUMNS = (
    "date",
    "what",
    "studies",
    "subsets",
    "batches",
    "cores",
    "sleep",
    "jobs",
    "cpu_seconds",
    "seconds",
    "peak_mb",
    "files",
)


def measure(folder: Path, studies: list[str], sleep: float, *arguments: str) -> dict[str, Any]:
    """Run Snakemake to its end; give what it took."""
    said = folder / "said.txt"
    began = time.perf_counter()
    with said.open("w") as output:
        process = subprocess.Popen(
            pretending.command(studies, *arguments),
            cwd=folder,
            env=pretending.environment(folder, sleep),
            stdout=output,
            stderr=output,
        )
        _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise SystemExit(said.read_text()[-3000:])
    return {
        "jobs": pretending.jobs(said.read_text())["total"],
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "seconds": round(seconds, 1),
        "peak_mb": round(used.ru_maxrss / 1024),
        "files": sum(len(files) for _, _, files in os.walk(folder)),
    }


def main() -> None:
    """Plan all studies, look at the run on paper, and run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--subsets", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--sleep", type=float, default=0.1, help="seconds of a job of fits")
    parser.add_argument("--dry-run", action="store_true", help="do not run the fits")
    options = parser.parse_args()
    given = {
        "date": datetime.date.today().isoformat(),
        "studies": options.studies,
        "subsets": options.subsets,
        "batches": options.batches,
        "cores": options.cores,
        "sleep": options.sleep,
    }
    whats = {"plan": ["--until", "prepare_study"], "dry run": ["--dry-run"], "run": []}
    if options.dry_run:
        whats.pop("run")
    with tempfile.TemporaryDirectory(prefix="many-studies-") as scratch:
        folder = Path(scratch)
        studies = pretending.write_studies(
            folder, options.studies, options.subsets, options.batches
        )
        for what, arguments in whats.items():
            cores = ["--cores", str(options.cores)]
            found = measure(folder, studies, options.sleep, *cores, *arguments)
            _add(given | {"what": what} | found)


def _add(line: dict[str, Any]) -> None:
    print(", ".join(f"{name} {line[name]}" for name in COLUMNS), flush=True)
    table = pd.DataFrame([line], columns=[*COLUMNS])
    table.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)


if __name__ == "__main__":
    main()
