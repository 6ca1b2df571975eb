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

from scalecheck import records, seals
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
    "scalecheck": "0.1.0", "jax": "0.12.0", "numpyro": "0.22.0", "numpy": "2.4.1",
    "python": "3.13.1", "device": "NVIDIA H200", "dtype": "float32",
}  # fmt: skip


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
        pooled = {"source": 0.0231, "distance_ft": 0.0244}
        value = by_level.get(fit["level"]) or by_rows.get(
            fit["rows"] * (fit["kind"] == "increment")
        )
        value = value or pooled.get(fit["axis"]) or 0.0205 + 1.3 * sd * rng.normal()
        return np.array([value])

    truth = Truth(("sigma",), mean, np.array([0.6 * 0.0266]))
    fits, estimates = _fits(plan, truth, skipped=("increment-06",), unusable=())
    return ReportInputs(
        _verdict_golf(), fits, estimates, _tables(fits, "sigma"), _settings("golf"), VERSIONS, {}
    )


def panel() -> ReportInputs:
    """Results of a study with twelve parameters whose checks pass."""
    plan = _plan(
        subsets=8, size=2000, axes={"region": ("north", "south", "<b>& east", "west")},
        increments=(1000, 2000, 4000, 8000, 16000),
    )  # fmt: skip
    names = ("intercept", "slope", *(f"beta[{i}]" for i in range(8)), "tau", "sigma")
    centre = np.linspace(-2.0, 3.0, 12)
    unit_sd = np.linspace(4.0, 9.0, 12)

    def mean(fit: dict, rng: np.random.Generator) -> np.ndarray:
        return centre + unit_sd / np.sqrt(fit["rows"]) * rng.normal(size=12)

    fits, estimates = _fits(plan, Truth(names, mean, unit_sd), (), unusable=("subset-05",))
    dropped = {"rows dropped for missing values": 12}
    tables = _tables(fits, "slope") | {"units": _units()}
    return ReportInputs(
        _verdict_panel(), fits, estimates, tables, _settings("panel"), VERSIONS, dropped
    )


def funnel() -> ReportInputs:
    """Results of a study in which only the cost speaks."""
    plan = _plan(
        subsets=8, size=1000, axes={"carrier": ("AA", "B6", "DL", "EV", "UA", "WN")},
        increments=(500, 1000, 2000, 4000, 8000),
    )  # fmt: skip
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
    verdict = {
        **_verdict_panel(), "study": "funnel", "verdict": "misfit", "heterogeneous": True,
        "attribution": {"family": "effort", "axis": None}, "findings": _findings_funnel(),
        "rows": {"total": 328521, "used": 20000, "first_seen": 4000}, "p_simulated": 0.001,
    }  # fmt: skip
    return ReportInputs(
        verdict, fits, estimates, _tables(fits, "tau"), _settings("funnel"), VERSIONS, {}
    )


def _findings_funnel() -> list[dict]:
    loud = [
        _finding(
            "effort", "strong", 1e-4, 9e-4, ("leapfrogs over others'", 3.1, 2.4, 4.0),
            "subset-03 takes 3.1 times the leapfrogs of the other subsets (40.7 per iteration), and "
            "2.8 times with another seed: see what its rows have that others lack, or change the "
            "parametrisation", fit="subset-03",
        ) | {"p_simulated": 0.001},
        _finding(
            "scaling", "suspect", 0.002, 0.03, ("leapfrogs over predicted", 2.3, 1.6, 3.3),
            "increment-04 (4000 rows) takes 30 leapfrogs per iteration where 13 were predicted, 2.3 "
            "times as many: the model does not fit the rows that came last, or a chain is stuck: "
            "see what they hold, and adaptation", fit="increment-04",
        ),
        _finding(
            "adaptation", "suspect", 0.001, 0.04, ("gap of a chain in sds of the potential", 0.7, 0.4, 1),
            "increment-04: the potential of chain 2 lies 0.7 sds above that of the others: it is "
            "stuck in another mode or not there yet", fit="increment-04",
        ),
    ]  # fmt: skip
    quiet = (f for f in _verdict_panel()["findings"] if f["family"] not in COSTS)
    along = {"axis": "carrier", "parameter": "tau"}
    return loud + [
        f | ({"where": f["where"] | along} if f["family"] == "heterogeneity" else {}) for f in quiet
    ]


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
        record = {"fit": fit["fit"], "status": fit["status"], "versions": dict(inputs.versions)}
        seals.write_record(records.StudyFolder(folder), record)


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
    for axis, levels in axes.items():
        rows.append((f"axis-{axis}", "axis", axis, None, size * len(levels), 0))
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
    per_gradient = (1.1e-5 + 9e-9 * fit["rows"]) * np.exp(0.04 * rng.normal())
    warmup, sampling = int(2000 * leapfrogs * 1.7), int(2000 * leapfrogs)
    return {
        "status": "done",
        "usable": good,
        "reason": "" if good else "R-hat is 1.083 (slope): sample longer or reparametrise",
        "iterations": 4000,
        "leapfrogs_per_iteration": leapfrogs,
        "gradients_warmup": warmup,
        "gradients_sampling": sampling,
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
    }


