"""How often the forecast of the full fit covers what the full fit takes, over simulated studies.

    .venv/bin/python tests/benchmarks/forecast.py --seeds 101:108

Each study is fitted four increments long and then on all rows, eight times the fourth, by the library's
own code. The fits are kept in tests/benchmarks/results/forecast.csv: those that stand there are not made
again, and the forecast is computed anew each time. Prints, by kind of study and over all, the share of full
fits whose gradients lie in the 90 % interval, its standard error, and the ratio of its bounds (geometric
mean). The prior of the forecast was chosen on seeds 1 to 6: report others.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from studies import MODELS, bound, columns_of  # noqa: E402

from scalecheck import configuration, forecast, simulated_fits  # noqa: E402
from scalecheck.data_sets import DataSet, from_table  # noqa: E402
from scalecheck.results import FitResult  # noqa: E402
from scalecheck.study import Study  # noqa: E402

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
    return configuration.build(given, str(MODELS))


def fit_studies(name: str, seeds: Sequence[int]) -> pd.DataFrame:
    """Fit the first increments and all rows of some studies of a kind: a line a fit."""
    kind = KINDS[name]
    settings = settings_of(kind)
    n_rows = kind.start * 2 ** (N_INCREMENTS - 1) * FACTOR_TO_ALL
    tables = [columns_of(kind.table, seed, n_rows) for seed in seeds]
    likelihood = bound(settings, tables[0])
    planned = [
        from_table(settings, table, 1_000_003 + seed, ("increment",))
        for table, seed in zip(tables, seeds, strict=True)
    ]
    wanted = [_first_and_last(one) for one in planned]
    fitting = simulated_fits.Fitting(settings.sampler, likelihood, wanted, lambda line: None)
    fitted = simulated_fits.fit_all(fitting, settings.increments)
    return pd.DataFrame(
        [
            {"kind": name, "seed": seed} | _line(result)
            for seed, study in zip(seeds, fitted, strict=True)
            for result in study.done.values()
        ]
    )


def _first_and_last(one: DataSet) -> DataSet:
    return one._replace(tasks=(*one.tasks[:N_INCREMENTS], one.tasks[-1]))


def _line(result: FitResult) -> dict[str, object]:
    record = result.record
    return {
        "rows": record["rows"],
        "usable": result.health.usable,
        "draws": record["draws"],
        **{
            f"gradients_{phase}": " ".join(map(str, record["gradients"][phase]))
            for phase in ("warmup", "sampling")
        },
    }


def judge(fits: pd.DataFrame) -> dict[str, float]:
    """Forecast the largest fit of a study from the others, and compare."""
    fits = fits.sort_values("rows")
    full, before = fits.iloc[-1], fits.iloc[:-1]
    low, median, high = forecast.gradients_of(
        _effort(before[before["usable"]]), full["rows"]
    ).interval
    seen = sum(_per_chain(full, phase).sum() for phase in ("warmup", "sampling"))
    return {
        "covered": float(low <= seen <= high),
        "over_median": np.log(seen / median),
        "width": np.log(high / low),
    }


def _effort(fits: pd.DataFrame) -> forecast.Effort:
    rows = [row for _, row in fits.iterrows()]
    draws = fits["draws"].to_numpy(float)
    return forecast.Effort(
        fits["rows"].to_numpy(float),
        np.stack([_per_chain(row, "warmup") for row in rows]) / WARMUP,
        np.stack([_per_chain(row, "sampling") for row in rows]) / draws[:, None],
        draws / DRAWS,
        WARMUP,
        DRAWS,
    )


def _per_chain(row: pd.Series, phase: str) -> np.ndarray:
    return np.array(row[f"gradients_{phase}"].split(), dtype="float64")


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


def main() -> None:
    """Fit what is missing, and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", default="101:108", help="first:last")
    options = parser.parse_args()
    first, last = map(int, options.seeds.split(":"))
    for name in KINDS:
        known = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame({"kind": [], "seed": []})
        done = set(known["seed"][known["kind"] == name])
        if missing := [seed for seed in range(first, last + 1) if seed not in done]:
            new = fit_studies(name, missing)
            new.to_csv(RESULTS, mode="a", header=not RESULTS.exists(), index=False)
    fits = pd.read_csv(RESULTS)
    print(report(fits[fits["seed"].between(first, last)]).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
