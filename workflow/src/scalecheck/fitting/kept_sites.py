"""What is kept of the draws of a fit: which sites as draws, which as moments."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from scalecheck.data import store
from scalecheck.model import density, jaxpr
from scalecheck.model.batches import Batch
from scalecheck.model.reparam import Reparameterisation
from scalecheck.model.rows import local_codes
from scalecheck.model.sites import ROWS, Site, row_dim
from scalecheck.sampler import Streams


def kept_sites(batch: Batch, keep: Sequence[str] | None) -> tuple[Site, ...]:
    """Sites that are stored as draws: those asked for, by default all that rows do not index, and the compared ones."""
    chosen = set(batch.vector.shapes) | set(keep or ())
    return tuple(
        site
        for site in batch.sites
        if site.kind in ("latent", "deterministic")
        and (site.name in chosen or (keep is None and ROWS not in site.indexed_by))
    )


def reduced_sites(batch: Batch, keep: Sequence[str] | None) -> tuple[Site, ...]:
    """Sites of which only moments are stored: those that are not kept, but for deterministic ones of rows."""
    kept = kept_sites(batch, keep)
    left_out = [site for site in batch.sites if site not in kept]
    return tuple(
        site
        for site in left_out
        if site.kind == "latent" or (site.kind == "deterministic" and ROWS not in site.indexed_by)
    )


def streams_of(
    batch: Batch, moved: Reparameterisation, keep: Sequence[str] | None
) -> Streams | None:
    """Say what is held while fits run, and what is reduced to moments; None where nothing is.

    Beside the latent sites that are kept, those are held that a kept site is computed from, be it that its
    own coordinate was taken less centred.
    """
    reduced = tuple(site.name for site in reduced_sites(batch, keep))
    if not reduced:
        return None
    held = needed_latents(batch, moved, tuple(site.name for site in kept_sites(batch, keep)))
    return Streams(held, _reduction(moved, reduced))


@functools.lru_cache(maxsize=64)
def _reduction(moved: Reparameterisation, names: tuple[str, ...]) -> Callable[[Any, Any], Any]:
    """Give the same function for the same sites: programs are kept by it."""
    return functools.partial(_values, moved, names)


def _values(moved: Reparameterisation, names: tuple[str, ...], w: Any, arrays: Any) -> Any:
    """Some sites on the model's scale."""
    z = moved.to_model(w, arrays)
    values = density.constrain(moved.function, z, arrays, deterministic=True)
    return {name: values[name] for name in names}


def needed_latents(
    batch: Batch, moved: Reparameterisation, names: tuple[str, ...]
) -> tuple[str, ...]:
    """Names of the latent sites that the values of some sites depend on."""
    z = density.unconstrained(batch.function, batch.arrays_of())
    # A dict is flattened in the order of its keys.
    latent = sorted(z)
    of_names = functools.partial(_values, moved, names)
    closed = jax.make_jaxpr(of_names)(dict(z), jaxpr.shapes_of(batch.arrays, 1))
    return tuple(sorted(jaxpr.needed_arguments(closed, latent)))


def own_values(
    batch: Batch, number: int, site: Site, values: np.ndarray, n_leading: int
) -> tuple[np.ndarray, dict[str, Sequence[str | int]]]:
    """Leave out what pads the batch of the values of a site; give the labels of its dims, too.

    Parameters
    ----------
    values
        `(..., *site.shape)`, with `n_leading` dims before those of the site.
    """
    coords: dict[str, Sequence[str | int]] = {}
    for axis, dim in enumerate(site.dims):
        labels = _labels(batch, number, dim)
        if labels:
            coords[dim] = labels
            values = values.take(range(len(labels)), axis=axis + n_leading)
    return values, coords


def _labels(batch: Batch, number: int, dim: str) -> Sequence[str | int]:
    """Labels along a dimension, empty where it has none; of the fit's own units and rows, not of what pads the batch.

    Rows are labelled by their number in the file.
    """
    if dim == row_dim(batch.bound):
        return batch.values[number][store.FILE_ROW].tolist()
    labels = batch.labels.get(dim)
    if labels is None:
        return []
    if dim == batch.unit:
        own = local_codes(batch.values[number][dim])[1]
        return [str(labels[code]) for code in own]
    return [str(label) for label in labels]
