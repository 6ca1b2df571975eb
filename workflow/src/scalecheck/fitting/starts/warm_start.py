"""Warm starts: an increment begins where the one before it ended.

Its chains start from the last draws of those before it, drawn apart, with their step size, and with the
variances of their draws as the metric, rescaled to the number of rows. A short warmup then adapts the
step size alone. Nested increments name their units and rows in the same order, so that those of the
smaller one come first.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, UInt32

from scalecheck import sampler
from scalecheck.model.batches import Batch
from scalecheck.model.reparam import Reparameterisation
from scalecheck.model.sites import ROWS
from scalecheck.sampler.snapshot import from_arrays

# Warmup of a warm start, as a share of `sampler.warmup`; fewer iterations settle no step size.
SHARE, FEWEST = 0.1, 10

# Draws of the smaller increment are about sqrt(factor) times as wide as the posterior to come. As much
# again makes chains start well apart, or R-hat would not see one that has not come from there.
APART = 2**0.5


class WarmStart(NamedTuple):
    """Where the next increment starts, in the coordinates in which the sampler moves.

    Attributes
    ----------
    rows
        Of the fit that it was taken from.
    step_size
        `(chain,)`.
    last, mean, variance
        Sites: the last draws `(chain, ...)`, moments over all draws `(...)`.
    """

    rows: int
    step_size: Float[np.ndarray, " chain"]
    last: dict[str, Float[np.ndarray, "chain ..."]]
    mean: dict[str, Float[np.ndarray, "..."]]
    variance: dict[str, Float[np.ndarray, "..."]]


def read_warm_start(arrays: Mapping[str, np.ndarray]) -> WarmStart:
    """Read what `snapshot.to_arrays` gave of one, in the same shapes."""
    names = [name.removeprefix("last:") for name in arrays if name.startswith("last:")]
    sites = dict.fromkeys(names, np.zeros(0))
    return from_arrays(arrays, WarmStart(0, np.zeros(0), sites, sites, sites))


def warm_start_of(rows: int, draws: sampler.Draws, number: int = 0) -> WarmStart:
    """Give a warm start from a fit that has its draws.

    Parameters
    ----------
    rows
        Of the fit.
    draws
        Of its batch.
    number
        Of the fit in its batch.
    """
    moved = draws.z if draws.moved is None else draws.moved
    z = {name: values.astype("float64") for name, values in moved[number].items()}
    flat = {name: values.reshape(-1, *values.shape[2:]) for name, values in z.items()}
    mean = {name: values.mean(axis=0) for name, values in flat.items()}
    variance = {name: values.var(axis=0) for name, values in flat.items()}
    if draws.reduced is not None:
        # Of sites whose draws are not held, the moments that were streamed.
        mean = draws.reduced[number].z_mean | mean
        variance = draws.reduced[number].z_variance | variance
    step_size = np.asarray(draws.iterations[number].step_size[:, -1])
    return WarmStart(rows, step_size, draws.last(number), mean, variance)


def warmup_of(cold: int) -> int:
    """Iterations of warmup of a warm start, where a cold one has so many."""
    return max(FEWEST, round(SHARE * cold))


def warm_start(
    batch: Batch,
    moved: Reparameterisation,
    warm: Sequence[WarmStart],
    cold: Mapping[str, Any],
    keys: UInt32[Array | np.ndarray, "fit 2"],
) -> tuple[dict[str, np.ndarray], sampler.InitialAdaptation]:
    """Give starts and what the sampler begins with, for the fits of a batch.

    Parameters
    ----------
    moved
        The coordinates of the sampler, in which starts are given.
    warm
        Of each, from the increment before.
    cold
        Starts `(fit, chain, ...)` that are known to be good: for chains whose warm start is not finite.
    keys
        `(fit, 2)`.
    """
    growing = {ROWS, batch.unit}
    grow = {site.name for site in batch.sites if growing & set(site.indexed_by)}
    begun = [
        _start(one, task.rows, grow, cold, np.random.default_rng(key.astype("uint32")))
        for one, task, key in zip(warm, batch.tasks, np.asarray(keys), strict=True)
    ]
    starts = {name: np.stack([z[name] for z, _ in begun]) for name in cold}
    good = np.stack(
        [
            sampler.is_finite(moved.potential, z, batch.arrays_of(i))
            for i, (z, _) in enumerate(begun)
        ]
    )
    chosen = {
        name: np.where(good.reshape(*good.shape, *[1] * (values.ndim - 2)), values, cold[name])
        for name, values in starts.items()
    }
    # In the order of `ravel_pytree`.
    each = [np.concatenate([v[name].ravel() for name in sorted(v)]) for _, v in begun]
    sizes = np.stack([one.step_size for one in warm])
    begin = np.repeat(np.stack(each)[:, None], sizes.shape[1], axis=1)
    # Dual averaging is drawn to ten times what it begins with: here that is known to be right.
    return chosen, sampler.InitialAdaptation(sizes, sizes / 10, begin)


def _start(
    warm: WarmStart,
    n_rows: int,
    grow: Collection[str],
    cold: Mapping[str, Any],
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Give starts `(chain, ...)` and variances `(...)` of one fit, by site.

    A site that grows has an entry for each unit or row, whose data do not grow with the increment.
    """
    starts: dict[str, np.ndarray] = {}
    variance: dict[str, np.ndarray] = {}
    for name, values in cold.items():
        shape, dtype = values.shape[2:], np.asarray(values).dtype
        last, spread = warm.last[name].astype("float64"), warm.variance[name]
        if name in grow or last.shape[1:] != shape:
            last = np.stack([_extend(chain, shape, rng) for chain in last])
            spread = _extend(spread, shape, rng)
        else:
            last = warm.mean[name] + APART * (last - warm.mean[name])
            spread = spread * warm.rows / n_rows
        starts[name], variance[name] = last.astype(dtype), np.asarray(spread, dtype)
    return starts, variance


def _extend(values: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Give units that are new the values `(...)` of old ones: units are exchangeable."""
    for axis, size in enumerate(shape):
        old = values.shape[axis]
        if old < size:
            new = values.take(rng.integers(old, size=size - old), axis=axis)
            values = np.concatenate([values, new], axis=axis)
    return values[tuple(slice(size) for size in shape)]
