"""Measure false alarms, power and attribution on simulated studies: real fits, the library's own checks.

    make calibrate                       # everything; resumes where it was stopped
    make calibrate ARGS='--only drift'   # some scenarios
    make calibrate ARGS=--quick          # a few minutes, with bounds, into a scratch folder
    make calibrate ARGS='--first 1 --out FOLDER'   # other seeds: rules are chosen on seeds below 1,001
    make calibrate ARGS='--rows 50 --out FOLDER'   # smaller subsets

Each study of scenarios.py is a line of tests/calibration/results/calibration.csv; batches of which
every line is there, made by the same code, are not run again. Then summary.csv, calibration.svg and
docs/calibration.md are written from the lines. With --quick, exit status 1 says that a rate is out of bounds.
"""

import argparse
import csv
import datetime
import multiprocessing
import os
import queue
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
# Of what is reported. Whatever is chosen by its results is chosen on seeds below.
FIRST = 1001
# One thread a process: two that share two cores are faster than either over both.
ENVIRONMENT = {
    "SCALECHECK_PLATFORM": "cpu",
    "JAX_PLATFORMS": "cpu",
    "OMP_NUM_THREADS": "1",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


def main() -> None:
    """Run what is missing, then write what follows from the lines."""
    options = _options()
    os.chdir(ROOT)
    os.environ.update(ENVIRONMENT)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(RESULTS / ".jax"))
    # Here, not above: JAX reads the environment when it is imported.
    import quick
    import scenarios
    import studies

    size = studies.changed(quick.SIZE if options.quick else studies.FULL, vars(options))
    names = options.only or (quick.SCENARIOS if options.quick else list(scenarios.SCENARIOS))
    folder = options.out or (
        Path(tempfile.mkdtemp(prefix="calibrate-")) if options.quick else RESULTS
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "calibration.csv"
    began = time.perf_counter()
    if not options.summary:
        first = options.first or (1 if options.quick else FIRST)
        run_missing(path, names, size, options.jobs, first)
        print(f"{time.perf_counter() - began:.0f} s")
    if options.quick:
        sys.exit(quick.report(path))
    write_summary(path, folder, size)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few scenarios, with bounds")
    parser.add_argument("--summary", action="store_true", help="of the lines that are there")
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", help="these scenarios")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--nulls", type=int, help="studies of each null")
    parser.add_argument("--structures", type=int, help="studies of each null of a data structure")
    parser.add_argument("--defects", type=int, help="studies of each defect")
    parser.add_argument("--first", type=int, help=f"first seed; default: {FIRST}, or 1 if quick")
    parser.add_argument("--batch", type=int, help="studies that run together")
    parser.add_argument("--rows", type=int, help="of a subset, in place of the scenarios' own")
    parser.add_argument("--out", type=Path, help="folder of the results")
    options = parser.parse_args()
    if options.rows and not options.out:
        parser.error("--rows needs --out: lines of the report have the rows of their scenarios")
    return options


def run_missing(path: Path, names: list[str], size: Any, n_jobs: int, first: int = FIRST) -> None:
    """Run the batches that lack a line, in processes that each take one scenario after the other."""
    todo = [(name, seeds) for name in names for seeds in missing(path, name, size, first)]
    if not todo:
        return
    context = multiprocessing.get_context("spawn")
    waiting, done = context.Queue(), context.Queue()
    for name in _costly_first({name for name, _ in todo}):
        waiting.put([part for part in todo if part[0] == name])
    workers = [
        context.Process(target=_work, args=(waiting, done, size), daemon=True)
        for _ in range(n_jobs)
    ]
    for worker in workers:
        worker.start()
    progress = Progress(sum(len(seeds) for _, seeds in todo))
    for _ in todo:
        lines = _next(done, workers)
        append(path, lines)
        print(progress.line(lines, _lines(path)), flush=True)
    for worker in workers:
        worker.join()


def missing(path: Path, name: str, size: Any, first: int = FIRST) -> Iterator[list[int]]:
    """Seeds in batches that always hold the same ones, or the same seed could differ."""
    from studies import code

    own = [line for line in _lines(path) if (line["scenario"], line["code"]) == (name, code())]
    seen = {int(line["seed"]) for line in own}
    for start in range(first, first + size.of(name), size.batch):
        seeds = list(range(start, start + size.batch))
        if not seen.issuperset(seeds):
            yield seeds


def _costly_first(names: set[str]) -> list[str]:
    """Hierarchical models take longest; those of one model follow each other, to share its programs."""
    from scenarios import SCENARIOS

    return sorted(names, key=lambda n: (not SCENARIOS[n].unit, SCENARIOS[n].model, n))


def _work(waiting: Any, done: Any, size: Any) -> None:
    """Run scenarios until none waits; an error ends the whole run."""
    from studies import run_batch

    while True:
        try:
            batches = waiting.get(timeout=1)
        except queue.Empty:
            return
        for name, seeds in batches:
            try:
                done.put(run_batch(name, seeds, size))
            except BaseException as error:
                done.put(f"{name}, seeds {seeds[0]} to {seeds[-1]}: {error!r}")
                raise


def _next(done: Any, workers: list[Any]) -> list[dict[str, Any]]:
    """Wait for a batch, but not for a process that is gone."""
    while True:
        try:
            found = done.get(timeout=5)
        except queue.Empty:
            if any(worker.exitcode not in (None, 0) for worker in workers):
                sys.exit("calibrate: a process died (killed for memory?)")
            continue
        if isinstance(found, str):
            sys.exit(f"calibrate: {found}")
        return found


class Progress:
    """What is done, and how long the rest takes at this pace."""

    def __init__(self, total: int) -> None:
        self.began, self.done, self.total = time.perf_counter(), 0, total

    def line(self, batch: list[dict[str, Any]], lines: list[dict[str, Any]]) -> str:
        """Give the scenario, its alarms so far, and the time left."""
        self.done += len(batch)
        name = batch[0]["scenario"]
        own = [line for line in lines if line["scenario"] == name]
        alarms = sum(float(line["smallest_p_adjusted"]) < 0.05 for line in own)
        seconds = (time.perf_counter() - self.began) / self.done * (self.total - self.done)
        return (
            f"{name}: {alarms} alarms in {len(own)} studies; {self.done}/{self.total} in all,"
            f" {datetime.timedelta(seconds=round(seconds))} left"
        )


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def append(path: Path, batch: list[dict[str, Any]]) -> None:
    """Add the lines of a batch, in place of what an earlier run had of it."""
    from scenarios import SCENARIOS
    from studies import COLUMNS

    new = {(line["scenario"], str(line["seed"])) for line in batch}
    kept = [line for line in _lines(path) if (line["scenario"], line["seed"]) not in new]
    order = list(SCENARIOS)
    both = sorted([*kept, *batch], key=lambda one: (order.index(one["scenario"]), int(one["seed"])))
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(both)
    partial.replace(path)


def write_summary(path: Path, folder: Path, size: Any) -> None:
    """Write rates, the plot and, for the checkout's own results, the document."""
    import document
    import plot
    import summary

    lines = summary.read(path)
    summary.summarise(lines).to_csv(folder / "summary.csv", index=False, float_format="%.4g")
    plot.draw(lines, folder / "calibration.svg")
    if folder == RESULTS:
        document.DOCUMENT.write_text(document.write(lines, size), encoding="utf-8")
    for bar in summary.missing(summary.bars(lines)):
        print(f"falls short: {bar.what}: {bar.seen}, demanded {bar.bar}")


if __name__ == "__main__":
    main()
