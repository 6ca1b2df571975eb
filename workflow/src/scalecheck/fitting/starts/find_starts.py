"""Where chains start: candidates as `sampler.start` says; those with a finite density and gradient are taken."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, UInt32

from scalecheck import sampler
from scalecheck.fitting.starts.explain_failure import no_start_error
from scalecheck.fitting.starts.proposals import Propose, proposal
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.reparam import Reparameterisation, coordinates_of
from scalecheck.study.settings import SamplerSettings

_TRIES = 10  # batches of candidate starts

Starts = dict[str, Float[np.ndarray, "..."]]


def shapes_of_starts(batch: Batch, n_chains: int) -> dict[str, np.ndarray]:
    """Give arrays `(fit, chain, ...)` as the starts will be, which hold zeros and take no memory."""
    leading = (len(batch.tasks), n_chains)
    return {
        name: np.broadcast_to(np.zeros((), site.dtype), (*leading, *site.shape))
        for name, site in density.unconstrained(batch.function, batch.arrays_of()).items()
    }


def find_starts(
    batch: Batch, settings: SamplerSettings, keys: UInt32[Array | np.ndarray, "fit 2"]
) -> Starts:
    """Find a start with finite density and gradient for every chain of every fit: `(fit, chain, ...)`.

    In the coordinates of the sampler.

    Raises
    ------
    StudyError
        When a fit has none: names the site and the row that are to blame.
    """
    starts = [find_starts_of(batch, i, settings, key) for i, key in enumerate(keys)]
    return {name: np.stack([start[name] for start in starts]) for name in starts[0]}


def find_starts_of(
    batch: Batch, number: int, settings: SamplerSettings, key: UInt32[Array | np.ndarray, "2"]
) -> Starts:
    """Find a start for every chain of one fit, `(chain, ...)`, as `find_starts` does."""
    found = proposal(batch, settings.start, settings.chains)
    moved = coordinates_of(batch.function, settings.reparam)
    propose, arrays = _proposer(found.propose, moved), batch.arrays_of(number)
    good: list[Starts] = []
    worst: Starts = {}
    for attempt in range(_TRIES):
        given = found.given(number, key, attempt)
        z, w = jax.device_get(propose(key, np.int32(attempt), arrays, given))
        # As many at a time as there are chains, in the shape that is compiled for anyway.
        for first in range(0, len(next(iter(w.values()))), settings.chains):
            some = slice(first, first + settings.chains)
            valid = sampler.is_finite(moved.potential, _take(w, some), arrays)
            worst = _take(_take(z, some), int(np.argmin(valid)))
            good.append(_take(_take(w, some), np.flatnonzero(valid)))
            if sum(len(next(iter(part.values()))) for part in good) >= settings.chains:
                return {
                    name: np.concatenate([part[name] for part in good])[: settings.chains]
                    for name in w
                }
    raise no_start_error(batch, number, worst, settings.start)


@functools.lru_cache(maxsize=16)
def _proposer(propose: Propose, moved: Reparameterisation) -> Callable[..., Any]:
    """Compile what proposes candidates: one program for all fits of a shape, whose data are its arguments."""

    def candidates(key: jax.Array, attempt: jax.Array, arrays: Any, given: Any) -> Any:
        z = propose(jax.random.fold_in(key, attempt), arrays, given)
        return z, jax.vmap(lambda one: moved.from_model(one, arrays))(z)

    return jax.jit(candidates)


def _take(z: Starts, which: np.ndarray | slice | int) -> Starts:
    return {name: np.asarray(values[which]) for name, values in z.items()}
