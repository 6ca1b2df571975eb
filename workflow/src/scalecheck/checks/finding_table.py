"""Findings as the table checks/findings.csv, and back."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from scalecheck.checks.finding import Effect, Finding

_EFFECT = ("name", "value", "low", "high")
_TEXTS = ("axis", "level", "parameter", "fit")

# What tells the questions of a family apart. The fit that effort accuses and the axis that surprise leads with
# are answers; the axis of heterogeneity is asked, in whichever increment is the largest.
_ASKED_OF_FITS = ("drift", "surprise", "scaling", "adaptation")
# The smallest adjusted p of a study is that of no family.
WHOLE_STUDY = ("", "", "")


def findings_table(findings: list[Finding]) -> pd.DataFrame:
    """Lay findings out as a table, one row each: what checks/findings.csv holds."""
    return pd.DataFrame(
        [
            {
                **{name: getattr(finding, name) for name in ("family", "p", "weight", "large")},
                **{f"effect_{name}": getattr(finding.effect, name, None) for name in _EFFECT},
                **{name: getattr(finding, name) or "" for name in _TEXTS},
                "kind": finding.kind,
                "beside": finding.beside,
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
        beside=row.get("beside", ""),
        fits=tuple(row["fits"].split()),
        message=row["message"],
    )


def identity(finding: Finding) -> tuple[str, str, str]:
    """Give family, axis and fit where they are what was asked: the same in every study of one plan."""
    axis = finding.axis or "" if finding.family == "heterogeneity" else ""
    return finding.family, axis, (finding.fit or "") if finding.family in _ASKED_OF_FITS else ""
