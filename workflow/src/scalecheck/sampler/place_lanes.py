"""Lanes at their starts, about to begin warmup; nothing here knows of the model or of its data."""

from typing import Any, NamedTuple

import jax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, UInt32

from scalecheck.sampler import warmup_adaptation
from scalecheck.sampler.lane_state import Lane, rest
from scalecheck.sampler.metric import Layout, identity, of_variances
from scalecheck.sampler.streamed_draws import MomentSizes, Streamed
from scalecheck.sampler.warmup_adaptation import Adaptation


class State(NamedTuple):
    """All lanes between two blocks; leading dims `(fit, chain)`. Without reduced sites nothing is streamed."""

    lane: Lane
    adaptation: Adaptation
    streamed: Streamed | None


class InitialAdaptation(NamedTuple):
    """What lanes begin warmup with.

    Attributes
    ----------
    step_size
        `(fit, chain)`.
    around
        `(fit, chain)` a tenth of the step size that dual averaging is drawn to.
    variances
        `(fit, chain, d)` diagonal of the inverse mass, in the order of `ravel_pytree`; not looked at where a
        part of the metric is dense.
    """

    step_size: Any
    around: Any
    variances: Any


class Placement(NamedTuple):
    """What the program that places lanes is compiled for.

    Attributes
    ----------
    layout
        Of the metric.
    max_tree_depth, n_windows
        That lanes have room for.
    moments
        What is streamed of draws; None where nothing is.
    """

    layout: Layout
    max_tree_depth: int
    n_windows: int
    moments: MomentSizes | None


def place(
    kind: Placement,
    keys: UInt32[Array, "fit chain 2"],
    begin: InitialAdaptation,
    starts: Any,
    potentials: Any,
    gradients: Any,
) -> State:
    """Place every lane at its start.

    Parameters
    ----------
    keys
        `(fit, chain, 2)`.
    starts, gradients
        Sites `(fit, chain, ...)`.
    potentials
        `(fit, chain)`.
    """

    def one(
        key: UInt32[Array, "2"], begin: InitialAdaptation, z: Any, potential: Any, gradient: Any
    ) -> State:
        flat, slope = ravel_pytree(z)[0], ravel_pytree(gradient)[0]
        is_dense = any(part.dense for part in kind.layout)
        identical = identity(kind.layout, flat.dtype)
        metric = identical if is_dense else of_variances(kind.layout, begin.variances)
        lane = rest(key, flat, potential, slope, metric, kind.max_tree_depth)
        lane = lane._replace(step_size=begin.step_size)
        begun = warmup_adaptation.start(kind.layout, kind.n_windows, begin.around, len(flat))
        return State(lane, begun, kind.moments and kind.moments.none_yet(flat))

    return jax.vmap(jax.vmap(one))(keys, begin, starts, potentials, gradients)


def place_fits(
    kind: Placement,
    keys: UInt32[Array, "fit 2"],
    begin: InitialAdaptation,
    starts: Any,
    potentials: Any,
    gradients: Any,
) -> State:
    """Place the lanes of fits at their starts; arguments as of `place`, but for a key `(fit, 2)` of each fit."""
    n_chains = begin.step_size.shape[1]
    each = jax.vmap(lambda key: jax.random.split(key, n_chains))(keys)
    return place(kind, each, begin, starts, potentials, gradients)
