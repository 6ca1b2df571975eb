"""Studies whose fits only sleep: what Snakemake itself takes, however many studies and fits there are."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Called by the name of the program that it stands for; writes what the rules of that program expect.
PROGRAM = """\
import csv, json, os, sys, time
from argparse import ArgumentParser
from pathlib import Path

parser = ArgumentParser()
for name in ("settings", "digest", "part", "manifest", "gpu", "gres", "log"):
    parser.add_argument(f"--{name}")
parser.add_argument("--increments", action="store_true")
options = parser.parse_args()
folder, settings = Path(options.settings).parent, json.loads(Path(options.settings).read_text())
TABLES = "fits divergences estimates agreement heterogeneity form drift surprise effort".split()
TABLES += ["scaling", "adaptation", "history", "units", "findings"]


def write(name, text=""):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def plan():
    n_subsets = settings["subsets"]["count"]
    rows = [("fit", "kind", "axis", "level", "rows", "new_rows")]
    rows += [(f"subset-{n:02d}", "subset", "", "", 100, 100) for n in range(1, n_subsets + 1)]
    rows += [(f"increment-{n:02d}", "increment", "", "", 2**n, 2 ** (n - 1)) for n in range(1, 6)]
    write("plan.csv", "".join(",".join(map(str, row)) + "\\n" for row in rows))


def prepare():
    write("data.nc")
    write("model.json")
    plan()


def fit():
    time.sleep(float(os.environ["PRETENDED_SECONDS"]))
    with (folder / "plan.csv").open() as file:
        rows = list(csv.DictReader(file))
    if options.increments:
        fits = [row["fit"] for row in rows if row["kind"] == "increment"]
    else:
        number, n_parts = map(int, options.part.split("-of-"))
        fits = [row["fit"] for row in rows if row["kind"] == "subset"][number - 1 :: n_parts]
    for name in fits:
        for file in ("posterior.nc", "progress.jsonl", "record.json"):
            write(f"fits/{name}/{file}")
    Path(options.manifest).write_text(json.dumps({"fits": fits}))


def judge():
    for name in TABLES:
        write(f"checks/{name}.csv")
    write("verdict.json")
    write("figures/forest.svg")
    write("report.html")


{"prepare": prepare, "fit": fit, "judge": judge}[Path(sys.argv[0]).name.removeprefix("scalecheck-")]()
"""

NAMES = ("prepare", "fit", "judge")


def write_programs(folder: Path) -> None:
    """Write programs by the names of those that rules call."""
    folder.mkdir(parents=True)
    for name in NAMES:
        path = folder / f"scalecheck-{name}"
        path.write_text(f"#!{sys.executable} -IS\n{PROGRAM}")
        path.chmod(0o755)


def write_studies(folder: Path, n_studies: int, n_subsets: int, batches: int) -> list[str]:
    """Write studies and what they name; give their files."""
    write_programs(folder / "bin")
    (folder / "rows.csv").write_text("y\n1\n")
    (folder / "model.py").write_text("")
    names = [f"study-{number:02d}" for number in range(1, n_studies + 1)]
    for name in names:
        (folder / f"{name}.yaml").write_text(
            f"study: {name}\ndata: {{file: rows.csv, outcome: y}}\nmodel: {{file: model.py}}\n"
            f"subsets: {{count: {n_subsets}}}\nbatches: {batches}\n"
        )
    return [f"{name}.yaml" for name in names]


def command(studies: list[str], *arguments: str) -> list[str]:
    """Command line of one run of all the studies."""
    return [
        str(Path(sys.executable).parent / "snakemake"),
        "--snakefile",
        str(ROOT / "Snakefile"),
        *arguments,
        "--config",
        f"studies=[{','.join(studies)}]",
    ]


def environment(folder: Path, seconds: float = 0.0) -> dict[str, str]:
    """The programs that only sleep first on PATH."""
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {
        "PATH": path,
        "PRETENDED_SECONDS": str(seconds),
        "XDG_CACHE_HOME": str(folder / ".cache"),
    }


def run(folder: Path, studies: list[str], *arguments: str) -> str:
    """Run Snakemake in a folder; give what it said.

    Raises
    ------
    CalledProcessError
        When it fails; what it said is its output.
    """
    return subprocess.run(
        command(studies, *arguments),
        cwd=folder,
        env=environment(folder),
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ).stdout


def jobs(said: str) -> dict[str, int]:
    """Jobs of each rule, from the first table that Snakemake prints."""
    table = said.split("Job stats:")[1].split("\n\n")[0]
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
