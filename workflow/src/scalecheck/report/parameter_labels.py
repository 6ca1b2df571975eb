"""How fits, levels and places are called on the page."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scalecheck.report.number_format import count, is_missing, text

KINDS = ("subset", "level", "increment")
KIND_NAMES = {
    "subset": "Random subsets",
    "level": "Levels",
    "increment": "Increments, in order",
}


def shorten(label: Any, most: int) -> str:
    """Put a label on one line of at most so many characters.

    What is left out is in the middle: indices and numbers at the end tell labels apart.
    """
    line = " ".join(text(label).split())
    if len(line) <= most:
        return line
    tail = max(1, (most - 1) // 3)
    return f"{line[: most - 1 - tail].rstrip()}…{line[-tail:].lstrip()}"


def fit_label(fit: Mapping[str, Any]) -> str:
    """Name a fit inside its group: `subset 1`, a level, `500 rows`."""
    if fit["kind"] == "level":
        return text(fit["level"])
    if fit["kind"] == "increment":
        return f"{count(fit['rows'])} rows"
    return _spelled(fit["fit"])


def full_label(fit: Mapping[str, Any]) -> str:
    """Name a fit wherever it stands: `source: broadie2018`, `increment 4 (4,000 rows)`."""
    if fit["kind"] == "level":
        return f"{text(fit['axis'])}: {text(fit['level'])}"
    if fit["kind"] == "increment":
        return f"{_spelled(fit['fit'])} ({count(fit['rows'])} rows)"
    return _spelled(fit["fit"])


def grouped(fits: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Group fits by kind, and levels by axis: the kind, the heading and the fits of each group."""
    headings = [
        f"Levels of {text(fit['axis'])}" if fit["kind"] == "level" else KIND_NAMES[fit["kind"]]
        for fit in fits.to_dict("records")
    ]
    headed = fits.assign(heading=headings)
    return [
        (kind, str(heading), group)
        for kind in KINDS
        for heading, group in headed[headed["kind"] == kind].groupby("heading", sort=False)
    ]


def place(where: Mapping[str, Any], fits: pd.DataFrame) -> str:
    """Say where a finding lies; empty when it concerns everything."""
    parts = []
    axis, level = where["axis"], where["level"]
    if axis:
        parts.append(f"{axis}: {level}" if level else f"along {axis}")
    if where["parameter"]:
        parts.append(f"parameter {where['parameter']}")
    known = fits[fits["fit"] == where["fit"]].to_dict("records")
    # The fit of a level says no more than the axis does.
    if known and (not parts or is_missing(known[0]["axis"])):
        parts.append(full_label(known[0]))
    elif not known and where["fit"]:
        parts.append(where["fit"])
    return ", ".join(parts)


def listed(names: list[str], most: int = 3) -> str:
    """Join names as prose: `a, b and c`."""
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _spelled(fit: Any) -> str:
    stem, _, index = str(fit).rpartition("-")
    return f"{stem} {int(index)}" if stem and index.isdigit() else str(fit)
