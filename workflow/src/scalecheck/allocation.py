"""How long a batch queue is asked for: by what is known when a fit is submitted."""

import math
from pathlib import Path

from scalecheck import records

# Minutes. Of what nothing is known yet: rather too long than too short, for a finished fit is never repeated.
UNKNOWN = 240
# Queues start short jobs first, but none that takes less than this sooner.
LEAST = 30
# The longest that most partitions allow. A fit that needs more is saved at its end, and goes on at the next try.
MOST = 1440

# A fit whose posterior is not usable yet takes up to four times the draws, and trajectories may double.
MARGIN = 8


def minutes(before: Path | None, growth: float, attempt: int) -> int:
    """Minutes to ask for an increment.

    Parameters
    ----------
    before
        The record of the increment before it; None where there is none. It may not be there yet, or be damaged.
    growth
        Rows of the increment, as a multiple of those of the one before: a gradient takes so many times as long.
    attempt
        From 1: each further one asks for as much again.
    """
    taken = records.peek_json(before) if before is not None else None
    if taken is None:
        return min(MOST, attempt * UNKNOWN)
    seconds = sum(taken.get("seconds", {}).values())  # none of an increment that was skipped
    return min(MOST, attempt * max(LEAST, math.ceil(MARGIN * growth * seconds / 60)))
