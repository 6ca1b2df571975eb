"""Compare the verdict with other checks of models, on simulated tables with a known defect.

    make defects                                      # everything; resumes where it was stopped
    make defects ARGS='--models linear --n 100'       # a part
    make defects ARGS=--summary                       # of the lines that are there

Each line of tests/defects/results/defects.csv is a model, a defect, a strength, a size, a seed and a method; lines
that are there, made by the same code, are not made again. Then summary.csv, defects.svg and the part of
docs/defects.md between its marks are written. A further method is one more file in tests/defects/methods.
"""

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(ROOT / "tests/calibration"))

SIZES = (25, 50, 100, 200, 400)
SEEDS = 20
# Data sets after which a process says how far it is.
TOLD = 20


def main() -> None:
    """Run what is missing, then write what follows from the lines."""
    options = _options()
    os.chdir(ROOT)
    _set_environment()
    # Here, not above: JAX reads the environment when it is imported.
    import lines
    from benchmark_models import MODELS

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "defects.csv"
    if not options.summary:
        run_missing(path, options)
        lines.tidy(path, MODELS)
    write_summary(path, options.out)


def _set_environment() -> None:
    from calibrate import ENVIRONMENT

    os.environ.update(ENVIRONMENT)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(RESULTS / ".jax"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="these models")
    parser.add_argument("--defects", nargs="+", metavar="DEFECT", help="these; null is one")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="these methods")
    parser.add_argument(
        "--strengths", nargs="+", type=int, choices=(1, 2, 3), default=[1, 2, 3], help="of defects"
    )
    parser.add_argument("--n", nargs="+", type=int, default=list(SIZES), help="rows of a subset")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds 1 to so many")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing later")
    parser.add_argument("--summary", action="store_true", help="of the lines that are there")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    options.out = options.out.absolute()
    return options


def run_missing(path: Path, options: argparse.Namespace) -> None:
    """Run the lines that are missing: a process for each model and size, which takes its programs with it."""
    waiting = list(missing(path, options))
    end = time.monotonic() + 60 * options.minutes
    context = multiprocessing.get_context("spawn")
    running: list[Any] = []
    while waiting or running:
        while waiting and len(running) < options.jobs:
            process = context.Process(
                target=run_part, args=(path, waiting.pop(0), end), daemon=True
            )
            process.start()
            running.append(process)
        connection.wait([process.sentinel for process in running])
        ended = [process for process in running if process.exitcode is not None]
        if any(process.exitcode for process in ended):
            sys.exit("defects: a process died (killed for memory?)")
        running = [process for process in running if process not in ended]
        waiting = waiting if time.monotonic() < end else []


def missing(path: Path, options: argparse.Namespace) -> Iterator[list[tuple[Any, list[str]]]]:
    """Give parts, of one model and size: `((model, defect, strength, seed, n), methods)` of each data set."""
    import lines
    import methods
    from benchmark_models import MODELS, NULL

    there = lines.done(path)
    asked = options.methods or methods.names()
    most = {name: getattr(methods.load(name), "SEEDS", options.seeds) for name in asked}
    for name, n in itertools.product(options.models or MODELS, options.n):
        kinds = [kind for kind in MODELS[name].kinds if kind in (options.defects or [kind])]
        part = []
        for seed, kind in itertools.product(range(1, options.seeds + 1), kinds):
            for strength in [0] if kind == NULL else options.strengths:
                key = (name, kind, strength, n, seed)
                todo = [m for m in asked if (*key, m) not in there and seed <= most[m]]
                if todo:
                    part.append(((name, kind, strength, seed, n), todo))
        if part:
            yield part


def run_part(path: Path, part: list[tuple[Any, list[str]]], end: float) -> None:
    """Run data sets until the time is over."""
    _set_environment()
    import lines

    name, *_, n = part[0][0]
    for number, (which, todo) in enumerate(part, 1):
        if time.monotonic() > end:
            return
        lines.append(path, run_case(which, todo))
        if number % TOLD == 0 or number == len(part):
            print(f"{name}, n = {n}: {number} of {len(part)} data sets", flush=True)


def run_case(which: tuple[str, str, int, int, int], todo: list[str]) -> list[dict[str, Any]]:
    """Ask methods about one data set: a line each. What a method raises is in its line."""
    import lines
    import methods
    from cases import Answer, Case

    name, defect, strength, seed, n = which
    # Strengths are 1 to 3 in the table, 0 of a null.
    case = Case(name, defect, max(strength - 1, 0), n, seed)
    key = {"model": name, "defect": defect, "strength": strength, "n": n, "seed": seed}
    found = []
    for method in todo:
        began = time.process_time()
        try:
            answer = methods.load(method).check(case)
        except ImportError as error:
            answer = Answer(None, note=f"not installed: {error.name}")
        except Exception as error:
            answer = Answer(
                None, note=f"failed: {type(error).__name__}: {error}".partition("\n")[0]
            )
        p = "" if answer.p is None else f"{answer.p:.4g}"
        seconds = f"{time.process_time() - began:.2f}"
        own = {"method": method, "p": p, "cpu_seconds": seconds, "code": lines.code(method)}
        found.append({**key, **answer._asdict(), **own})
    return found


def write_summary(path: Path, folder: Path) -> None:
    """Write rates, the plot and, for the checkout's own results, the document."""
    import lines
    import power
    import power_page
    import power_plot

    table = lines.read(path)
    if not len(table):
        sys.exit(f"defects: no line in {path}")
    power.summarise(table).to_csv(folder / "summary.csv", index=False, float_format="%.4g")
    power_plot.draw(table, folder / "defects.svg")
    if folder == RESULTS:
        page = power_page.DOCUMENT
        page.write_text(power_page.write(table, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
