"""How fast a chain has been, and how far off what comes may be."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from scalecheck.sampler.types import ByLane

# Weight of what was before, at every block: the pace is that of the last twenty, more or less.
FORGET = 0.95
# Standard deviation of the log of a block's leapfrogs per iteration, before any is seen; it counts as one block.
SPREAD_BEFORE = math.log(2.0)


class Pace(NamedTuple):
    """Weighted sums over recent blocks since the metric was renewed, or over one; any one shape, such as `(chain,)`.

    Attributes
    ----------
    blocks
        In which an iteration ended.
    iterations, leapfrogs, seconds
        Of all recent blocks.
    logs, squares
        Of the leapfrogs per iteration of a block: their logarithm, and its square.
    """

    blocks: Shaped[np.ndarray, "*lane"]
    iterations: Shaped[np.ndarray, "*lane"]
    leapfrogs: Shaped[np.ndarray, "*lane"]
    seconds: Shaped[np.ndarray, "*lane"]
    logs: Shaped[np.ndarray, "*lane"]
    squares: Shaped[np.ndarray, "*lane"]


def one_block(ended: ByLane, leapfrogs: ByLane, seconds: float) -> Pace:
    """Sums of one block.

    Parameters
    ----------
    ended, leapfrogs
        `(fit, chain)` iterations that ended, and their leapfrogs.
    seconds
        That it took.
    """
    logs = np.log(np.where(ended > 0, np.maximum(leapfrogs, 1) / np.maximum(ended, 1), 1.0))
    return Pace(
        (ended > 0).astype(float), ended, leapfrogs, np.full(ended.shape, seconds), logs, logs**2
    )


def error_of_pace(
    pace: Pace, to_come: Int[np.ndarray, "*lane"], adapts: Bool[np.ndarray, "*lane"]
) -> Float[np.ndarray, "*lane"]:
    """Standard error of the log of the leapfrogs per iteration to come.

    With s the standard deviation of that logarithm between n recent blocks, and m blocks to come: in
    sampling blocks are alike, and the mean of those to come differs from the mean of those seen by
    s sqrt(1/n + 1/m). In warmup they are not; what comes may then differ as one block from another,
    by s sqrt(1/n + 1).

    Parameters
    ----------
    pace
        `(chain,)` sums of recent blocks.
    to_come
        `(chain,)` iterations.
    adapts
        `(chain,)` whether the chain is in warmup.

    Returns
    -------
    ndarray
        `(chain,)`.
    """
    n = np.maximum(pace.blocks, 1)
    around_mean = np.maximum(pace.squares - pace.logs**2 / n, 0)
    spread = np.sqrt((SPREAD_BEFORE**2 + around_mean) / n)
    blocks_to_come = np.maximum(to_come * n / np.maximum(pace.iterations, 1), 1)
    return spread * np.sqrt(1 / n + np.where(adapts, 1, 1 / blocks_to_come))