def _skip() -> dict:
    reason = "increment-05 moved sigma by 3.1 posterior sds (drift): adding rows would repeat it"
    return {"status": "skipped", "usable": None, "reason": reason}


def _estimates(fit: dict, truth: Truth, good: bool, rng: np.random.Generator) -> list[dict]:
    mean = truth.means(fit, rng)
    # A level that the model hardly informs has a wide posterior: sd in proportion to the mean.
    scale = mean[0] / 0.0266 if len(truth.parameters) == 1 else 1.0
    sd = scale * truth.unit_sd / np.sqrt(fit["rows"]) * np.exp(0.05 * rng.normal(size=mean.size))
    if not good:
        mean, sd = mean + 3 * sd, 2.5 * sd
    where = {key: fit[key] for key in ("fit", "kind", "axis", "level", "rows")}
    return [
        where | {
            "parameter": name, "mean": m, "mcse": s / 28, "sd": s, "low": m - 1.6 * s,
            "high": m + 1.6 * s, "ess_bulk": 800.0, "ess_tail": 900.0, "rhat": 1.002,
        }
        for name, m, s in zip(truth.parameters, mean, sd, strict=True)
    ]  # fmt: skip


def _finding(
    family: str, status: str, p: float | None, adjusted: float | None, effect: tuple | None,
    message: str, **where: str | None,
) -> dict:  # fmt: skip
    place: dict[str, str | None] = dict.fromkeys(("axis", "level", "parameter", "fit"))
    named = (
        None if effect is None else dict(zip(("name", "value", "low", "high"), effect, strict=True))
    )
    return {
        "family": family, "status": status, "p": p, "p_adjusted": adjusted, "effect": named, "p_simulated": None,
        "where": place | where, "message": message,
    }  # fmt: skip


def _passed(family: str, p: float, effect: tuple | None, **where: str | None) -> dict:
    return _finding(family, "pass", p, min(1.0, 3 * p), effect, "Nothing was seen.", **where)


COSTS = ("effort", "scaling", "adaptation")


def _cheap(n_increments: int) -> list[dict]:
    """Families of cost that saw nothing."""
    fits = [f"increment-{i:02}" for i in range(1, n_increments + 1)]
    alike = ("leapfrogs over others'", 1.08, 0.8, 1.4)
    steady = ("leapfrogs over predicted", 1.1, 0.8, 1.5)
    together = ("gap of a chain in sds of the potential", 0.04, -0.03, 0.1)
    return [
        _passed("effort", 1.0, alike, fit="subset-02"),
        *(_passed("scaling", 0.3, steady, fit=fit) for fit in fits[2:]),
        *(_passed("adaptation", 0.4, together, fit=fit) for fit in fits),
    ]


def _verdict_golf() -> dict:
    findings = [
        _passed("agreement", 0.21, ("dispersion", 1.28, 0.74, 2.9)),
        _finding(
            "heterogeneity", "strong", 2e-4, 8e-4, ("shift", 41.2, 39.0, 43.4),
            "sigma differs along distance_ft, most at 0.28 (41 level sds from the pooled value): "
            "the model uses distance_ft, so change how it enters.",
            axis="distance_ft", level="0.28", parameter="sigma", fit="axis-distance_ft",
        ),
        _finding(
            "heterogeneity", "strong", 1e-4, 4e-4, ("shift", 8.3, 6.1, 10.4),
            "sigma differs between berry1995 and broadie2018 (8.3 level sds): model it per source.",
            axis="source", level="berry1995", parameter="sigma", fit="axis-source",
        ),
        _passed("drift", 0.44, ("shift", 0.4, -0.3, 1.1), fit="increment-04"),
        _finding(
            "drift", "strong", 3e-6, 2e-5, ("shift", -3.1, -3.9, -2.3),
            "sigma fell by 3.1 posterior sds when 4,000 rows were added to 4,000: look at what "
            "arrived in these rows.", parameter="sigma", fit="increment-05",
        ),
        _passed("surprise", 0.31, ("largest score", 2.1, 1.0, 3.2), fit="increment-02"),
        _passed("surprise", 0.52, ("largest score", 1.8, 1.0, 3.2), fit="increment-03"),
        _passed("surprise", 0.12, ("largest score", 2.8, 1.0, 3.2), fit="increment-04"),
        _finding(
            "surprise", "suspect", 0.008, 0.024, ("low tail", 4.6, 3.9, 5.3),
            "The new rows of increment-05 hold misses that the earlier posterior calls nearly "
            "impossible: give short putts another way to miss.", fit="increment-05",
        ),
        _finding("effort", "not run", None, None, None, "effort needs at least 3 fitted subsets"),
        *_cheap(5)[1:],
    ]  # fmt: skip
    return {
        "study": "golf", "version": "0.1.0", "verdict": "misfit", "misfit": True,
        "heterogeneous": True, "alpha": 0.05,
        "attribution": {"family": "heterogeneity", "axis": "source"}, "p_simulated": None,
        "rows": {"total": 1259184, "used": 24000, "first_seen": 1000}, "gradients": 812345,
        "seconds": 41.2, "findings": findings, "forecast": None,
    }  # fmt: skip


