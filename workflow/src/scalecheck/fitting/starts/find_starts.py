"""Where chains start: candidates as `sampler.start` says; those with a finite density and gradient are taken."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from scalecheck.fitting.starts.explain_failure import no_start_error
from scalecheck.fitting.starts.proposals import proposal
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.reparam import Reparameterisation, coordinates_of
from scalecheck.study.settings import SamplerSettings

_TRIES = 10  # batches of candidate starts


def shapes_of_starts(batch: Batch, n_chains: int) -> dict[str, np.ndarray]:
    """Give arrays `(fit, chain, ...)` as the starts will be, which hold zeros and take no memory."""
    leading = (len(batch.tasks), n_chains)
    return {
        name: np.broadcast_to(np.zeros((), site.dtype), (*leading, *site.shape))
        for name, site in density.unconstrained(batch.function, batch.arrays_of()).items()
    }


def find_starts(batch: Batch, settings: SamplerSettings, keys: jax.Array) -> dict[str, jax.Array]:
    """Find a start with finite density and gradient for every chain of every fit: `(fit, chain, ...)`.

    In the coordinates of the sampler.

    Raises
    ------
    StudyError
        When a fit has none: names the site and the row that are to blame.
    """
    found = proposal(batch, settings.start, settings.chains)
    moved = coordinates_of(batch.function, settings.reparam)

    # One program for all fits of the batch: their data are its arguments.
    @jax.jit
    def check(key: jax.Array, arrays: Any, given: Any) -> tuple[Any, Any, jax.Array]:
        z = found.propose(key, arrays, given)
        w = jax.vmap(lambda one: moved.from_model(one, arrays))(z)
        return z, w, is_finite(moved, w, arrays)

    def candidates(number: int, key: jax.Array) -> tuple[Any, Any, jax.Array]:
        arrays = batch.arrays_of(number)
        return check(key, arrays, found.given(number, key))

    starts = [_starts_of_fit(batch, i, candidates, key, settings) for i, key in enumerate(keys)]
    return {name: jnp.stack([start[name] for start in starts]) for name in starts[0]}


def is_finite(
    moved: Reparameterisation, w: Mapping[str, jax.Array], arrays: Mapping[str, jax.Array]
) -> Bool[Array, " start"]:
    """Whether energy and gradient are finite at starts `(start, ...)` in the coordinates of the sampler."""
    value, gradient = jax.vmap(jax.value_and_grad(moved.potential(**arrays)))(w)
    parts = [jnp.isfinite(x).reshape(len(value), -1).all(1) for x in jax.tree.leaves(gradient)]
    return jnp.isfinite(value) & jnp.stack(parts).all(0)


def _starts_of_fit(
    batch: Batch,
    number: int,
    candidates: Callable[..., Any],
    key: jax.Array,
    settings: SamplerSettings,
) -> dict[str, jax.Array]:
    good: list[Any] = []
    worst: dict[str, jax.Array] = {}
    for attempt in range(_TRIES):
        z, w, valid = candidates(number, jax.random.fold_in(key, attempt))
        worst = _take(z, int(np.argmin(valid)))
        good.append(_take(w, np.flatnonzero(valid)))
        if sum(len(next(iter(part.values()))) for part in good) >= settings.chains:
            return jax.tree.map(lambda *parts: jnp.concatenate(parts)[: settings.chains], *good)
    raise no_start_error(batch, number, worst, settings.start)


def _take(z: dict[str, jax.Array], which: np.ndarray | int) -> dict[str, jax.Array]:
    return {name: values[which] for name, values in z.items()}
