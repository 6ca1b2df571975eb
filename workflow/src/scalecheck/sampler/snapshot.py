"""A run of lanes between two blocks, as arrays that can be kept."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

NDArray = np.ndarray


class Snapshot(NamedTuple):
    """A run between two blocks.

    Attributes
    ----------
    state
        All that it goes on from, but for its history.
    news
        Its history since the last snapshot.
    """

    state: dict[str, NDArray]
    news: dict[str, NDArray]


class Saved(NamedTuple):
    """A run to be resumed: the state of its last snapshot, and the news of all."""

    state: Mapping[str, NDArray]
    news: Sequence[Mapping[str, NDArray]]
