"""Warmup of a lane: Stan's windows, dual averaging of the step size, and the metric of each window."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.hmc_util import (
    build_adaptation_schedule,
    dual_averaging,
    welford_covariance,
)

from scalecheck.sampler.metric import Layout, Metric, diagonal

_step_start, _step_update = dual_averaging()
_WELFORD = {dense: welford_covariance(diagonal=not dense) for dense in (False, True)}


class Windows(NamedTuple):
    """Which iterations of warmup do what, `(warmup,)` each.

    Attributes
    ----------
    collects
        The metric learns from it.
    ends
        A window ends with it, and the metric is renewed.
    number
        Of the window.
    stops
        Iterations done at the end of each window, all of them.
    """

    collects: np.ndarray
    ends: np.ndarray
    number: np.ndarray
    stops: tuple[int, ...]


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
    metrics: jax.Array


def windows(warmup: int) -> Windows:
    """Lay out Stan's windows: no metric is learned in the first and in the last."""
    schedule = build_adaptation_schedule(warmup) if warmup else []
    collects, ends = np.zeros(max(warmup, 1), bool), np.zeros(max(warmup, 1), bool)
    number = np.zeros(max(warmup, 1), "int32")
    for i, window in enumerate(schedule):
        number[window.start : window.end + 1] = i
        if 0 < i < len(schedule) - 1:
            collects[window.start : window.end + 1] = True
            ends[window.end] = True
    return Windows(collects, ends, number, tuple(window.end + 1 for window in schedule))


def start(layout: Layout, plan: Windows, step_size: jax.Array, d: int) -> Adaptation:
    """Begin warmup at a step size, a scalar."""
    moments = tuple(_WELFORD[part.dense][0](len(part.places)) for part in layout)
    metrics = jnp.zeros((len(plan.stops), d), step_size.dtype)
    return Adaptation(_step_start(jnp.log(10 * step_size)), moments, moments, metrics)


class Seen(NamedTuple):
    """An iteration of warmup that has ended: its number from 0, its rate of acceptance, where it ended."""

    iteration: jax.Array
    acceptance_rate: jax.Array
    z: jax.Array
    gradient: jax.Array


def update(
    layout: Layout, plan: Windows, seen: Seen, metric: Metric, state: Adaptation, target: float
) -> tuple[jax.Array, Metric, Adaptation]:
    """Learn from an iteration; give the step size, a scalar, and the metric of the next one."""
    warmup = plan.stops[-1]
    now = jnp.clip(seen.iteration, 0, warmup - 1)
    step = _step_update(target - seen.acceptance_rate, state.step)
    # The average of all steps is used from the end of warmup on.
    size = jnp.exp(jnp.where(now == warmup - 1, step[1], step[0]))
    limits = jnp.finfo(size.dtype)
    size = jnp.clip(size, limits.tiny, limits.max)
    collects, ends = jnp.asarray(plan.collects)[now], jnp.asarray(plan.ends)[now]
    draws = _collect(layout, seen.z, state.draws, collects)
    gradients = _collect(layout, seen.gradient, state.gradients, collects)
    metric = where(ends, _estimate(layout, draws), metric)
    begun = start(layout, plan, size, len(seen.z))
    known = diagonal(layout, metric)
    here = jnp.arange(len(plan.stops)) == jnp.asarray(plan.number)[now]
    learned = Adaptation(
        where(ends, begun.step, step),
        where(ends, begun.draws, draws),
        where(ends, begun.gradients, gradients),
        jnp.where(here[:, None], known, state.metrics),
    )
    return size, metric, learned


def _collect(layout: Layout, values: jax.Array, moments: Any, collects: jax.Array) -> Any:
    updated = tuple(
        _WELFORD[part.dense][1](values[part.places], own)
        for part, own in zip(layout, moments, strict=True)
    )
    return where(collects, updated, moments)


def _estimate(layout: Layout, moments: Any) -> Metric:
    """Covariance of each part, shrunk a little as Stan does."""
    found = [
        _WELFORD[part.dense][2](own, regularize=True)
        for part, own in zip(layout, moments, strict=True)
    ]
    return Metric(tuple(one[0] for one in found), tuple(one[1] for one in found))


def where(flag: jax.Array, new: Any, old: Any) -> Any:
    """Choose by a scalar between two states of the same structure."""
    return jax.tree.map(lambda one, other: jnp.where(flag, one, other), new, old)
