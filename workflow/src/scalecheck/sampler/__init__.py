"""Many chains of many same-shaped fits at once, in blocks."""

from scalecheck.sampler.constant import without_parameters
from scalecheck.sampler.drive import Saved, Snapshot, sample_lanes
from scalecheck.sampler.nuts import Settings
from scalecheck.sampler.run import Draws, Elapsed, Progress, Window, sample

__all__ = [
    "Draws",
    "Elapsed",
    "Progress",
    "Saved",
    "Settings",
    "Snapshot",
    "Window",
    "sample",
    "sample_lanes",
    "without_parameters",
]
