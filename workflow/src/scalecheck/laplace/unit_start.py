"""What is known of units before a theta is asked for: their modes, the shapes of their densities, and second modes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from scalecheck.laplace.unit_modes import Matrices, UnitNormal, Vectors


class SecondModes(NamedTuple):
    """Where units have a second mode, by the theta at which shapes were measured.

    Attributes
    ----------
    u
        `(unit, k)`.
    root
        `(unit, k, k)` as of `UnitModes`.
    found
        `(unit,)` which units have one.
    """

    u: Vectors
    root: Matrices
    found: Bool[Array, " unit"]


class UnitStart(NamedTuple):
    """What is known of a block's units before a theta: where modes are looked for, and what draws come from.

    Attributes
    ----------
    u
        `(unit, k)` modes at the theta before; of units with a second mode those at which shapes were measured.
    shape
        Mean and covariance of their densities around the mode, in coordinates in which the normal there is standard.
        These move with the mode.
    second
        Second modes, which stay where they were found.
    """

    u: Vectors
    shape: UnitNormal
    second: SecondModes

    def moved(self, u: Vectors) -> "UnitStart":
        """Look for modes from `u` `(unit, k)` next.

        Not of units with a second mode: their first might become the second, and never come back.
        """
        return self._replace(u=jnp.where(self.second.found[:, None], self.u, u))


def first_start(u: Vectors) -> UnitStart:
    """Give a start at `u` `(unit, k)`: of normal densities with one mode, before any more is known."""
    zeros, none = jnp.zeros_like(u), jnp.zeros(len(u), bool)
    eye = jnp.broadcast_to(jnp.eye(u.shape[1], dtype=u.dtype), (*u.shape, u.shape[1]))
    return UnitStart(u, UnitNormal(zeros, eye), SecondModes(u, eye, none))


# Parts of a start, by the names under which they are saved.
_NAMES = ("modes", "means", "roots", "second_places", "second_roots", "has_second")


def stack_parts(starts: Sequence[UnitStart]) -> dict[str, np.ndarray]:
    """Stack the starts of some blocks: their arrays by name, `(block, ...)`."""
    stacked = jax.tree.map(lambda *each: np.stack([np.asarray(one) for one in each]), *starts)
    return dict(zip(_NAMES, jax.tree.leaves(stacked), strict=True))


def start_of(parts: Mapping[str, Any]) -> UnitStart:
    """Put the parts of a start together, with a leading `block` or without; other names are left alone."""
    u, mean, root, *second = (parts[name] for name in _NAMES)
    return UnitStart(u, UnitNormal(mean, root), SecondModes(*second))
