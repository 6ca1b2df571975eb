"""Many chains of many same-shaped fits at once, in blocks."""

from scalecheck.sampler.block_program import Begin
from scalecheck.sampler.draws import Draws, Elapsed, Window
from scalecheck.sampler.early_stop import Discarded, Stopped
from scalecheck.sampler.footprint import footprint
from scalecheck.sampler.lane_engine import LaneOptions, Restart, sample_lanes
from scalecheck.sampler.no_parameters import without_parameters
from scalecheck.sampler.numpyro_engine import sample_numpyro
from scalecheck.sampler.progress import Progress, TimeLeft
from scalecheck.sampler.snapshot import Saved, Snapshot
from scalecheck.sampler.streamed_draws import Reduced, Streams
from scalecheck.sampler.types import Settings

__all__ = [
    "Begin",
    "Discarded",
    "Draws",
    "Elapsed",
    "Progress",
    "LaneOptions",
    "Reduced",
    "Restart",
    "Saved",
    "Settings",
    "Snapshot",
    "Stopped",
    "Streams",
    "TimeLeft",
    "Window",
    "footprint",
    "sample_numpyro",
    "sample_lanes",
    "without_parameters",
]
