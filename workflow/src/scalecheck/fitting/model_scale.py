"""Draws of the sampler as draws of the model: where some sites were sampled less centred."""

import functools
from collections.abc import Callable, Mapping

import jax
import numpy as np

from scalecheck import diagnostics
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.density import Sites
from scalecheck.model.reparam import Reparameterisation
from scalecheck.sampler import Draws


def on_model_scale(batch: Batch, moved: Reparameterisation, draws: Draws) -> Draws:
    """Give draws in the coordinates of the model; `moved` then has those of the sampler, where they differ."""
    if not moved.centredness:
        return draws
    z = [fit_on_model_scale(batch, moved, number, w) for number, w in enumerate(draws.z)]
    return draws._replace(z=z, moved=draws.z)


def needs_no_more_draws(
    batch: Batch, moved: Reparameterisation, number: int, w: dict[str, np.ndarray]
) -> bool:
    """Whether a fit ends with these draws, in the sampler's coordinates `(chain, draw, ...)`.

    They suffice for the checks, or its chains are so far apart that more would not help.
    """
    z = fit_on_model_scale(batch, moved, number, w)
    return not diagnostics.gains_by_draws(np.asarray(batch.vector.pack(z, 2)))


def fit_on_model_scale(
    batch: Batch, moved: Reparameterisation, number: int, w: dict[str, np.ndarray]
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
    return map_draws(batch, moved, number, w, tuple(sorted(w)), (n_chains, n_draws))


def map_draws(
    batch: Batch,
    moved: Reparameterisation,
    number: int,
    w: Mapping[str, np.ndarray],
    names: tuple[str, ...],
    shape: tuple[int, int],
    *,
    constrains: bool = False,
) -> dict[str, np.ndarray]:
    """Map draws `(chain, draw, ...)` of one fit to some sites of the model.

    Parameters
    ----------
    moved
        The coordinates of the draws.
    number
        Of the fit in the batch.
    w
        Its sites that are held.
    names
        Of the sites to give.
    shape
        Numbers of chains and draws: a model without parameters has no sites to count them by.
    constrains
        Whether to give sites on their supports, deterministic ones among them; else unconstrained.
    """
    arrays = batch.arrays_of(number)
    # Sites that are not held have no part in what is asked for: any value does.
    missing = {
        name: np.zeros(site.shape, site.dtype)
        for name, site in density.unconstrained(batch.function, arrays).items()
        if name not in w
    }
    program = _mapper(moved, names, shape[1], constrains)
    # One chain at a time bounds the memory that the deterministic sites take on the way.
    each = [{name: x[chain] for name, x in w.items()} for chain in range(shape[0])]
    chains = [jax.tree.map(np.asarray, program(own, missing, arrays)) for own in each]
    return jax.tree.map(lambda *parts: np.stack(parts), *chains)


@functools.lru_cache(maxsize=8)
def _mapper(
    moved: Reparameterisation, names: tuple[str, ...], n_draws: int, constrains: bool
) -> Callable[..., Sites]:
    """Compile the map of draws of one chain `(draw, ...)`."""

    def to_model(w: Sites, missing: Sites, arrays: dict[str, jax.Array]) -> Sites:
        values = moved.to_model(w | missing, arrays)
        if constrains:
            values = density.constrain(moved.function, values, arrays, deterministic=True)
        return {name: values[name] for name in names}

    return jax.jit(jax.vmap(to_model, (0, None, None), axis_size=n_draws))
