"""How often the forecast of the full fit covers what the full fit takes, over simulated studies.

    .venv/bin/python tests/benchmarks/forecast.py --seeds 101:108

Each study is fitted four increments long, the later three from the one before, and then cold on all rows,
eight times the fourth, by the library's own code. The fits are kept in tests/benchmarks/results/forecast.csv:
those that stand there are not made again, and the forecast is computed anew each time. Prints, by kind of
study and over all, the share of full fits whose gradients lie in the 90 % interval, its standard error, and
the ratio of its bounds (geometric mean). The prior of the forecast was chosen on seeds 1 to 6: report others.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from in_memory import from_table  # noqa: E402
from studies import MODELS, bound, columns_of  # noqa: E402

from scalecheck import ENGINE_VERSION  # noqa: E402
from scalecheck.files.record import FitRecord, RecordedGradients  # noqa: E402
from scalecheck.results import (
    forecast,  # noqa: E402
    increment_costs,  # noqa: E402
)
from scalecheck.results.study_fits import FitResult  # noqa: E402
from scalecheck.simulation import simulated_fits  # noqa: E402
from scalecheck.study import read_study  # noqa: E402
from scalecheck.study.settings import Study  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "forecast.csv"
N_INCREMENTS, FACTOR_TO_ALL = 4, 8
WARMUP, DRAWS = 300, 250


class Kind(NamedTuple):
    """What is simulated, by its name in scenarios.py, and the model of models.py that it is given to."""

    table: str
    model: str
    start: int = 250
    n_covariates: int = 2
    unit: bool = False


KINDS = {
    "linear": Kind("linear", "linear"),
    "logit": Kind("logit", "logit"),
    "poisson": Kind("poisson", "poisson"),
    "student": Kind("student", "student"),
    "eight slopes": Kind("eight_slopes", "linear", n_covariates=7),
    "correlated": Kind("correlated_logit", "logit"),
    # Of 250 rows the prior says more than the data about the difference of two slopes, of 16,000 less.
    "strong prior": Kind("correlated_logit", "strong_logit"),
    "bounded": Kind("bounded", "zero_inflated"),
    "centred": Kind("centred", "centred", start=125, unit=True),
    "non-centred": Kind("noncentred", "noncentred", start=40, unit=True),
}


def settings_of(kind: Kind) -> Study:
    """Give the settings of a study: increments only."""
    covariates = [f"x{number}" for number in range(1, kind.n_covariates + 1)]
    given = {
        "study": kind.model,
        "data": {"file": str(MODELS), "outcome": "y", "categories": ["src", "grp"]}
        | ({"unit": "unit"} if kind.unit else {}),
        "model": {
            "file": str(MODELS),
            "function": kind.model,
            "arguments": {"x": covariates},
        },
        "subsets": {"count": 0},
        "increments": {"start": kind.start, "factor": 2, "end": "all", "stop": "never"},
        "sampler": {"chains": 4, "warmup": WARMUP, "draws": DRAWS},
    }
    return read_study.build(given, str(MODELS))


def n_all(name: str) -> int:
    """Rows of the full fits of a kind."""
    return KINDS[name].start * 2 ** (N_INCREMENTS - 1) * FACTOR_TO_ALL


def fit_studies(name: str, seeds: Sequence[int], *, full: bool) -> pd.DataFrame:
    """Fit the first increments of some studies of a kind, or all rows cold: a line a fit."""
    settings = settings_of(KINDS[name])
    tables = [columns_of(KINDS[name].table, seed, n_all(name)) for seed in seeds]
    likelihood = bound(settings, tables[0])
    planned = [
        from_table(settings, table, 1_000_003 + seed, ("increment",))
        for table, seed in zip(tables, seeds, strict=True)
    ]
    part = slice(-1, None) if full else slice(N_INCREMENTS)
    wanted = [one._replace(tasks=one.tasks[part]) for one in planned]
    increments = dataclasses.replace(settings.increments, warm=not full)
    fitting = simulated_fits.Fitting(settings.sampler, likelihood, wanted, lambda line: None)
    fitted = simulated_fits.fit_plans(fitting, increments)
    return pd.DataFrame(
        [
            {"kind": name, "seed": seed} | _line(result)
            for seed, study in zip(seeds, fitted, strict=True)
            for result in study.done.values()
        ]
    )


def _line(result: FitResult) -> dict[str, object]:
    record = result.record
    return {
        "rows": record.rows,
        "usable": result.health.usable,
        "warmup": record.warmup,
        "draws": record.draws,
        **{
            f"gradients_{phase}": " ".join(map(str, getattr(record.gradients, phase)))
            for phase in ("warmup", "sampling")
        },
    }


def judge(fits: pd.DataFrame) -> dict[str, float]:
    """Forecast the largest fit of a study from the others, and compare."""
    *before, full = [_record(row) for _, row in fits.sort_values("rows").iterrows()]
    known = increment_costs.taken(before, full.rows)
    assert known is not None
    low, median, high = forecast.gradients_of(known[0], full.rows).interval
    seen = full.gradients.total
    return {
        "covered": float(low <= seen <= high),
        "over_median": np.log(seen / median),
        "width": np.log(high / low),
    }


def _record(row: pd.Series) -> FitRecord:
    """What the forecast reads of a record; of seconds nothing is asked."""
    phases = ("warmup", "sampling")
    gradients = {name: [int(n) for n in row[f"gradients_{name}"].split()] for name in phases}
    return FitRecord(
        fit="",
        kind="increment",
        axis="",
        level="",
        new_rows=row["rows"],
        status="done",
        engine_version=ENGINE_VERSION,
        versions={},
        **{name: row[name] for name in ("usable", "rows", "warmup", "draws")},
        padded_rows=row["rows"],
        gradients=RecordedGradients(**gradients),
        seconds_per_gradient=1.0,
        seconds=dict.fromkeys(("import", "compile", *phases), 0.0),
        settings={"sampler": {"warmup": WARMUP, "draws": DRAWS}},
        unit_parameters=KINDS[row["kind"]].unit,
    )


def report(fits: pd.DataFrame) -> pd.DataFrame:
    """Give coverage by kind and over all; by study, what `judge` gives, averaged."""
    judged = pd.DataFrame(
        [{"kind": kind} | judge(study) for (kind, _), study in fits.groupby(["kind", "seed"])]
    )
    parts = [*judged.groupby("kind", sort=False), ("all", judged)]
    return pd.DataFrame([{"kind": name} | _summary(part) for name, part in parts])


def _summary(judged: pd.DataFrame) -> dict[str, float]:
    share, n_studies = judged["covered"].mean(), len(judged)
    return {
        "studies": n_studies,
        "covered": share,
        "se": np.sqrt(share * (1 - share) / n_studies),
        "actual_over_median": np.exp(judged["over_median"].mean()),
        "high_over_low": np.exp(judged["width"].mean()),
    }


def _done(name: str, *, full: bool) -> set[int]:
    """Seeds of which there are lines."""
    if not RESULTS.exists():
        return set()
    known = pd.read_csv(RESULTS)
    own = known[(known["kind"] == name) & ((known["rows"] == n_all(name)) == full)]
    return set(own["seed"])


def main() -> None:
    """Fit what is missing, and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", default="101:108", help="first:last")
    options = parser.parse_args()
    first, last = map(int, options.seeds.split(":"))
    for name in KINDS:
        for full in (False, True):
            done = _done(name, full=full)
            if missing := [seed for seed in range(first, last + 1) if seed not in done]:
                new = fit_studies(name, missing, full=full)
                new.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)
    fits = pd.read_csv(RESULTS)
    print(report(fits[fits["seed"].between(first, last)]).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
