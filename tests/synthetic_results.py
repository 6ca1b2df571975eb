"""Synthetic results of three studies, in the formats of `results/<study>/`.

`golf` is loud: one parameter, eight subsets, ten levels, six increments of which the last is
skipped after a misfit. `panel` is quiet: twelve parameters, one unusable fit, nothing strong, and
the units of a hierarchical model. `funnel` is slow: one subset takes three times the leapfrogs, the
cost of an increment jumps and one of its chains is stuck.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import synthetic_tables
import synthetic_verdicts
from recorded import recorded

from scalecheck.files import checksums
from scalecheck.files.layout import StudyFolder
from scalecheck.model.rows import shared_size
from scalecheck.report import ReportInputs

DISTANCES = (
    "0.28",
    "0.97 to 1.93",
    "2 to 2.92",
    "3 to 3.93",
    "4 to 5",
    "6 to 8",
    "9 to 15",
    "16 to 75",
)
BY_DISTANCE = (0.109, 0.0315, 0.0243, 0.0176, 0.0182, 0.0196, 0.0221, 0.0354)
VERSIONS = {
    "scalecheck": "0.1.0",
    "jax": "0.12.0",
    "numpyro": "0.22.0",
    "numpy": "2.4.1",
    "python": "3.13.1",
    "device": "NVIDIA H200",
    "dtype": "float32",
}


class Truth(NamedTuple):
    """What fits of a synthetic study find: means by fit, and posterior sds of one row."""

    parameters: tuple[str, ...]
    means: Any
    unit_sd: np.ndarray


def golf() -> ReportInputs:
    """Results of a study that ends in a misfit."""
    plan = _plan(
        subsets=8,
        size=1000,
        axes={"source": ("berry1995", "broadie2018"), "distance_ft": DISTANCES},
        increments=(500, 1000, 2000, 4000, 8000, 16000),
    )
    by_level = dict(zip(DISTANCES, BY_DISTANCE, strict=True))
    by_level |= {"berry1995": 0.0267, "broadie2018": 0.0203}
    by_rows = {500: 0.0265, 1000: 0.0262, 2000: 0.0266, 4000: 0.0267, 8000: 0.0249, 16000: 0.0228}

    def mean(fit: dict, rng: np.random.Generator) -> np.ndarray:
        sd = 0.6 * 0.0266 / np.sqrt(fit["rows"])
        value = by_level.get(fit["level"]) or by_rows.get(
            fit["rows"] * (fit["kind"] == "increment")
        )
        value = value or 0.0205 + 1.3 * sd * rng.normal()
        return np.array([value])

    truth = Truth(("sigma",), mean, np.array([0.6 * 0.0266]))
    fits, estimates = _fits(plan, truth, skipped=("increment-06",), unusable=())
    return ReportInputs(
        synthetic_verdicts.golf(),
        fits,
        estimates,
        synthetic_tables.of_checks(fits, "sigma"),
        _settings("golf"),
        VERSIONS,
        {},
    )


def panel() -> ReportInputs:
    """Results of a study with twelve parameters whose checks pass."""
    plan = _plan(
        subsets=8,
        size=2000,
        axes={"region": ("north", "south", "<b>& east", "west")},
        increments=(1000, 2000, 4000, 8000, 16000),
    )
    names = ("intercept", "slope", *(f"beta[{i}]" for i in range(8)), "tau", "sigma")
    centre = np.linspace(-2.0, 3.0, 12)
    unit_sd = np.linspace(4.0, 9.0, 12)

    def mean(fit: dict, rng: np.random.Generator) -> np.ndarray:
        return centre + unit_sd / np.sqrt(fit["rows"]) * rng.normal(size=12)

    fits, estimates = _fits(plan, Truth(names, mean, unit_sd), (), unusable=("subset-05",))
    dropped = {"rows dropped for missing values": 12}
    tables = synthetic_tables.of_checks(fits, "slope") | {"units": synthetic_tables.of_units()}
    return ReportInputs(
        synthetic_verdicts.panel(), fits, estimates, tables, _settings("panel"), VERSIONS, dropped
    )


def funnel() -> ReportInputs:
    """Results of a study in which only the cost speaks."""
    plan = _plan(
        subsets=8,
        size=1000,
        axes={"carrier": ("AA", "B6", "DL", "EV", "UA", "WN")},
        increments=(500, 1000, 2000, 4000, 8000),
    )
    names = ("mu", "tau")

    def mean(fit: dict, rng: np.random.Generator) -> np.ndarray:
        return np.array([0.3, 1.1]) + rng.normal(size=2) / np.sqrt(fit["rows"])

    fits, estimates = _fits(plan, Truth(names, mean, np.ones(2)), (), ())
    slow = {"subset-03": 3.1, "increment-04": 2.3, "level-carrier-04": 1.9}
    factor = fits["fit"].map(slow).fillna(1.0) * 4.1
    fits = fits.assign(
        leapfrogs_per_iteration=fits["leapfrogs_per_iteration"] * factor,
        step_size=fits["step_size"] / factor,
    )
    return ReportInputs(
        synthetic_verdicts.funnel(),
        fits,
        estimates,
        synthetic_tables.of_checks(fits, "tau"),
        _settings("funnel"),
        VERSIONS,
        {},
    )


def write_results(folder: Path, inputs: ReportInputs) -> None:
    """Write the files of a study as the pipeline would."""
    (folder / "checks").mkdir(parents=True)
    inputs.fits[list(PLAN)].to_csv(folder / "plan.csv", index=False)
    inputs.fits.to_csv(folder / "checks" / "fits.csv", index=False)
    inputs.estimates.to_csv(folder / "checks" / "estimates.csv", index=False)
    for name, table in inputs.tables.items():
        table.to_csv(folder / "checks" / f"{name}.csv", index=False)
    (folder / "verdict.json").write_text(json.dumps(inputs.verdict, indent=1))
    for fit in inputs.fits.to_dict("records"):
        known = {name: inputs.versions[name] for name in ("device", "dtype")}
        record = recorded(fit["fit"], status=fit["status"], versions=dict(inputs.versions), **known)
        checksums.write_record(StudyFolder(folder), record)


PLAN = ("fit", "kind", "axis", "level", "rows", "new_rows")


def _plan(
    subsets: int, size: int, axes: dict[str, tuple[str, ...]], increments: tuple[int, ...]
) -> pd.DataFrame:
    rows: list[tuple] = [
        (f"subset-{i:02}", "subset", None, None, size, size) for i in range(1, subsets + 1)
    ]
    for axis, levels in axes.items():
        rows += [
            (f"level-{axis}-{i:02}", "level", axis, level, size, size)
            for i, level in enumerate(levels, 1)
        ]
    before = (0, *increments[:-1])
    for i, (n, last) in enumerate(zip(increments, before, strict=True), 1):
        rows.append((f"increment-{i:02}", "increment", None, None, n, n - last))
    return pd.DataFrame(rows, columns=list(PLAN))


def _fits(
    plan: pd.DataFrame, truth: Truth, skipped: tuple[str, ...], unusable: tuple[str, ...]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(20260219)
    fits, estimates = [], []
    for fit in plan.to_dict("records"):
        done, good = fit["fit"] not in skipped, fit["fit"] not in unusable
        fits.append(fit | (_health(fit, good, rng) if done else _skip()))
        if done:
            estimates += _estimates(fit, truth, good, rng)
    return pd.DataFrame(fits), pd.DataFrame(estimates)


def _health(fit: dict, good: bool, rng: np.random.Generator) -> dict:
    leapfrogs = 3.2 * np.exp(0.05 * rng.normal()) * (1.0 if good else 9.0)
    per_gradient = (1.1e-5 + 9e-9 * shared_size(fit["rows"])) * np.exp(0.04 * rng.normal())
    warmup, sampling = int(2000 * leapfrogs * 1.7), int(2000 * leapfrogs)
    return {
        "status": "done",
        "usable": good,
        "reason": "" if good else "R-hat is 1.083 (slope): sample longer or reparametrise",
        "iterations": 4000,
        "leapfrogs_per_iteration": leapfrogs,
        "gradients_warmup": warmup,
        "gradients_sampling": sampling,
        "padded_rows": shared_size(fit["rows"]),
        "seconds_per_gradient": per_gradient,
        "seconds_compile": 4.1,
        "seconds_warmup": warmup * per_gradient,
        "seconds_sampling": sampling * per_gradient,
        "step_size": 0.91 * np.exp(0.05 * rng.normal()),
        "divergences": 0 if good else 37,
        "depth_saturated": 0.0 if good else 0.06,
        "rhat_max": 1.001 + 0.004 * rng.random() if good else 1.083,
        "ess_min": 700 + 600 * rng.random() if good else 38,
        "e_bfmi_min": 0.9 + 0.2 * rng.random() if good else 0.22,
        "capped": "",
        "restarts": 0,
    }


def _skip() -> dict:
    reason = "increment-05 moved sigma by 3.1 posterior sds (drift): adding rows would repeat it"
    return {"status": "skipped", "usable": False, "reason": reason}


def _estimates(fit: dict, truth: Truth, good: bool, rng: np.random.Generator) -> list[dict]:
    mean = truth.means(fit, rng)
    # A level that the model hardly informs has a wide posterior: sd in proportion to the mean.
    scale = mean[0] / 0.0266 if len(truth.parameters) == 1 else 1.0
    sd = scale * truth.unit_sd / np.sqrt(fit["rows"]) * np.exp(0.05 * rng.normal(size=mean.size))
    if not good:
        mean, sd = mean + 3 * sd, 2.5 * sd
    where = {key: fit[key] for key in ("fit", "kind", "axis", "level", "rows")}
    return [
        where
        | {
            "parameter": name,
            "mean": m,
            "mcse": s / 28,
            "sd": s,
            "low": m - 1.6 * s,
            "high": m + 1.6 * s,
            "ess_bulk": 800.0,
            "ess_tail": 900.0,
            "rhat": 1.002,
        }
        for name, m, s in zip(truth.parameters, mean, sd, strict=True)
    ]


def _settings(study: str) -> dict:
    axes = {"golf": ["source", "distance_ft"], "panel": ["region"]}.get(study, ["carrier"])
    return {
        "study": study,
        "seed": 20260219,
        "results": "results",
        "data": {
            "file": f"config/studies/{study}/data.csv",
            "outcome": "y",
            "order": "year",
            "unit": "plane" if study == "panel" else None,
            "axes": axes,
            "missing": "drop",
        },
        "model": {"file": f"config/studies/{study}/model.py", "function": "model", "arguments": {}},
        "subsets": {"count": 8, "size": 1000, "levels": 8},
        "increments": {"start": 500, "factor": 2, "end": None, "stop": "misfit", "warm": False},
        "sampler": {"engine": "numpyro", "chains": 4, "warmup": 500, "draws": 500, "reparam": {}},
        "budget": {"seconds": 30.0 if study == "panel" else None, "price_per_hour": 2.5},
        "verdict": {"alpha": 0.05, "simulate": 0},
    }