def _verdict_panel() -> dict:
    later = [f"increment-0{i}" for i in range(2, 6)]
    findings = [
        _passed("agreement", 0.38, ("dispersion", 1.04, 0.8, 1.4)),
        _passed("heterogeneity", 0.08, None, axis="region", parameter="slope"),
        *(_passed("drift", 0.6, ("shift", 0.4, -0.1, 0.9), fit=fit) for fit in later),
        *(_passed("surprise", 0.4, ("largest score", 2.0, 1.0, 3.4), fit=fit) for fit in later),
        *_cheap(5),
    ]
    return {
        "study": "panel", "version": "0.1.0", "verdict": "adequate", "misfit": False,
        "heterogeneous": False, "alpha": 0.05,
        "attribution": {"family": None, "axis": None}, "p_simulated": None,
        "rows": {"total": 64000, "used": 40000, "first_seen": None}, "gradients": 3812345,
        "seconds": 412.0, "findings": findings, "forecast": {
            "rows": 64000, "gradients": [14210.0, 17530.0, 26120.0],
            "seconds": [11.8, 14.6, 20.3], "price": [0.0082, 0.0101, 0.0141], "over_budget": False,
        },
    }  # fmt: skip


def _tables(fits: pd.DataFrame, parameter: str) -> dict[str, pd.DataFrame]:
    levels = fits[fits["kind"] == "level"]
    done = fits[fits["status"] == "done"]
    increments = done[done["kind"] == "increment"]
    steps = list(increments["fit"])
    drift = {"before": steps[:-1], "after": steps[1:], "parameter": parameter}
    return {
        "agreement": pd.DataFrame({"parameter": [parameter], "df": [7], "p": [0.21]}),
        "heterogeneity": levels[["axis", "level"]].assign(parameter=parameter, shift=1.5, p=2e-4),
        "drift": pd.DataFrame(drift).assign(shift=-0.4, shift_mcse=0.03, p=0.44),
        "surprise": _surprise(steps[1:]),
        "effort": _effort(done),
        "scaling": _scaling(increments),
        "adaptation": _adaptation(done),
        "history": _history(increments),
    }


STATISTICS = (
    "log score", "lowest log scores", "mean", "variance", "skewness", "kurtosis", "lag 1",
    "z ~ distance", "z^2 ~ distance", "z ~ time", "z by source", "z distance by source",
)  # fmt: skip


def _surprise(steps: list[str]) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    table = pd.DataFrame([(fit, name) for fit in steps for name in STATISTICS])
    table.columns = ["fit", "statistic"]
    studentised = rng.normal(size=len(table))
    values = {"observed": 0.1 * studentised - 0.5, "median": -0.5, "sd": 0.1}
    p = np.clip(np.exp(-np.abs(studentised)), 0.001, 1)
    return table.assign(**values, studentised=studentised, p=p, leading=False)


def _effort(done: pd.DataFrame) -> pd.DataFrame:
    part = done[done["kind"].isin(["subset", "level"])]
    leapfrogs = part["leapfrogs_per_iteration"]
    return part[["fit", "kind", "axis", "level"]].assign(
        leapfrogs=leapfrogs, log2_leapfrogs=np.log2(leapfrogs), log2_sd=0.1,
        step_size=part["step_size"], seconds_per_gradient=part["seconds_per_gradient"],
        ratio=leapfrogs / leapfrogs.median(), seconds_ratio=1.0, p=1.0,
    )  # fmt: skip


