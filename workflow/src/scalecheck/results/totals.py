"""What the fits of a study took: verdict.json says it, and is known by it as a verdict on these very fits."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Spent(NamedTuple):
    """Leapfrogs of all chains, warmup included, and seconds of all fits."""

    gradients: int
    seconds: float


def spent(recorded: Iterable[Mapping[str, Any]], again: Mapping[str, Any] | None) -> Spent:
    """Add up what fits took, and the cold fits that some were compared with.

    Parameters
    ----------
    recorded
        Records of all fits, in any order: seconds are added without rounding. Those that were skipped took
        nothing.
    again
        The confirmation: a second fit of a subset, or why there is none; None where none was asked for.
    """
    ran = [one for one in recorded if one["status"] != "skipped"]
    audits = [one["audit"] for one in ran if one.get("audit")]
    parts = [*ran, *audits, *([again] if again and again["fit"] is not None else [])]
    return Spent(
        sum(sum(map(sum, one["gradients"].values())) for one in parts),
        math.fsum(seconds for one in parts for seconds in one["seconds"].values()),
    )
