"""Many chains of many same-shaped fits at once, in blocks."""

from scalecheck.sampler.draws import Draws, Elapsed
from scalecheck.sampler.early_stop import Stopped
from scalecheck.sampler.evaluate import evaluator, is_finite
from scalecheck.sampler.footprint import footprint
from scalecheck.sampler.lane_engine import Restart, sample_lanes
from scalecheck.sampler.no_parameters import without_parameters
from scalecheck.sampler.numpyro_engine import sample_numpyro
from scalecheck.sampler.place_lanes import InitialAdaptation
from scalecheck.sampler.progress import Progress, TimeLeft
from scalecheck.sampler.snapshot import SavedRun, Snapshot
from scalecheck.sampler.streamed_draws import BlockStream, Reduced, Streams
from scalecheck.sampler.types import Settings

__all__ = [
    "BlockStream",
    "InitialAdaptation",
    "Draws",
    "Elapsed",
    "Progress",
    "Reduced",
    "Restart",
    "SavedRun",
    "Settings",
    "Snapshot",
    "Stopped",
    "Streams",
    "TimeLeft",
    "evaluator",
    "is_finite",
    "footprint",
    "sample_numpyro",
    "sample_lanes",
    "without_parameters",
]