def _scaling(increments: pd.DataFrame) -> pd.DataFrame:
    leapfrogs = increments["leapfrogs_per_iteration"].to_numpy()
    predicted = np.full(len(leapfrogs), leapfrogs[0])
    predicted[:2] = np.nan
    ratio = leapfrogs / predicted
    return increments[["fit", "rows", "usable"]].assign(
        leapfrogs=leapfrogs, predicted=predicted, ratio=ratio, ratio_low=ratio / 1.4,
        ratio_high=ratio * 1.4, p=np.where(np.isnan(ratio), np.nan, 0.3),
        seconds_per_gradient=increments["seconds_per_gradient"],
        seconds_fitted=increments["seconds_per_gradient"], exponent=1.0,
    )  # fmt: skip


def _adaptation(done: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    windows = (("1", 75), ("2", 100), ("3", 150), ("4", 450), ("5", 500), ("sampling", 1000))
    rows = []
    for fit in done.to_dict("records"):
        for chain in range(4):
            luck = np.exp(0.12 * rng.normal())
            for i, (window, stop) in enumerate(windows):
                early = np.exp(-0.5 / (i + 1) * rng.random())
                rows.append({
                    "fit": fit["fit"], "kind": fit["kind"], "chain": chain, "window": window,
                    "stop": stop, "step_size": fit["step_size"] * luck * early,
                    "acceptance_rate": 0.8,
                    "leapfrogs": fit["leapfrogs_per_iteration"] / luck, "depth_saturated": 0.0,
                    "divergences": 0, "metric_change": 1.3, "metric_spread": 1.2,
                    "potential_gap": 0.1 if window == "sampling" else np.nan,
                    "rhat_potential": 1.002 if window == "sampling" else np.nan,
                })  # fmt: skip
    return pd.DataFrame(rows)


def _history(increments: pd.DataFrame) -> pd.DataFrame:
    """A warmup that finds its step size; one chain of increment-04 stalls where leapfrogs are many."""
    rng = np.random.default_rng(11)
    rows = []
    for fit in increments.to_dict("records"):
        for chain in range(4):
            stuck = fit["fit"] == "increment-04" and chain == 2 and fit["step_size"] < 0.5
            for start in range(0, 1000, 25):
                learning = 1 + 4 * np.exp(-start / 60) + (5.5 if stuck and start < 500 else 0)
                noise = np.exp(0.1 * rng.normal())
                rows.append({
                    "fit": fit["fit"], "kind": fit["kind"], "chain": chain, "start": start,
                    "stop": start + 25, "warmup": start < 500,
                    "leapfrogs": fit["leapfrogs_per_iteration"] * learning * noise,
                    "step_size": fit["step_size"] / learning * (noise if start < 500 else 1),
                    "stalled": stuck and 100 <= start + 25 <= 500,
                })  # fmt: skip
    return pd.DataFrame(rows)


def _units() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    p = np.sort(rng.random(60)) ** 1.3
    p[:2] = 1e-4, 4e-4
    predicted = 0.21 + 0.02 * rng.normal(size=60)
    return pd.DataFrame({
        "unit": [f"N{100 + 7 * i}AA" for i in range(60)], "rows": rng.integers(5, 546, size=60),
        "observed": predicted + 0.1 * (1 - p), "predicted": predicted, "low": predicted - 0.06,
        "high": predicted + 0.06, "p": p, "q": np.minimum(1, p * 60 / np.arange(1, 61)), "units": 4037,
    })  # fmt: skip


def _settings(study: str) -> dict:
    axes = {"golf": ["source", "distance_ft"], "panel": ["region"]}.get(study, ["carrier"])
    return {
        "study": study, "seed": 20260219, "results": "results",
        "data": {"file": f"config/studies/{study}/data.csv", "outcome": "y", "order": "year",
                 "unit": "plane" if study == "panel" else None, "axes": axes, "missing": "drop"},
        "model": {"file": f"config/studies/{study}/model.py", "function": "model", "arguments": {}},
        "subsets": {"count": 8, "size": 1000, "levels": 8},
        "increments": {"start": 500, "factor": 2, "end": None, "stop": "misfit", "warm": False},
        "sampler": {"engine": "numpyro", "chains": 4, "warmup": 500, "draws": 500, "reparam": {}},
        "budget": {"seconds": 30.0 if study == "panel" else None, "price_per_hour": 2.5},
        "verdict": {"alpha": 0.05, "simulate": 0},
    }  # fmt: skip
