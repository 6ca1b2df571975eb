"""Many chains of many same-shaped fits at once, in blocks."""

from scalecheck.sampler.blocks import Begin
from scalecheck.sampler.constant import without_parameters
from scalecheck.sampler.draws import Discarded, Draws, Elapsed, Window
from scalecheck.sampler.drive import sample_lanes
from scalecheck.sampler.lane_run import Anew
from scalecheck.sampler.nuts import Settings
from scalecheck.sampler.planning import footprint
from scalecheck.sampler.progress import Progress, TimeLeft
from scalecheck.sampler.run import sample
from scalecheck.sampler.snapshot import Saved, Snapshot
from scalecheck.sampler.stopped import Stopped, stall_windows
from scalecheck.sampler.streams import Reduced, Streams

__all__ = [
    "Anew",
    "Begin",
    "Discarded",
    "Draws",
    "Elapsed",
    "Progress",
    "Reduced",
    "Saved",
    "Settings",
    "Snapshot",
    "Stopped",
    "Streams",
    "TimeLeft",
    "Window",
    "footprint",
    "sample",
    "sample_lanes",
    "stall_windows",
    "without_parameters",
]
