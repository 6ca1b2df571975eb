"""Warmup of a lane: Stan's windows, dual averaging of the step size, and the metric of each window."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpyro.infer.hmc_util import dual_averaging, welford_covariance

from scalecheck.sampler.metric import Layout, Metric, diagonal
from scalecheck.sampler.schedule import window_stops
from scalecheck.sampler.types import Count, Flag, Number, Settings, Vector

_step_start, _step_update = dual_averaging()
_WELFORD = {dense: welford_covariance(diagonal=not dense) for dense in (False, True)}


# Programs have room for a multiple of so many windows: a cold start and a warm one share them.
_WINDOWS = 8


class Warmup(NamedTuple):
    """When warmup learns what: an argument of programs, which serve warmups of any length.

    Attributes
    ----------
    stops
        `(window,)` iterations done at the end of each window; what fills the shape repeats the last one.
    n_windows
        How many there are.
    renews_metric
        Whether the metric is learned in all windows but the first and the last.
    target_accept
        Acceptance rate at which the step size is adapted.
    """

    stops: Int[np.ndarray, " window"]
    n_windows: Int[np.ndarray, ""]
    renews_metric: Bool[np.ndarray, ""]
    target_accept: Float[np.ndarray, ""]


class Adaptation(NamedTuple):
    """What a lane learns in warmup.

    Attributes
    ----------
    step
        State of dual averaging.
    draws, gradients
        By part of the metric: streaming moments since the window began.
    metrics
        `(window, d)` diagonal of the inverse mass at the end of each window.
    """

    step: Any
    draws: tuple[Any, ...]
    gradients: tuple[Any, ...]
    metrics: Float[Array, "window d"]


def plan_warmup(settings: Settings, dtype: Any) -> Warmup:
    """Lay out Stan's windows for chains of numbers of this type."""
    stops = window_stops(settings.warmup)
    room = _WINDOWS * max(1, -(-len(stops) // _WINDOWS))
    last = stops[-1] if stops else 0
    return Warmup(
        np.array([*stops, *[last] * (room - len(stops))], "int32"),
        np.array(len(stops), "int32"),
        np.array(settings.renews_metric),
        np.array(settings.target_accept, dtype),
    )


def start(layout: Layout, n_windows: int, step_size: Number, d: int) -> Adaptation:
    """Begin warmup at a step size, a scalar, with room for so many windows."""
    moments = tuple(_WELFORD[part.dense][0](len(part.places)) for part in layout)
    metrics = jnp.zeros((n_windows, d), step_size.dtype)
    return Adaptation(_step_start(jnp.log(10 * step_size)), moments, moments, metrics)


class EndedIteration(NamedTuple):
    """An iteration of warmup that has ended: its number from 0, its rate of acceptance, where it ended."""

    iteration: Count
    acceptance_rate: Number
    z: Vector
    gradient: Vector


def update(
    layout: Layout,
    plan: Warmup,
    seen: EndedIteration,
    metric: Metric,
    state: Adaptation,
    *,
    fisher: bool,
) -> tuple[Number, Metric, Adaptation]:
    """Learn from an iteration; give the step size, a scalar, and the metric of the next one.

    Parameters
    ----------
    fisher
        Whether diagonal parts learn from gradients, too.
    """
    stops = jnp.asarray(plan.stops)
    warmup = stops[-1]
    now = jnp.clip(seen.iteration, 0, warmup - 1)
    step = _step_update(plan.target_accept - seen.acceptance_rate, state.step)
    # The average of all steps is used from the end of warmup on.
    size = jnp.exp(jnp.where(now == warmup - 1, step[1], step[0]))
    limits = jnp.finfo(size.dtype)
    size = jnp.clip(size, limits.tiny, limits.max)
    number = (stops <= now).sum()
    collects = jnp.asarray(plan.renews_metric) & (number > 0) & (number < plan.n_windows - 1)
    ends = collects & (stops[number] == now + 1)
    draws = _collect(layout, seen.z, state.draws, collects)
    gradients = state.gradients
    if fisher:
        gradients = _collect(layout, seen.gradient, gradients, collects)
    metric = where(ends, _estimate(layout, draws, gradients, fisher=fisher), metric)
    begun = start(layout, len(stops), size, len(seen.z))
    known = diagonal(layout, metric)
    here = jnp.arange(len(stops)) == number
    learned = Adaptation(
        where(ends, begun.step, step),
        where(ends, begun.draws, draws),
        where(ends, begun.gradients, gradients),
        jnp.where(here[:, None], known, state.metrics),
    )
    return size, metric, learned


def _collect(layout: Layout, values: Vector, moments: Any, collects: Flag) -> Any:
    updated = tuple(
        _WELFORD[part.dense][1](part.take(values), own)
        for part, own in zip(layout, moments, strict=True)
    )
    return where(collects, updated, moments)


def _estimate(layout: Layout, draws: Any, gradients: Any, *, fisher: bool) -> Metric:
    """Covariance of each part, shrunk a little as Stan does."""
    parts = zip(layout, draws, gradients, strict=True)
    found = [
        _fisher(own, other)
        if fisher and not part.dense
        else _WELFORD[part.dense][2](own, regularize=True)[:2]
        for part, own, other in parts
    ]
    return Metric(tuple(one[0] for one in found), tuple(one[1] for one in found))


def _fisher(draws: Any, gradients: Any) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Diagonal metric of least Fisher divergence: sd of the draws over sd of the gradients."""
    (_, of_draws, n), (_, of_gradients, _) = draws, gradients
    tiny = 1e-10
    ratio = (of_draws / (n - 1) + tiny) / (of_gradients / (n - 1) + tiny)
    inverse = jnp.clip(jnp.sqrt(ratio), 1e-8, 1e8)
    return inverse, jax.lax.rsqrt(inverse)


def where(flag: Flag, new: Any, old: Any) -> Any:
    """Choose by a scalar between two states of the same structure."""
    return jax.tree.map(lambda one, other: jnp.where(flag, one, other), new, old)
