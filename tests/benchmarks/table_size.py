"""What tables of more and more rows take: memory and time of each program from the table to a fit of 500 rows.

    .venv/bin/python tests/benchmarks/table_size.py
    .venv/bin/python tests/benchmarks/table_size.py --rows 10000000 --formats parquet --unit
    .venv/bin/python tests/benchmarks/table_size.py --rows 100000000 --folder /large/disk

Writes a random table piece by piece: a text category, a time (the order), two covariates that are no float32 (one
of them an axis), an outcome of 0 and 1, a patient of ten rows that lie apart (`data.unit`, where that is asked
for), and a column that the study does not use. Then runs the programs of the workflow, each in a process of its
own: peak resident size and seconds of the processor are those that the operating system counts for it, `read_mb`
is what it read by system calls, libraries included. Adds a line per program to
tests/benchmarks/results/table_size.csv. A Parquet table of 1e8 rows takes 4 GB, one of netCDF 11, the spool 4 and
the store 10: all is removed at the end.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from scalecheck.files import formats
from scalecheck.study import jobs, read_study
from scalecheck.study.settings import Study, write_settings

CHECKOUT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "table_size.csv"
SITES = np.array([f"site {number:02d}" for number in range(40)])
PIECE = 2**20

MODEL = """
import numpyro
import numpyro.distributions as dist


def model(x, dose, site, y=None, n_site=1):
    with numpyro.plate("sites", n_site):
        alpha = numpyro.sample("alpha", dist.Normal(0.0, 1.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0))
    gamma = numpyro.sample("gamma", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=alpha[site] + beta * x + gamma * dose), obs=y)
"""

PROGRAMS = ("prepare", "fit")


def pieces(n_rows: int) -> Iterator[pd.DataFrame]:
    """Draw a table."""
    for start in range(0, n_rows, PIECE):
        rng, size = np.random.default_rng([827, start]), min(PIECE, n_rows - start)
        x, dose, site = (
            rng.normal(size=size),
            rng.gamma(2.0, size=size),
            rng.integers(40, size=size),
        )
        # Neighbours of other patients, each of whom has ten rows: 7,919 is prime.
        patient = (start + np.arange(size)) * 7919 % (n_rows // 10)
        logits = 0.4 * x - 0.3 * dose + (site - 20) / 20
        yield pd.DataFrame(
            {
                "x": x,
                "dose": dose,
                "site": SITES[site],
                "time": np.datetime64("2020-01-01", "ms") + rng.integers(10**11, size=size),
                "y": rng.random(size) < 1 / (1 + np.exp(-logits)),
                "patient": patient,
                "unused": rng.normal(size=size),
            }
        ).astype({"y": "int64"})


def write_parquet(path: Path, n_rows: int) -> None:
    """Write a table, a row group per piece."""
    drawn = pieces(n_rows)
    first = pa.Table.from_pandas(next(drawn), preserve_index=False)
    with pyarrow.parquet.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for piece in drawn:
            writer.write_table(
                pa.Table.from_pandas(piece, schema=first.schema, preserve_index=False)
            )


def write_netcdf(path: Path, n_rows: int) -> None:
    """Write a table of one dimension."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("row", n_rows)
        types = {"x": "f8", "dose": "f8", "site": str, "time": "i8", "y": "i8", "patient": "i8"}
        types |= {"unused": "f8"}
        for name, dtype in types.items():
            file.createVariable(name, dtype, ("row",))
        file["time"].units = "milliseconds since 1970-01-01"
        start = 0
        for piece in pieces(n_rows):
            for name in types:
                values = piece[name].to_numpy()
                values = values.astype("int64") if name == "time" else values
                file[name][start : start + len(piece)] = values
            start += len(piece)


WRITERS = {"parquet": write_parquet, "nc": write_netcdf}


def build(folder: Path, ending: str, unit: str | None) -> Study:
    """Write the files of the study beside its table."""
    (folder / "model.py").write_text(MODEL)
    given = {
        "study": "large",
        "data": {
            "file": f"table.{ending}",
            "outcome": "y",
            "order": "time",
            "unit": unit,
            "axes": ["dose"],
        },
        "model": {"file": "model.py"},
        "subsets": {"size": 500, "count": 4, "levels": 4},
        "increments": {"start": 500, "end": 4000},
    }
    return read_study.build(given, str(folder / "study.yaml"))


# Told by the process itself: of a child the system counts the memory that it shared before it began, too.
RUN = """
import atexit, json, pathlib, resource, runpy, sys, time

def tell(began=time.perf_counter()):
    own = resource.getrusage(resource.RUSAGE_SELF)
    lines = [pathlib.Path("/proc/self", name).read_text() for name in ("status", "io")]
    of = dict(line.split(":", 1) for text in lines for line in text.splitlines())
    pathlib.Path(took).write_text(json.dumps({
        "peak_gb": int(of["VmHWM"].split()[0]) * 1024 / 1e9,
        "cpu_seconds": own.ru_utime + own.ru_stime,
        "seconds": time.perf_counter() - began,
        "read_mb": int(of["rchar"]) / 1e6,
    }))

took = sys.argv.pop(1)
atexit.register(tell)
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


def run(program: str, study: Study, folder: Path) -> dict[str, float]:
    """Run a program of the workflow; give what it took."""
    results, took = folder / "results/large", folder / "took.json"
    write_settings(results / "settings.json", study)
    options = ["--settings", results / "settings.json", "--log", folder / f"{program}.log"]
    if program == "fit":
        first, *_ = jobs.parts(formats.read_plan(results / "plan.csv"), 10_000)  # one subset alone
        options += ["--part", first, "--manifest", results / "fits/one.json"]
    environment = os.environ | {"SCALECHECK_PLATFORM": "cpu"}
    command = [sys.executable, "-c", RUN, took, CHECKOUT / f"scripts/{program}.py", *options]
    subprocess.run([*map(str, command)], env=environment, check=True)
    return json.loads(took.read_text())


def measure(
    folder: Path, ending: str, n_rows: int, unit: str | None
) -> Iterator[dict[str, object]]:
    """Make a table and run the programs on it."""
    path = folder / f"table.{ending}"
    WRITERS[ending](path, n_rows)
    study = build(folder, ending, unit)
    for program in PROGRAMS:
        took = run(program, study, folder)
        yield {
            "date": datetime.date.today().isoformat(),
            "format": ending,
            "rows": n_rows,
            "unit": unit or "",
            "program": program,
            **{name: f"{value:.4g}" for name, value in took.items()},
            "table_gb": f"{path.stat().st_size / 1e9:.4g}",
            "store_gb": f"{(folder / 'results/large/data.nc').stat().st_size / 1e9:.4g}",
        }


def main() -> None:
    """Measure, and add the lines as they come."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10**6, 10**7])
    parser.add_argument("--formats", choices=WRITERS, nargs="+", default=list(WRITERS))
    parser.add_argument("--folder", type=Path, help="where the files lie while it runs")
    parser.add_argument("--unit", action="store_const", const="patient", help="whole patients")
    options = parser.parse_args()
    for n_rows in options.rows:
        for ending in options.formats:
            with tempfile.TemporaryDirectory(dir=options.folder) as path:
                for line in measure(Path(path), ending, n_rows, options.unit):
                    print(*line.values())
                    pd.DataFrame([line]).to_csv(
                        RESULTS, mode="a", index=False, header=not RESULTS.exists()
                    )


if __name__ == "__main__":
    main()
