"""What the distribution of the observed site says of its rows."""

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Bool

from scalecheck.model.masks import entry_mask, n_taken


def row_mask_of(fn: dist.Distribution, n_rows: int) -> Bool[Array, " row"] | None:
    """Give the mask of rows `(rows,)` of an observed site, or None where its distribution has none.

    A row is False, and has no log likelihood, where every entry of it is masked. Its outcome is then a placeholder.
    """
    mask = entry_mask(fn)
    if mask is None:
        return None
    if fn.batch_shape[:1] != (n_rows,):
        return jnp.full(
            n_rows, mask.any()
        )  # without a plate a distribution need not know of the rows
    shape = (n_rows, *(1,) * (len(fn.batch_shape) + n_taken(fn) - 1))
    full = jnp.broadcast_to(mask, jnp.broadcast_shapes(mask.shape, shape))
    return full.reshape(n_rows, -1).any(axis=1)
