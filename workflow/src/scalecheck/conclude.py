"""Write the verdict of a study from its checks and its fits."""

import importlib.metadata
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scalecheck import budget, confirm, plan, records, seals, store, verdict
from scalecheck.checks.finding import Effect, Finding
from scalecheck.program import Log
from scalecheck.spending import spent
from scalecheck.study import BudgetSettings, VerdictSettings, may_approximate
from scalecheck.study_folder import StudyFolder
from scalecheck.verdict import Judged

_EFFECT = ("name", "value", "low", "high")
_TEXTS = ("axis", "level", "parameter", "fit")
_OF_INCREMENTS = ("drift", "surprise", "scaling", "adaptation")

# What tells the questions of a family apart. The fit that effort accuses and the axis that surprise leads with
# are answers; the axis of heterogeneity is asked, over time in whichever increment is the largest.
_ASKED = {
    "heterogeneity": "axis",
    "drift": "fit",
    "surprise": "fit",
    "scaling": "fit",
    "adaptation": "fit",
}
# The smallest adjusted p of a study is that of no family.
WHOLE_STUDY = ("", "", "")


def findings_table(findings: list[Finding]) -> pd.DataFrame:
    """Lay findings out as a table, one row each: what checks/findings.csv holds."""
    return pd.DataFrame(
        [
            {
                "family": finding.family,
                "p": finding.p,
                "weight": finding.weight,
                "large": finding.large,
                **{f"effect_{name}": getattr(finding.effect, name, None) for name in _EFFECT},
                **{name: getattr(finding, name) or "" for name in _TEXTS},
                "kind": finding.kind,
                "fits": " ".join(finding.fits),
                "message": finding.message,
            }
            for finding in findings
        ]
    )


def findings_of(table: pd.DataFrame) -> list[Finding]:
    """Read findings back from their table."""
    return [_finding(row) for row in table.to_dict("records")]


def _finding(row: Mapping[str, Any]) -> Finding:
    effect = None
    if isinstance(row["effect_name"], str) and row["effect_name"]:
        effect = Effect(row["effect_name"], *(float(row[f"effect_{name}"]) for name in _EFFECT[1:]))
    return Finding(
        family=row["family"],
        p=None if math.isnan(row["p"]) else float(row["p"]),
        weight=float(row["weight"]),
        large=bool(row["large"]),
        effect=effect,
        **{name: row[name] or None for name in _TEXTS},
        kind=row["kind"],
        fits=tuple(row["fits"].split()),
        message=row["message"],
    )


def conclude(
    folder: StudyFolder,
    study: str,
    order: str,
    settings: VerdictSettings,
    limits: BudgetSettings,
    approximation: str,
    log: Log,
) -> dict[str, Any]:
    """Judge all findings and write verdict.json.

    Parameters
    ----------
    study
        Its name.
    order
        `increments.order`, which says where an increment's rows lie.
    settings
        The section `verdict`.
    limits
        The section `budget`.
    approximation
        `approximation`: whether there may be one of all rows.
    log
        Takes a line for the forecast.

    Returns
    -------
    dict
        The content of verdict.json.
    """
    fits = records.read_table(folder.table("fits"))
    findings = findings_of(records.read_table(folder.table("findings")))
    judged = verdict.judge(verdict.complete(findings), settings.alpha)
    attribution = verdict.attribute(judged)
    ran, done = fits[fits.status != "skipped"], fits[fits.status == "done"]
    recorded = [seals.read_record(folder, fit) for fit in ran.fit]
    took = spent(recorded, confirm.read_record(folder))
    # No level is needed: the pooled fit of its axis is what is tested, levels are the picture.
    needed = list(ran.fit[ran.kind != "level"])
    unusable = {fit: reason for fit, reason in zip(ran.fit, ran.reason, strict=True) if reason}
    has_parameters = any(record["parameters"] for record in recorded)
    name, why = verdict.decide(judged, unusable, needed=needed, has_parameters=has_parameters)
    simulated = _simulated(folder) if settings.simulate else {}
    n_rows = store.read_meta(folder.data).n_rows
    increments = [record for record in recorded if record["kind"] == "increment"]
    full = budget.fit_of(increments, n_rows, limits)
    log(budget.in_words(full, limits))
    content = {
        "study": study,
        "version": importlib.metadata.version("scalecheck"),
        "verdict": name,
        "misfit": attribution.misfit,
        "heterogeneous": attribution.heterogeneous,
        "attribution": {"family": attribution.family, "axis": attribution.axis},
        "alpha": settings.alpha,
        "reason": why,
        "unusable": [fit for fit in unusable if fit in needed],
        "rows": {
            "total": n_rows,
            "used": rows_used(folder, list(done.fit), order),
            "first_seen": _first_seen(judged, fits[fits.kind == "increment"]),
        },
        "gradients": took.gradients,
        "seconds": took.seconds,
        "p_simulated": simulated.get(WHOLE_STUDY),
        "findings": [verdict.as_json(one, simulated.get(identity(one.finding))) for one in judged],
        "forecast": budget.as_json(full, limits),
        "approximation": _approximation(folder) if may_approximate(approximation, limits) else None,
    }
    records.write_json(folder.verdict, content)
    return content


def _approximation(folder: StudyFolder) -> dict[str, Any] | None:
    """Say what is to be known of an approximation of all rows; None where there is none."""
    found = records.read_json(folder.approximation)
    if not found["asked"]:
        return None
    last = found["increments"][-1] if found["increments"] else None
    names = ("verdict", "reasons", "guide", "rows", "converged", "steps", "seconds")
    return {**{name: found[name] for name in names}, "khat": last and last["khat"]}


def _simulated(folder: StudyFolder) -> dict[tuple[str, ...], float]:
    """Ranks among simulated studies by family, axis and fit."""
    table = records.read_table(folder.table("simulated"))
    return {
        tuple(row[name] or "" for name in ("family", "axis", "fit")): float(row["p_simulated"])
        for row in table.to_dict("records")
        if not math.isnan(row["p_simulated"])
    }


def identity(finding: Finding) -> tuple[str, str, str]:
    """Give family, axis and fit where they are what was asked: the same in every study of one plan."""
    asked = _ASKED.get(finding.family)
    axis = finding.axis if asked == "axis" else None
    fit = finding.fit if asked == "fit" else None
    pooled = "axis-" if asked == "axis" and (finding.fit or "").startswith("axis-") else ""
    return finding.family, axis or "", fit or pooled


def rows_used(folder: StudyFolder, fits: list[str], order: str) -> int:
    """Count the distinct rows that any of these fits read."""
    table = records.read_plan(folder.plan)
    levels = {axis: part["rows"] for axis, part in store.read_meta(folder.data).axes.items()}
    seen = [
        store.read_rows(folder.data, task.slices, [store.OBSERVATION])[store.OBSERVATION]
        for task in plan.locate(table, fits, levels, order)
    ]
    return len(np.unique(np.concatenate(seen))) if seen else 0


def _first_seen(judged: list[Judged], increments: pd.DataFrame) -> int | None:
    """Rows of the smallest increment that an increment's own check spoke at."""
    rows = dict(zip(increments.fit, increments.rows, strict=True))
    seen = [
        int(rows[one.finding.fit])
        for one in judged
        if one.seen and one.finding.family in _OF_INCREMENTS and one.finding.fit in rows
    ]
    return min(seen, default=None)
