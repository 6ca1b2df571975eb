"""Draws of the sampler as draws of the model: where some sites were sampled less centred."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from scalecheck import diagnostics
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.density import Sites
from scalecheck.model.reparam import Coordinates
from scalecheck.sampler import Draws


def on_model_scale(batch: Batch, moved: Coordinates, draws: Draws) -> Draws:
    """Give draws in the coordinates of the model; `moved` then has those of the sampler, where they differ."""
    if not moved.centredness:
        return draws
    z = [fit_on_model_scale(batch, moved, number, w) for number, w in enumerate(draws.z)]
    return draws._replace(z=z, moved=draws.z)


def usable(batch: Batch, moved: Coordinates, number: int, w: dict[str, np.ndarray]) -> bool:
    """Whether the draws of a fit, in the sampler's coordinates `(chain, draw, ...)`, suffice for the checks."""
    z = fit_on_model_scale(batch, moved, number, w)
    return diagnostics.usable(np.asarray(batch.vector.pack(z, 2)))


def fit_on_model_scale(
    batch: Batch, moved: Coordinates, number: int, w: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Map draws `(chain, draw, ...)` of the sites of one fit that are held to the coordinates of the model.

    Parameters
    ----------
    number
        Of the fit in the batch.
    """
    if not moved.centredness or not w:
        return w
    n_chains, n_draws = next(iter(w.values())).shape[:2]
    if not n_draws:
        return w
    arrays = batch.arrays_of(number)
    # Those that are not held have no part in those that are: any value does.
    missing = {
        name: np.zeros(site.shape, site.dtype)
        for name, site in density.unconstrained(batch.function, arrays).items()
        if name not in w
    }
    to_model = _mapper(moved, tuple(sorted(w)), n_draws)
    by_chain = [
        jax.tree.map(np.asarray, to_model({n: x[chain] for n, x in w.items()}, missing, arrays))
        for chain in range(n_chains)
    ]
    return {name: np.stack([chain[name] for chain in by_chain]) for name in w}


@functools.lru_cache(maxsize=8)
def _mapper(moved: Coordinates, names: tuple[str, ...], n_draws: int) -> Callable[..., Sites]:
    """Compile the map of draws of one chain `(draw, ...)`."""

    def to_model(w: Sites, missing: Sites, arrays: dict[str, jax.Array]) -> Sites:
        z = moved.to_model(w | missing, arrays)
        return {name: z[name] for name in names}

    return jax.jit(jax.vmap(to_model, (0, None, None), axis_size=n_draws))
