"""What the fits of a study took: verdict.json says it, and is known by it as a verdict on these very fits."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from scalecheck.files.record import FitRecord


class TotalCost(NamedTuple):
    """Leapfrogs of all chains, warmup included, and seconds of all fits."""

    gradients: int
    seconds: float


def spent(recorded: Iterable[FitRecord], again: FitRecord | None) -> TotalCost:
    """Add up what fits took, and the cold fits and those of smaller steps that some were compared with.

    Parameters
    ----------
    recorded
        Records of all fits, in any order: seconds are added without rounding.
    again
        Of the second fit of a subset; None where there is none.
    """
    ran = [*recorded, *([again] if again else [])]
    compared = [again for one in ran for again in (one.audit, one.refit) if again]
    parts = [*ran, *compared]
    return TotalCost(
        sum(one.gradients.total for one in parts),
        math.fsum(seconds for one in parts for seconds in one.seconds.values()),
    )
