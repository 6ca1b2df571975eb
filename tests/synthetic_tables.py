"""Tables of the checks of the synthetic studies, in the formats of `checks/<family>.csv`."""

import numpy as np
import pandas as pd


def of_checks(fits: pd.DataFrame, parameter: str) -> dict[str, pd.DataFrame]:
    levels = fits[fits["kind"] == "level"]
    done = fits[fits["status"] == "done"]
    increments = done[done["kind"] == "increment"]
    steps = list(increments["fit"])
    drift = {"before": steps[:-1], "after": steps[1:], "parameter": parameter}
    return {
        "agreement": pd.DataFrame({"parameter": [parameter], "df": [7], "p": [0.21]}),
        "heterogeneity": levels[["axis", "level"]].assign(parameter=parameter, shift=1.5, p=2e-4),
        "form": pd.DataFrame(
            {"term": ["income^2"], "parameter": parameter, "z": [1.9], "leading": True}
        ),
        "drift": pd.DataFrame(drift).assign(shift=-0.4, shift_mcse=0.03, p=0.44),
        "surprise": _surprise(steps[1:]),
        "effort": _effort(done),
        "scaling": _scaling(increments),
        "adaptation": _adaptation(done),
        "history": _history(increments),
    }


STATISTICS = (
    "log score",
    "lowest log scores",
    "mean",
    "variance",
    "skewness",
    "kurtosis",
    "lag 1",
    "z ~ distance",
    "z^2 ~ distance",
    "z ~ time",
    "z by source",
    "z distance by source",
)


def of_levels(
    levels: dict[str, list[str]], parameters: list[str], rows: int = 40, seed: int = 13
) -> pd.DataFrame:
    """`checks/heterogeneity.csv` of the levels of some axes, whose parameters are positive; the last level deviates."""
    rng = np.random.default_rng(seed)
    frames = []
    for axis, labels in levels.items():
        own = pd.DataFrame(
            [(axis, label, name) for label in labels for name in parameters],
            columns=["axis", "level", "parameter"],
        )
        sd = rng.uniform(0.1, 0.3, len(own))
        step = rng.normal(0, sd) + 1.5 * (own["level"] == labels[-1])
        ends = {"mean": 0.0, "low": -1.6, "high": 1.6}
        natural = {f"one_step_{name}": 0.02 * np.exp(step + z * sd) for name, z in ends.items()}
        known = {"rows": rows, "pooled_mean": np.log(0.02), "one_step": step, "one_step_sd": sd}
        frames.append(own.assign(**known, **natural))
    return pd.concat(frames, ignore_index=True)


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
        leapfrogs=leapfrogs,
        log2_leapfrogs=np.log2(leapfrogs),
        log2_sd=0.1,
        step_size=part["step_size"],
        seconds_per_gradient=part["seconds_per_gradient"],
        ratio=leapfrogs / leapfrogs.median(),
        seconds_ratio=1.0,
        p=1.0,
    )


def _scaling(increments: pd.DataFrame) -> pd.DataFrame:
    leapfrogs = increments["leapfrogs_per_iteration"].to_numpy()
    predicted = np.full(len(leapfrogs), leapfrogs[0])
    predicted[:2] = np.nan
    ratio = leapfrogs / predicted
    return increments[["fit", "rows", "usable"]].assign(
        leapfrogs=leapfrogs,
        predicted=predicted,
        ratio=ratio,
        ratio_low=ratio / 1.4,
        ratio_high=ratio * 1.4,
        p=np.where(np.isnan(ratio), np.nan, 0.3),
        seconds_per_gradient=increments["seconds_per_gradient"],
        seconds_fitted=increments["seconds_per_gradient"],
        exponent=1.0,
    )


def _adaptation(done: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    windows = (("1", 75), ("2", 100), ("3", 150), ("4", 450), ("5", 500), ("sampling", 1000))
    rows = []
    for fit in done.to_dict("records"):
        for chain in range(4):
            luck = np.exp(0.12 * rng.normal())
            for i, (window, stop) in enumerate(windows):
                early = np.exp(-0.5 / (i + 1) * rng.random())
                rows.append(
                    {
                        "fit": fit["fit"],
                        "kind": fit["kind"],
                        "chain": chain,
                        "window": window,
                        "stop": stop,
                        "step_size": fit["step_size"] * luck * early,
                        "acceptance_rate": 0.8,
                        "leapfrogs": fit["leapfrogs_per_iteration"] / luck,
                        "depth_saturated": 0.0,
                        "divergences": 0,
                        "metric_change": 1.3,
                        "metric_spread": 1.2,
                        "potential_gap": 0.1 if window == "sampling" else np.nan,
                        "rhat_potential": 1.002 if window == "sampling" else np.nan,
                    }
                )
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
                rows.append(
                    {
                        "fit": fit["fit"],
                        "kind": fit["kind"],
                        "chain": chain,
                        "start": start,
                        "stop": start + 25,
                        "warmup": start < 500,
                        "leapfrogs": fit["leapfrogs_per_iteration"] * learning * noise,
                        "step_size": fit["step_size"] / learning * (noise if start < 500 else 1),
                        "stalled": stuck and 100 <= start + 25 <= 500,
                    }
                )
    return pd.DataFrame(rows)


def of_units() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    p = np.sort(rng.random(60)) ** 1.3
    p[:2] = 1e-4, 4e-4
    predicted = 0.21 + 0.02 * rng.normal(size=60)
    return pd.DataFrame(
        {
            "unit": [f"N{100 + 7 * i}AA" for i in range(60)],
            "rows": rng.integers(5, 546, size=60),
            "observed": predicted + 0.1 * (1 - p),
            "predicted": predicted,
            "low": predicted - 0.06,
            "high": predicted + 0.06,
            "p": p,
            "q": np.minimum(1, p * 60 / np.arange(1, 61)),
            "units": 4037,
        }
    )
