"""Masks of distributions: which entries of a site have a density at all."""

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Bool

WRAPPERS = (dist.MaskedDistribution, dist.Independent, dist.ExpandedDistribution)


def entry_mask(fn: dist.Distribution) -> Bool[Array, "..."] | None:
    """Give the mask of a distribution, False where an entry has no density; None where all have one.

    `expand` and `to_event` may have been called after `mask`. The mask is broadcast from the right to the
    dimensions of the batch and those that `to_event` took from it.
    """
    if not isinstance(fn, WRAPPERS):
        return None
    inner = entry_mask(fn.base_dist)
    if not isinstance(fn, dist.MaskedDistribution) or fn._mask is True:
        return inner
    own = jnp.broadcast_to(jnp.asarray(fn._mask), fn.batch_shape)
    own = own.reshape(*own.shape, *(1,) * n_taken(fn))
    return own if inner is None else own & inner


def n_taken(fn: dist.Distribution) -> int:
    """Count the dimensions that `to_event` took from the batch of a distribution."""
    if not isinstance(fn, WRAPPERS):
        return 0
    own = fn.reinterpreted_batch_ndims if isinstance(fn, dist.Independent) else 0
    return own + n_taken(fn.base_dist)
