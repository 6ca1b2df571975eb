"""A lane: a chain in the middle of a trajectory, and one of its iterations as a row of numbers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from scalecheck.sampler.metric import Metric
from scalecheck.sampler.types import Count, Flag, Iterations, Number, Vector

ValueAndGrad = Callable[[Vector], tuple[Number, Vector]]


class Point(NamedTuple):
    """An end of a trajectory: position, momentum and gradient of the potential, `(d,)` each."""

    z: Vector
    r: Vector
    gradient: Vector


class TreeProposal(NamedTuple):
    """A state that the iteration may end in: position, gradient, potential, and total energy."""

    z: Vector
    gradient: Vector
    potential: Number
    energy: Number


class Tree(NamedTuple):
    """Some states of a trajectory: the one drawn among them, log of their weights' sum, sum of momenta."""

    candidate: TreeProposal
    log_weight: Number
    r_sum: Vector


class Checkpoints(NamedTuple):
    """Leaves of the subtree where smaller subtrees begin, in the form that checks need.

    Whether the momenta `r_i, ..., r_j` turned is asked of `velocity(r_i) . rho` and
    `velocity(r_j) . rho`, `rho` being their sum less half of both ends: the sum up to leaf j less half
    of `r_j`, and less the sum up to leaf i less half of `r_i`, which is `before` here.

    Attributes
    ----------
    velocity, before
        `(depth, d)`.
    along
        `(depth,)` their product.
    """

    velocity: Float[Array, "depth d"]
    before: Float[Array, "depth d"]
    along: Float[Array, " depth"]


class Lane(NamedTuple):
    """A chain.

    Attributes
    ----------
    key
        `(2,)` of the chain.
    iteration, leapfrogs
        Done so far.
    is_fresh
        Whether the next step begins an iteration.
    tree, subtree
        The trajectory, whose candidate is where the next iteration begins; the half that grows.
    front, back
        The end of the trajectory that moves, and the other.
    direction, coins
        +1 or -1 in time; a bit for each doubling.
    depth, leaf
        Doublings done; leaves of the subtree so far.
    energy
        At the beginning of the trajectory.
    accept, n_steps
        Sum of acceptance probabilities of its leaves, and their number.
    kept
        The checkpoints of the subtree.
    step_size, metric
        Of the integrator.
    """

    key: UInt32[Array, "2"]
    iteration: Count
    leapfrogs: Count
    is_fresh: Flag
    tree: Tree
    subtree: Tree
    front: Point
    back: Point
    direction: Number
    coins: UInt32[Array, ""]
    depth: Count
    leaf: Count
    energy: Number
    accept: Number
    n_steps: Count
    kept: Checkpoints
    step_size: Number
    metric: Metric


class Ended(NamedTuple):
    """How a step ended: whether the iteration is done, and whether by a divergence."""

    iteration: Flag
    diverging: Flag


def rest(
    key: UInt32[Array, "2"],
    z: Vector,
    potential: Number,
    gradient: Vector,
    metric: Metric,
    depth: int,
) -> Lane:
    """Place a lane at a start `(d,)` with its potential, a scalar, and gradient, about to begin its first iteration."""
    zero, none = jnp.zeros((), z.dtype), jnp.zeros_like(z)
    count = jnp.zeros((), jnp.int32)
    tree = Tree(TreeProposal(z, gradient, potential, potential), zero, none)
    point = Point(z, none, gradient)
    rows = jnp.zeros((depth, len(z)), z.dtype)
    kept = Checkpoints(rows, rows, rows[:, 0])
    one, coins = zero + 1, jnp.zeros((), jnp.uint32)
    return Lane(
        key,
        count,
        count,
        jnp.array(True),
        tree,
        tree,
        point,
        point,
        one,
        coins,
        count,
        count,
        zero,
        zero,
        count,
        kept,
        one,
        metric,
    )


NUMBERS = 6  # of an iteration, before its position


def see(lane: Lane, ended: Ended) -> Float[Array, " n"]:
    """Give the row `(n,)` of an iteration that a lane has just ended."""
    here = lane.tree.candidate
    rate = lane.accept / jnp.maximum(lane.n_steps, 1)
    numbers = (lane.n_steps, rate, here.energy, here.potential, ended.diverging, lane.step_size)
    return jnp.concatenate([jnp.stack([x.astype(here.z.dtype) for x in numbers]), here.z])


def write(
    buffer: Float[Array, "room n"], row: Float[Array, " n"], room: Count
) -> Float[Array, "room n"]:
    """Write the row `(n,)` of one lane to a place, a scalar, of its buffer `(room, n)`; nowhere if there is none."""
    return buffer.at[room].set(row, mode="drop")


def unpack(rows: Float[np.ndarray, "*lane n"]) -> Iterations:
    """Give rows `(..., n)` of a block the names that they have elsewhere."""
    n_steps, rate, energy, potential, diverging, size = np.moveaxis(rows[..., :NUMBERS], -1, 0)
    z = rows[..., NUMBERS:]
    return Iterations(
        z, n_steps.astype("int32"), rate, energy, potential, diverging.astype(bool), size
    )


def nothing(n_held: int, dtype: Any) -> Iterations:
    """Give no iterations of a lane of which so many coordinates are held, in their shapes: `(0, ...)`."""
    return unpack(np.zeros((0, NUMBERS + n_held), dtype))
