"""A run between two blocks, as named arrays that a file can hold."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


class Snapshot(NamedTuple):
    """A run between two blocks.

    Attributes
    ----------
    state
        All that it goes on from, but for its iterations.
    news
        Its iterations since the last snapshot.
    """

    state: dict[str, np.ndarray]
    news: dict[str, np.ndarray]


class SavedRun(NamedTuple):
    """A run to be resumed: the state of its last snapshot, and the news of all."""

    state: Mapping[str, np.ndarray]
    news: Sequence[Mapping[str, np.ndarray]]


def to_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Name the leaves of a tree by their paths, such as `progress:totals`; each keeps its shape."""
    return {_name(path): np.asarray(x) for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def from_arrays[Tree](arrays: Mapping[str, np.ndarray], like: Tree) -> Tree:
    """Read what `to_arrays` gave of a tree with the structure of `like`, among others.

    The arrays have the shapes that they had; where `like` has a number or a text, so has the tree.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    found = [(arrays[_name(path)], leaf) for path, leaf in leaves]
    return structure.unflatten(
        [x.item() if isinstance(leaf, int | float | str) else x for x, leaf in found]
    )


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=":")
