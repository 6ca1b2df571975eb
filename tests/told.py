"""How a fit might run, for tests of what is made of it."""

from typing import Any

import numpy as np

from scalecheck.sampler import Progress, TimeLeft

N_CHAINS = 4


def told(**changes: Any) -> Progress:
    """Tell of a fit of four chains that is in the middle of its warmup."""
    chains = np.ones(N_CHAINS)
    plain: dict[str, Any] = {
        "fit": 0,
        "phase": "warmup",
        "iterations": np.full(N_CHAINS, 100),
        "total": 600,
        "step_size": 0.12345678 * chains,
        "leapfrogs": 7 * chains,
        "acceptance_rate": 0.8 * chains,
        "divergences": np.zeros(N_CHAINS, int),
        "depth_saturated": 0 * chains,
        "metric_change": np.nan * chains,
        "gradients": np.full(N_CHAINS, 700),
        "gradients_projected": 4200 * chains,
        "stalled": np.zeros(N_CHAINS, bool),
        "seconds_left": TimeLeft(30.0, 61.2, 150.0),
    }
    return Progress(**plain | changes)
