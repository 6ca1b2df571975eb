"""Write the verdict of a study from its checks and its fits."""

import importlib.metadata
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scalecheck import plan, records, store, verdict
from scalecheck.checks.finding import Effect, Finding
from scalecheck.records import StudyFolder
from scalecheck.verdict import Judged

_EFFECT = ("name", "value", "low", "high")
_TEXTS = ("axis", "level", "parameter", "fit")


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


def conclude(folder: StudyFolder, study: str, order: str, alpha: float) -> dict[str, Any]:
    """Judge all findings and write verdict.json.

    Parameters
    ----------
    study
        Its name.
    order
        `increments.order`, which says where an increment's rows lie.
    alpha
        Family-wise rate of false alarms.

    Returns
    -------
    dict
        The content of verdict.json.
    """
    fits = records.read_table(folder.table("fits"))
    judged = verdict.judge(findings_of(records.read_table(folder.table("findings"))), alpha)
    done = fits[fits.status == "done"]
    # No level is needed: the pooled fit of its axis is what is tested, levels are the picture.
    needed = done[done.kind != "level"]
    unusable = {
        fit: reason for fit, reason in zip(needed.fit, needed.reason, strict=True) if reason
    }
    name, why = verdict.decide(judged, unusable)
    attribution = verdict.attribute(judged)
    recorded = [records.read_json(folder.record(fit)) for fit in done.fit]
    later = [Judged(finding, None, "not run") for finding in verdict.later_findings()]
    content = {
        "study": study,
        "version": importlib.metadata.version("scalecheck"),
        "verdict": name,
        "misfit": attribution.misfit,
        "heterogeneous": attribution.heterogeneous,
        "alpha": alpha,
        "reason": why,
        "unusable": list(unusable),
        "rows": {
            "total": store.read_meta(folder.data).n_rows,
            "used": rows_used(folder, list(done.fit), order),
            "first_seen": _first_seen(judged, dict(zip(fits.fit, fits.rows, strict=True))),
        },
        "gradients": sum(sum(sum(part) for part in one["gradients"].values()) for one in recorded),
        "seconds": sum(sum(one["seconds"].values()) for one in recorded),
        "findings": [verdict.as_json(one) for one in [*judged, *later]],
        "forecast": None,
    }
    records.write_json(folder.verdict, content)
    return content


def rows_used(folder: StudyFolder, fits: list[str], order: str) -> int:
    """Count the distinct rows that any of these fits read."""
    table = records.read_plan(folder.plan)
    levels = {axis: part["rows"] for axis, part in store.read_meta(folder.data).axes.items()}
    seen = [
        store.read_rows(
            folder.data, plan.locate(table, fit, levels, order).slices, [store.OBSERVATION]
        )[store.OBSERVATION]
        for fit in fits
    ]
    return len(np.unique(np.concatenate(seen))) if seen else 0


def _first_seen(judged: list[Judged], rows: Mapping[str, int]) -> int | None:
    """Rows of the smallest increment that an increment's own check spoke at."""
    seen = [
        int(rows[one.finding.fit])
        for one in judged
        if one.seen and one.finding.family in ("drift", "surprise") and one.finding.fit
    ]
    return min(seen, default=None)
