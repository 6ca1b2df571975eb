"""NUTS as a state machine: every step of the loop, every lane makes one leapfrog.

A lane is a chain of a fit. Under `vmap` alone, a transition would wait for the longest trajectory of
all chains; here a chain whose trajectory ends begins the next one while others still extend theirs.

::

          .-------------------------------------------------------.
          v                                                       |
        begin --> leapfrog --> grow --> join --> end --> adapt ---'
                     ^          |        |     iteration is done: turned,
                     |          |        |     diverged, or deepest
                     |<---------'        |
                     | the subtree has   |
                     | leaves to come    |
                     '---- reverse <-----'
                       the subtree is whole, and the tree doubles again

Multinomial sampling within a trajectory (Betancourt 2017), the generalised U-turn criterion, checked
within subtrees by the checkpoints of the iterative algorithm (Phan et al. 2019); one engine loop over
many chains after Dance, Glaser, Orbanz & Adams (2025). Randomness is a function of the lane and of how
many iterations and leapfrogs it has made, so that draws depend neither on how steps are cut into blocks
nor on what else is in the batch, but for rounding.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.random import threefry_2x32
from jax.scipy.special import expit
from jaxtyping import Array, Float, Int, UInt32
from numpyro.infer.hmc_util import _leaf_idx_to_ckpt_idxs

from scalecheck.sampler.lane_state import (
    Checkpoints,
    Ended,
    Lane,
    Point,
    Tree,
    TreeProposal,
    ValueAndGrad,
)
from scalecheck.sampler.metric import Layout, is_turning, kinetic, momentum, velocity
from scalecheck.sampler.types import Count, Flag, Number, Vector
from scalecheck.sampler.warmup_adaptation import where

MOST_ENERGY = 1000.0  # beyond the start of a trajectory, it diverges


class Randomness(NamedTuple):
    """What one step may need.

    Attributes
    ----------
    normal
        `(d,)` standard normals, should an iteration begin.
    coins
        Bits of that iteration, one for each doubling.
    grow, join
        Uniform numbers: whether the subtree takes the leaf, and the tree the subtree.
    """

    normal: Vector
    coins: UInt32[Array, ""]
    grow: Number
    join: Number


def draw_momenta(
    key: UInt32[Array, "2"], iteration: Count, d: int, dtype: Any
) -> tuple[Vector, UInt32[Array, ""]]:
    """Give the standard normals `(d,)` and the coins of an iteration."""
    normal, coins = jax.random.split(jax.random.fold_in(key, iteration))
    return jax.random.normal(normal, (d,), dtype), jax.random.bits(coins, (), jnp.uint32)


def draw_uniforms(
    key: UInt32[Array, "2"], leapfrogs: Int[Array, " n"], dtype: Any
) -> Float[Array, "n 2"]:
    """Give two uniform numbers `(n, 2)` for each of some leapfrogs `(n,)`, apart from what begins iterations."""
    counter = jnp.concatenate([2 * leapfrogs, 2 * leapfrogs + 1]).astype(jnp.uint32)
    bits = threefry_2x32(key ^ jnp.uint32(0x9E3779B9), counter)
    return ((bits >> 8).astype(dtype) * 2.0**-24).reshape(2, -1).T


def step(
    lane: Lane, random: Randomness, at: ValueAndGrad, layout: Layout, *, symmetric: bool
) -> tuple[Lane, Ended]:
    """Make one leapfrog, and whatever transition follows from it.

    Parameters
    ----------
    random
        Of this step.
    at
        Potential and gradient.
    symmetric
        Adapt to the symmetric statistic of acceptance.
    """
    lane = where(lane.is_fresh, begin(lane, random.normal, random.coins, layout), lane)
    lane, leaf = leapfrog(lane, at, layout)
    lane, diverging = grow(lane, leaf, random.grow, symmetric=symmetric)
    lane, turning = check(lane, layout)
    is_broken = turning | diverging
    is_whole = (lane.leaf >= (1 << lane.depth)) | is_broken
    joined = join(lane, is_broken, random.join)
    depth = lane.kept.along.shape[0]
    turned = is_turning(layout, lane.metric, joined.back.r, joined.front.r, joined.tree.r_sum)
    is_done = is_whole & (is_broken | turned | (joined.depth >= depth))
    lane = where(is_whole, reverse(joined), lane)
    lane = lane._replace(iteration=lane.iteration + is_done, is_fresh=is_done)
    return lane, Ended(is_done, is_done & diverging)


def begin(lane: Lane, normal: Vector, coins: UInt32[Array, ""], layout: Layout) -> Lane:
    """InitialAdaptation an iteration where the last one ended, with new standard normals `(d,)` for its momentum."""
    here = lane.tree.candidate
    r = momentum(layout, lane.metric, normal)
    energy = here.potential + kinetic(layout, lane.metric, r)
    point = Point(here.z, r, here.gradient)
    zero = jnp.zeros_like(energy)
    return lane._replace(
        tree=Tree(here._replace(energy=energy), zero, r),
        front=point,
        back=point,
        direction=_direction(coins, 0).astype(energy.dtype),
        coins=coins,
        depth=jnp.zeros_like(lane.depth),
        leaf=jnp.zeros_like(lane.leaf),
        energy=energy,
        accept=zero,
        n_steps=jnp.zeros_like(lane.n_steps),
    )


def leapfrog(lane: Lane, at: ValueAndGrad, layout: Layout) -> tuple[Lane, TreeProposal]:
    """Move the front of the trajectory by one step of the integrator."""
    size = lane.direction * lane.step_size
    half = lane.front.r - 0.5 * size * lane.front.gradient
    z = lane.front.z + size * velocity(layout, lane.metric, half)
    potential, gradient = at(z)
    r = half - 0.5 * size * gradient
    energy = potential + kinetic(layout, lane.metric, r)
    front = Point(z, r, gradient)
    moved = lane._replace(front=front, n_steps=lane.n_steps + 1, leapfrogs=lane.leapfrogs + 1)
    return moved, TreeProposal(z, gradient, potential, energy)


def grow(lane: Lane, leaf: TreeProposal, u: Number, *, symmetric: bool) -> tuple[Lane, Flag]:
    """Add the front to the subtree: its candidate is drawn by weight with a uniform scalar; say whether it diverged."""
    rise = leaf.energy - lane.energy
    rise = jnp.where(jnp.isnan(rise), jnp.inf, rise)
    is_first, old = lane.leaf == 0, lane.subtree
    takes = is_first | (u < expit(-rise - old.log_weight))
    subtree = Tree(
        where(takes, leaf, old.candidate),
        jnp.where(is_first, -rise, jnp.logaddexp(old.log_weight, -rise)),
        jnp.where(is_first, lane.front.r, old.r_sum + lane.front.r),
    )
    accept = 2 * expit(-jnp.abs(rise)) if symmetric else jnp.exp(-jnp.maximum(rise, 0))
    grown = lane._replace(subtree=subtree, leaf=lane.leaf + 1, accept=lane.accept + accept)
    return grown, rise > MOST_ENERGY


def check(lane: Lane, layout: Layout) -> tuple[Lane, Flag]:
    """Check the subtrees that the last leaf completes for a U-turn, a scalar; keep what later ones need."""
    leaf, r = lane.leaf - 1, lane.front.r
    here, before = velocity(layout, lane.metric, r), lane.subtree.r_sum - 0.5 * r
    along = jnp.dot(here, before)
    first, last = _leaf_idx_to_ckpt_idxs(leaf)
    # By index, here and below: with many coordinates all rows would take longer than a gradient.
    place = jnp.where(leaf % 2 == 0, last, lane.kept.along.shape[0])
    values = Checkpoints(here, before, along)
    put = lambda rows, row: rows.at[place].set(row, mode="drop")  # noqa: E731
    kept = jax.tree.map(put, lane.kept, values)

    def look(i: Count, turning: Flag) -> Flag:
        start = jax.tree.map(lambda rows: lax.dynamic_index_in_dim(rows, i, 0, False), kept)
        at_start = jnp.dot(start.velocity, before) - start.along <= 0
        return turning | at_start | (along - jnp.dot(start.before, here) <= 0)

    turning = lax.fori_loop(first, last + 1, look, jnp.array(False))
    return lane._replace(kept=kept), turning


def join(lane: Lane, is_broken: Flag, u: Number) -> Lane:
    """Add the subtree to the tree: its candidate is taken by weight, a later one more often; `u` is a scalar."""
    tree, subtree = lane.tree, lane.subtree
    takes = ~is_broken & (u < jnp.exp(jnp.minimum(subtree.log_weight - tree.log_weight, 0)))
    joined = Tree(
        where(takes, subtree.candidate, tree.candidate),
        jnp.logaddexp(tree.log_weight, subtree.log_weight),
        tree.r_sum + subtree.r_sum,
    )
    return lane._replace(tree=joined, depth=lane.depth + 1, leaf=jnp.zeros_like(lane.leaf))


def reverse(lane: Lane) -> Lane:
    """Toss for the direction of the next doubling, and go on from the end that lies there."""
    direction = _direction(lane.coins, lane.depth).astype(lane.direction.dtype)
    turns = direction != lane.direction
    return lane._replace(
        front=where(turns, lane.back, lane.front),
        back=where(turns, lane.front, lane.back),
        direction=direction,
    )


def _direction(coins: UInt32[Array, ""], doubling: Count | int) -> Number:
    bit = (coins >> jnp.asarray(doubling, jnp.uint32)) & 1
    return jnp.where(bit == 1, 1.0, -1.0)
