"""False alarms, power and rows needed, from the lines of the benchmark.

Power is compared at equal false alarms: a method rejects where its p is below the largest bound at
which at most 5 % of its nulls of the same n are. For a method that is liberal this bound is below
.05, for one that is conservative above.
"""

from typing import Any

import numpy as np
import pandas as pd
from benchmark_models import NULL
from cases import N_SUBSETS
from defect_kinds import KINDS
from scipy.optimize import isotonic_regression
from summary import Rate, rate

ALPHA, POWER = 0.05, 0.9
ORACLE, OURS = "oracle", "verdict"
# Nulls below which a bound is no estimate.
ENOUGH = 40


def answered(lines: pd.DataFrame) -> pd.DataFrame:
    """Give the lines that have a p-value."""
    return lines.dropna(subset=["p"])


def bounds(lines: pd.DataFrame) -> dict[tuple[str, int], float]:
    """Give the bound of equal false alarms by method and n: .05 where there are fewer than 40 nulls."""
    nulls = answered(lines[lines["defect"] == NULL])
    groups = nulls.groupby(["method", "n"])["p"]
    found = {key: _bound(np.sort(p.to_numpy(float))) for key, p in groups}
    pairs = lines[["method", "n"]].drop_duplicates().itertuples(index=False, name=None)
    return {pair: found.get(pair, ALPHA) for pair in pairs}


def _bound(p: np.ndarray) -> float:
    """Give the largest bound below which at most 5 % of sorted p-values lie."""
    return float(p[int(ALPHA * len(p))]) if len(p) >= ENOUGH else ALPHA


def rejected(lines: pd.DataFrame, equal: dict[tuple[str, int], float]) -> pd.Series:
    """Tell which lines reject at equal false alarms."""
    bound = [equal[key] for key in zip(lines["method"], lines["n"], strict=True)]
    return lines["p"].astype(float) < np.array(bound)


def false_alarms(lines: pd.DataFrame) -> dict[tuple[str, int], Rate]:
    """Give the share of nulls with p below .05, by method and n."""
    nulls = answered(lines[lines["defect"] == NULL])
    groups = nulls.groupby(["method", "n"])
    return {key: rate(part["p"].astype(float) < ALPHA) for key, part in groups}


def summarise(lines: pd.DataFrame) -> pd.DataFrame:
    """Give a row per model, defect, strength, n and method: shares from 0 to 1."""
    equal = bounds(lines)
    seen = answered(lines)
    seen = seen.assign(
        rejected=rejected(seen, equal), nominal=seen["p"].astype(float) < ALPHA, **_right(seen)
    )
    key = ["model", "defect", "strength", "n", "method"]
    rows = [_row(dict(zip(key, name, strict=True)), part) for name, part in seen.groupby(key)]
    return pd.DataFrame(rows, columns=[*key, *_VALUES])


_VALUES = (
    "data_sets",
    "rejected",
    "nominal",
    "kind_right",
    "axis_right",
    "gradients",
    "row_gradients",
    "cpu_seconds",
)


def _right(lines: pd.DataFrame) -> dict[str, list[bool]]:
    """Tell which lines name the kind of the defect, and an axis that names it."""
    pairs = list(zip(lines["defect"], lines["kind"], lines["axis"], strict=True))
    return {
        "kind_right": [d != NULL and KINDS[d].kind == kind for d, kind, _ in pairs],
        "axis_right": [d != NULL and axis in KINDS[d].axes for d, _, axis in pairs],
    }


def _row(key: dict[str, Any], lines: pd.DataFrame) -> dict[str, Any]:
    found = lines[lines["nominal"]]
    return key | {
        "data_sets": len(lines),
        "rejected": lines["rejected"].mean(),
        "nominal": lines["nominal"].mean(),
        "kind_right": found["kind_right"].mean(),
        "axis_right": found["axis_right"].mean(),
        "gradients": lines["gradients"].mean(),
        "row_gradients": lines["row_gradients"].mean(),
        "cpu_seconds": lines["cpu_seconds"].mean(),
    }


def rows_needed(rows: pd.DataFrame) -> float:
    """Give the rows of a table with which the power is 90 %, of one method and defect by n.

    Power is made to rise with n (isotonic regression) and interpolated in the logarithm of the rows. Infinite
    where it is not reached; the smallest size where it is reached there already.
    """
    rows = rows.sort_values("n")
    weights = rows["data_sets"].to_numpy(float)
    power = isotonic_regression(rows["rejected"].to_numpy(float), weights=weights).x
    log_rows = np.log(N_SUBSETS * rows["n"].to_numpy(float))
    if power[-1] < POWER:
        return float("inf")
    first = int(np.argmax(power >= POWER))
    if first == 0:
        return float(np.exp(log_rows[0]))
    share = (POWER - power[first - 1]) / (power[first] - power[first - 1])
    return float(np.exp(log_rows[first - 1] + share * (log_rows[first] - log_rows[first - 1])))


def ratios(summary: pd.DataFrame) -> pd.DataFrame:
    """Give the rows that a method needs over those of the oracle: a row per model, defect, strength and method.

    Of those only that the oracle finds within the sizes that were run, and of methods that ran on several.
    """
    key = ["model", "defect", "strength"]
    defects = summary[
        (summary["defect"] != NULL) & (summary.groupby(key)["n"].transform("nunique") > 1)
    ]
    found = []
    for name, part in defects.groupby(key):
        sizes = part.groupby("method")["n"].transform("nunique")
        needed = {name: rows_needed(own) for name, own in part[sizes > 1].groupby("method")}
        oracle = needed.get(ORACLE, float("inf"))
        if np.isfinite(oracle):
            base = dict(zip(key, name, strict=True))
            found += [base | {"method": m, "ratio": rows / oracle} for m, rows in needed.items()]
    return pd.DataFrame(found, columns=[*key, "method", "ratio"])


# What a model, a defect, a strength and a size are: one cell of the table.
_CELL = ["model", "defect", "strength", "n"]


def average_power(summary: pd.DataFrame) -> pd.DataFrame:
    """Give the power at equal false alarms by defect and method: the mean over models, strengths and n.

    Over those that both the oracle and the verdict ran on; a method that ran on fewer has its mean over fewer. Column
    `data_sets` counts those of the verdict.
    """
    wide = _cells(summary)
    found = wide.groupby("defect").mean()
    ours = summary[summary["method"] == OURS].set_index(_CELL)["data_sets"]
    found["data_sets"] = ours.reindex(wide.index).groupby("defect").sum()
    return found


def ahead(summary: pd.DataFrame) -> dict[str, bool]:
    """Tell for each defect whether the verdict has more power than every peer, over the cells that both ran on."""
    wide = _cells(summary)
    if OURS not in wide.columns:
        return {}
    found: dict[str, bool] = {}
    for defect, part in wide.groupby("defect"):
        peers = [n for n in wide.columns if n not in (ORACLE, OURS) and part[n].notna().any()]
        if peers:
            found[str(defect)] = all(_is_ahead(part[OURS], part[peer]) for peer in peers)
    return found


def _cells(summary: pd.DataFrame) -> pd.DataFrame:
    """Give the power by cell and method."""
    defects = summary[summary["defect"] != NULL]
    wide = defects.pivot_table(index=_CELL, columns="method", values="rejected")
    return wide.dropna(subset=[name for name in (ORACLE, OURS) if name in wide.columns])


def _is_ahead(ours: pd.Series, peer: pd.Series) -> bool:
    both = peer.notna()
    return bool(ours[both].mean() > peer[both].mean())
