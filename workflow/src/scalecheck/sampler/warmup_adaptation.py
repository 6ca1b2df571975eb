"""Warmup of a lane: Stan's windows, dual averaging of the step size, and the metric of each window."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpyro.infer.hmc_util import build_adaptation_schedule, dual_averaging, welford_covariance

from scalecheck.sampler.metric import Layout, Metric, diagonal
from scalecheck.sampler.types import Count, Flag, Number, Settings, Vector

_step_start, _step_update = dual_averaging()
_WELFORD = {dense: welford_covariance(diagonal=not dense) for dense in (False, True)}


class Warmup(NamedTuple):
    """Which iterations of warmup do what, `(warmup,)` each, and how they learn.

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
    target_accept
        Acceptance rate at which the step size is adapted.
    fisher
        Whether diagonal parts learn from gradients, too.
    """

    collects: Bool[np.ndarray, " warmup"]
    ends: Bool[np.ndarray, " warmup"]
    number: Int[np.ndarray, " warmup"]
    stops: tuple[int, ...]
    target_accept: float
    fisher: bool


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


def plan_warmup(settings: Settings) -> Warmup:
    """Lay out Stan's windows: no metric is learned in the first and in the last."""
    warmup = settings.warmup
    schedule = build_adaptation_schedule(warmup) if warmup else []
    collects, ends = np.zeros(max(warmup, 1), bool), np.zeros(max(warmup, 1), bool)
    number = np.zeros(max(warmup, 1), "int32")
    for i, window in enumerate(schedule):
        number[window.start : window.end + 1] = i
        if settings.renews_metric and 0 < i < len(schedule) - 1:
            collects[window.start : window.end + 1] = True
            ends[window.end] = True
    stops = tuple(window.end + 1 for window in schedule)
    return Warmup(collects, ends, number, stops, settings.target_accept, settings.fisher)


def start(layout: Layout, plan: Warmup, step_size: Number, d: int) -> Adaptation:
    """InitialAdaptation warmup at a step size, a scalar."""
    moments = tuple(_WELFORD[part.dense][0](len(part.places)) for part in layout)
    metrics = jnp.zeros((len(plan.stops), d), step_size.dtype)
    return Adaptation(_step_start(jnp.log(10 * step_size)), moments, moments, metrics)


class EndedIteration(NamedTuple):
    """An iteration of warmup that has ended: its number from 0, its rate of acceptance, where it ended."""

    iteration: Count
    acceptance_rate: Number
    z: Vector
    gradient: Vector


def update(
    layout: Layout, plan: Warmup, seen: EndedIteration, metric: Metric, state: Adaptation
) -> tuple[Number, Metric, Adaptation]:
    """Learn from an iteration; give the step size, a scalar, and the metric of the next one."""
    warmup = plan.stops[-1]
    now = jnp.clip(seen.iteration, 0, warmup - 1)
    step = _step_update(plan.target_accept - seen.acceptance_rate, state.step)
    # The average of all steps is used from the end of warmup on.
    size = jnp.exp(jnp.where(now == warmup - 1, step[1], step[0]))
    limits = jnp.finfo(size.dtype)
    size = jnp.clip(size, limits.tiny, limits.max)
    collects, ends = jnp.asarray(plan.collects)[now], jnp.asarray(plan.ends)[now]
    draws = _collect(layout, seen.z, state.draws, collects)
    gradients = state.gradients
    if plan.fisher:
        gradients = _collect(layout, seen.gradient, gradients, collects)
    metric = where(ends, _estimate(layout, plan, draws, gradients), metric)
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


def _collect(layout: Layout, values: Vector, moments: Any, collects: Flag) -> Any:
    updated = tuple(
        _WELFORD[part.dense][1](part.take(values), own)
        for part, own in zip(layout, moments, strict=True)
    )
    return where(collects, updated, moments)


def _estimate(layout: Layout, plan: Warmup, draws: Any, gradients: Any) -> Metric:
    """Covariance of each part, shrunk a little as Stan does."""
    parts = zip(layout, draws, gradients, strict=True)
    found = [
        _fisher(own, other)
        if plan.fisher and not part.dense
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
