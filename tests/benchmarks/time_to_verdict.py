"""How long a user waits for a verdict: whole runs, with an empty cache of compiled programs and a full one.

    .venv/bin/python tests/benchmarks/time_to_verdict.py --against COMMIT
    .venv/bin/python tests/benchmarks/time_to_verdict.py --only golf --repeats 1

Runs golf, weldon, flights and two simulated studies (6,115 overdispersed binomial counts, one parameter;
14,000 Poisson counts, two axes) of this checkout and of another commit by turns, each in an environment of
its own that has the packages of this one. A study runs twice: cold, and with another seed into another
folder of results (warm). Seconds are of all processes, Snakemake's among them; `compiled` counts what XLA
compiled. Adds lines to tests/benchmarks/results/time_to_verdict.csv and skips those that are there:
what was killed goes on. Prints medians; `--document` writes them into docs/time_to_verdict.md. What took
longest to compile is named.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import whole_runs
from whole_runs import Tree

RESULTS = Path(__file__).parent / "results" / "time_to_verdict.csv"
DOCUMENT = Path(__file__).parents[2] / "docs/time_to_verdict.md"
STUDIES = ("golf", "weldon", "flights", "binomial", "poisson")
MARKS = (
    "<!-- Written by tests/benchmarks/time_to_verdict.py --document. -->",
    "<!-- Until here. -->",
)
MEASURED = ("wall_seconds", "cpu_seconds", "programs", "compiled")


def measure(tree: Tree, study: str, repeat: int, limit: float) -> list[dict[str, object]]:
    """Run a study cold and warm; give a line for each.

    Raises
    ------
    RunFailed
        When one of them fails.
    """
    lines = []
    with tempfile.TemporaryDirectory(prefix="scalecheck-", dir=tree.path.parent) as scratch:
        work = Path(scratch)
        whole_runs.write_studies(tree, work)
        if study == "flights":
            whole_runs.write_flights(tree, work)
        for cache, seed in (("cold", 2 * repeat + 1), ("warm", 2 * repeat + 2)):
            head = _head(tree, study, repeat) | {"cache": cache, "seed": seed}
            cost = whole_runs.run(tree, work, study, cache, seed, limit)
            verdict = json.loads((work / cache / study / "verdict.json").read_text())
            tail = {"verdict": verdict["verdict"], "load_before": head.pop("load_before")}
            lines.append(head | cost._asdict() | tail)
            print(_told(lines[-1]), flush=True)
            if compiled := _compiled(work, cache):
                print(f"  compiled: {compiled}", flush=True)
    return lines


def _compiled(work: Path, results: str) -> str:
    """Name what took longest to compile."""
    longest = whole_runs.compiled_names(work, results).head(12)
    return ", ".join(
        f"{row.times:.0f} x {name} {row.seconds:.1f} s" for name, row in longest.iterrows()
    )


def _head(tree: Tree, study: str, repeat: int) -> dict[str, object]:
    return {
        "date": datetime.date.today().isoformat(),
        "commit": tree.name,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("jax", "numpyro", "snakemake")},
        "cores": len(os.sched_getaffinity(0)),
        "study": study,
        "repeat": repeat,
        "load_before": os.getloadavg()[0],
    }


def _told(line: dict[str, object]) -> str:
    shown = ("commit", "study", "cache", *MEASURED, "verdict")
    return "  ".join(
        f"{line[name]:.1f}" if isinstance(line[name], float) else str(line[name]) for name in shown
    )


def missing(tree: Tree, studies: Sequence[str], repeats: int) -> list[tuple[int, str]]:
    """Repeats and studies of a tree that no line is of."""
    done = set()
    if RESULTS.exists():
        lines = pd.read_csv(RESULTS, dtype={"commit": str})
        own = lines[lines["commit"] == tree.name]
        done = set(zip(own["repeat"], own["study"], strict=True))
    wanted = [(repeat, study) for repeat in range(repeats) for study in studies]
    return [one for one in wanted if one not in done]


def add(lines: Sequence[dict[str, object]]) -> None:
    """Add lines to the table."""
    RESULTS.parent.mkdir(exist_ok=True)
    pd.DataFrame(lines).to_csv(
        RESULTS, mode="a", header=not RESULTS.exists(), index=False, float_format="%.4g"
    )


def table(names: Sequence[str]) -> str:
    """Medians of the commits named, the first beside the others, as Markdown."""
    lines = pd.read_csv(RESULTS, dtype={"commit": str})
    lines = lines[lines["commit"].isin(names)]
    medians = lines.groupby(["study", "cache", "commit"])[[*MEASURED]].median()
    runs = lines.groupby(["study", "cache", "commit"]).size()
    head = ["study", "cache", *(f"{one}: `{name}`" for name in names for one in _COLUMNS)]
    rows = [head, ["---"] * len(head)]
    for study in STUDIES:
        for cache in ("cold", "warm"):
            found = [
                medians.loc[key] for name in names if (key := (study, cache, name)) in runs.index
            ]
            if len(found) == len(names):
                rows.append([study, cache, *(f"{x:.0f}" for one in found for x in one)])
    about = lines.iloc[-1]
    lines_of = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(
        [
            f"Medians of {_range(runs)} runs, {_range(lines['date'])},"
            f" {about['cores']} cores, Python {about['python']}, jax {about['jax']}, numpyro {about['numpyro']};"
            f" load before a run {lines['load_before'].median():.1f} in the median.",
            "",
            *lines_of,
        ]
    )


def _range(values: pd.Series) -> str:
    return " to ".join(map(str, dict.fromkeys((values.min(), values.max()))))


_COLUMNS = ("wall, s", "processor, s", "programs", "compiled")


def write_document(text: str) -> None:
    """Put the table between the marks of the page."""
    page = DOCUMENT.read_text()
    first, last = map(re.escape, MARKS)
    new = f"{MARKS[0]}\n\n{text}\n\n{MARKS[1]}"
    DOCUMENT.write_text(re.sub(f"{first}.*{last}", lambda _: new, page, flags=re.DOTALL))


def main() -> None:
    """Measure by turns, and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--against", help="commit to compare with")
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=STUDIES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds that a run may take")
    parser.add_argument("--document", action="store_true", help=f"write {DOCUMENT.name}")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="scalecheck-verdict-") as scratch:
        trees = [whole_runs.checkout(Path(scratch))]
        if options.against:
            trees.append(whole_runs.commit(options.against, Path(scratch)))
        todo = {tree: missing(tree, options.only, options.repeats) for tree in trees}
        for one in sorted({one for each in todo.values() for one in each}):
            repeat, study = one
            # Whoever is first finds the machine as the other left it.
            for tree in [tree for tree in trees[:: -1 if repeat % 2 else 1] if one in todo[tree]]:
                try:
                    add(measure(tree, study, repeat, options.limit))
                except whole_runs.RunFailed as error:
                    failed = True
                    print(f"{tree.name} {study} failed: {error}", flush=True)
    found = table([tree.name for tree in trees])
    print(found)
    if options.document:
        write_document(found)
    sys.exit(failed)


if __name__ == "__main__":
    main()
