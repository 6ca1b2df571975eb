"""How two runs of one study ended: the same bits, and the same verdict but for what a clock decides."""

import json
from pathlib import Path
from typing import Any

import xarray as xr

RESULTS = Path("results/clinics")


def differences(one: Path, other: Path) -> list[str]:
    """Name what differs between the results of two finished studies, but for what a clock decides."""
    found = []
    names = _fits(one)
    assert names
    if _fits(other) != names:
        return ["fits"]
    for name in names:
        with (
            xr.open_datatree(one / RESULTS / "fits" / name / "posterior.nc") as first,
            xr.open_datatree(other / RESULTS / "fits" / name / "posterior.nc") as second,
        ):
            if first.groups != second.groups:
                found.append(f"groups of {name}")
                continue
            found += [
                f"{name}{group}"
                for group in first.groups
                if not first[group].to_dataset().identical(second[group].to_dataset())
            ]
    if verdict(one) != verdict(other):
        found.append("verdict.json")
    return found


def _fits(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"{RESULTS}/fits/*/posterior.nc"))


def verdict(folder: Path) -> dict[str, Any]:
    """Read a verdict without its seconds, and the seconds and the price of its forecast."""
    content = json.loads((folder / RESULTS / "verdict.json").read_text())
    del content["seconds"]
    for timed in ("seconds", "price"):
        del content["forecast"][timed]
    return content
