"""What becomes of the draws of a fit: some sites are held, of the others moments are streamed.

A block of iterations is folded into the moments on the device when it ends, in the order of its draws:
the loop of the block knows nothing of it, and how a run is cut into blocks changes no bit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from scalecheck.sampler import streaming_moments
from scalecheck.sampler.streaming_moments import StreamingMoments, Welford
from scalecheck.sampler.types import Count, Flag, Vector
from scalecheck.sampler.warmup_adaptation import where

Shapes = dict[str, tuple[int, ...]]


class Streams(NamedTuple):
    """Which draws are held.

    Attributes
    ----------
    held
        Latent sites whose draws are held.
    reduced
        `(unconstrained sites, data) -> sites` of which moments are streamed.
    """

    held: Sequence[str]
    reduced: Callable[[Any, Any], Any]


class Streamed(NamedTuple):
    """Moments of a lane's draws so far.

    Attributes
    ----------
    z
        `(d,)` the unconstrained vector: what a warm start needs of sites that are not held.
    sites
        `(m,)` the sites that are reduced.
    """

    z: Welford
    sites: StreamingMoments


class MomentSizes(NamedTuple):
    """What is streamed of a lane: its vector, and so many numbers of this type.

    Attributes
    ----------
    size, dtype
        Of the sites that are reduced, together.
    """

    size: int
    dtype: Any

    def none_yet(self, z: Vector) -> Streamed:
        """Give the moments of a lane that has no draws, by a start `(d,)`."""
        return Streamed(
            streaming_moments.no_spread(len(z), z.dtype),
            streaming_moments.no_moments(self.size, self.dtype),
        )


class Reduced(NamedTuple):
    """What is left of a fit beside the draws that are held.

    Attributes
    ----------
    last, z_mean, z_variance
        By latent site, unconstrained: where the chains ended `(chain, ...)`; moments over all draws
        `(...)`.
    mean, variance
        By reduced site: of each chain, `(chain, ...)`; divided by one less than the draws.
    quantiles
        By reduced site `(3, ...)`: those of `streaming_moments.QUANTILES`, of all chains together.
    """

    last: dict[str, Float[np.ndarray, "chain ..."]]
    z_mean: dict[str, Float[np.ndarray, "..."]]
    z_variance: dict[str, Float[np.ndarray, "..."]]
    mean: dict[str, Float[np.ndarray, "chain ..."]]
    variance: dict[str, Float[np.ndarray, "chain ..."]]
    quantiles: dict[str, Float[np.ndarray, "3 ..."]]


class Flow:
    """How the vectors of one shape of fits are split.

    Parameters
    ----------
    streams
        What is held; None for all, and nothing is reduced.
    z
        Unconstrained sites of one chain.
    arrays
        Data of one fit.
    """

    def __init__(
        self, streams: Streams | None, z: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> None:
        self.streams = streams
        self.shapes = _shapes(z)
        self.held = {
            name: shape
            for name, shape in self.shapes.items()
            if streams is None or name in streams.held
        }
        # `(k,)` numbers of the coordinates that are held.
        starts = dict(zip(self.shapes, _starts(self.shapes), strict=True))
        self.places = np.concatenate(
            [np.arange(starts[n], starts[n] + np.prod(s, dtype=int)) for n, s in self.held.items()]
            or [np.zeros(0, int)]
        )
        self.reduced: Shapes = {}
        self.moments: MomentSizes | None = None
        if streams is not None:
            self.reduced = _shapes(jax.eval_shape(streams.reduced, dict(z), dict(arrays)))
            values = jax.eval_shape(self._values, dict(z), dict(arrays))
            self.moments = MomentSizes(values.size, values.dtype)

    def unravel(self, vector: Vector) -> dict[str, Float[Array, "..."]]:
        """Split a vector `(d,)` into unconstrained sites, in the order of `ravel_pytree`."""
        parts = jnp.split(vector, _starts(self.shapes)[1:])
        return {
            name: part.reshape(shape)
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }

    def reduced_like(self) -> Reduced | None:
        """Give what a fit is reduced to, without its numbers."""
        if self.streams is None:
            return None
        nothing = np.zeros(0)
        latent, reduced = (dict.fromkeys(names, nothing) for names in (self.shapes, self.reduced))
        return Reduced(latent, latent, latent, reduced, reduced, reduced)

    def sites(self, held: Float[np.ndarray, "*dims k"]) -> dict[str, Float[np.ndarray, "..."]]:
        """Split vectors of what is held `(..., k)` into sites."""
        return split(held, self.held)

    def _values(self, z: Any, arrays: Any) -> Float[Array, " m"]:
        assert self.streams is not None
        return ravel_pytree(self.streams.reduced(z, arrays))[0]

    def fold(
        self,
        streamed: Streamed,
        rows: Float[Array, "fit chain room d"],
        first: Int[Array, "fit chain"],
        stop: Int[Array, "fit chain"],
        arrays: Mapping[str, Any],
    ) -> Streamed:
        """Add draws to the moments of all lanes.

        Parameters
        ----------
        rows
            `(fit, chain, room, d)` unconstrained.
        first, stop
            `(fit, chain)` which of them are draws.
        arrays
            Data `(fit, ...)`.
        """

        def one(streamed: Streamed, z: Vector, counts: Flag, arrays: Any) -> Streamed:
            values = self._values(self.unravel(z), arrays)
            added = Streamed(
                streaming_moments.add_to_spread(streamed.z, z),
                streaming_moments.add(streamed.sites, values),
            )
            return where(counts, added, streamed)

        lanes = jax.vmap(jax.vmap(one, (0, 0, 0, None)))

        def add(i: Count, streamed: Streamed) -> Streamed:
            row = lax.dynamic_index_in_dim(rows, i, axis=2, keepdims=False)
            return lanes(streamed, row, (first <= i) & (i < stop), dict(arrays))

        return lax.fori_loop(first.min(), stop.max(), add, streamed)

    def finish(self, streamed: Any, last: Float[np.ndarray, "chain d"]) -> Reduced:
        """Say what the chains of a fit were reduced to.

        Parameters
        ----------
        streamed
            `Streamed` with a leading dim `(chain,)`.
        last
            `(chain, d)` where they ended.
        """
        z, sites = streamed.z, streamed.sites.spread
        # `(chain, 1)`: equally many, but of a fit that was ended before, whose chains count alike.
        n = np.asarray(z.n)[:, None]
        z_variance = (z.squares / np.maximum(n, 1)).mean(axis=0) + z.mean.var(axis=0)
        variance = sites.squares / np.maximum(n - 1, 1)
        found = np.asarray(_quantiles(jax.tree.map(jnp.asarray, streamed.sites)))
        return Reduced(
            split(last, self.shapes),
            split(z.mean.mean(axis=0), self.shapes),
            split(z_variance, self.shapes),
            split(sites.mean, self.reduced),
            split(variance, self.reduced),
            split(found, self.reduced),
        )


class BlockStream:
    """Moments of the fits of a batch, on the device: the draws of a block come to the host as far as they are held."""

    def __init__(
        self, streams: Streams | None, starts: Mapping[str, Any], arrays: Mapping[str, Any]
    ) -> None:
        first = {name: jnp.asarray(values[0, 0]) for name, values in starts.items()}
        own = {name: values[0] for name, values in arrays.items()}
        self.flow = Flow(streams, first, own)
        self._n_lanes = next(iter(starts.values())).shape[:2]
        moments = self.flow.moments
        self._none_yet = moments and moments.none_yet(ravel_pytree(first)[0])
        self._fold = jax.jit(self._fold_block)
        self.begin(arrays)

    def begin(self, arrays: Mapping[str, Any]) -> None:
        """Begin anew, with data `(fit, ...)`: what is compiled serves other fits of the shape, too."""
        self.arrays = arrays

        def spread(x: jax.Array) -> jax.Array:
            return jnp.broadcast_to(x, (*self._n_lanes, *x.shape))

        self.streamed: Streamed | None = jax.tree.map(spread, self._none_yet)

    def _fold_block(self, streamed: Any, z: Any, n: Int[Array, " fit"], arrays: Any) -> Any:
        by_chain = jax.tree.map(lambda values: jnp.swapaxes(values, 1, 2), z)
        rows = jax.vmap(_flat_by_chain)(by_chain)
        stop = jnp.broadcast_to(n[:, None], rows.shape[:2])
        return self.flow.fold(streamed, rows, jnp.zeros_like(stop), stop, arrays)

    def add(self, z: Any, n: Int[np.ndarray, " fit"]) -> None:
        """Add a block's first n draws `(fit,)` of sites `(fit, draw, chain, ...)`."""
        if self.streamed is not None:
            self.streamed = self._fold(self.streamed, z, n, self.arrays)

    def finish(self, z: Any) -> list[Reduced] | None:
        """Say what the fits were reduced to whose chains ended at `(fit, chain, ...)`."""
        if self.streamed is None:
            return None
        streamed, last = jax.tree.map(np.asarray, (self.streamed, _flat_by_chain(z)))
        return [
            self.flow.finish(jax.tree.map(lambda x, i=i: x[i], streamed), last[i])
            for i in range(len(last))
        ]


# Sites `(fit, chain, ...)` as vectors `(fit, chain, d)`.
_flat_by_chain = jax.vmap(jax.vmap(lambda z: ravel_pytree(z)[0]))
_quantiles = jax.jit(streaming_moments.quantiles)


def split(
    vectors: Float[np.ndarray, "*dims n"], shapes: Shapes
) -> dict[str, Float[np.ndarray, "..."]]:
    """Split vectors `(..., n)` into sites of these shapes, in the order of `ravel_pytree`."""
    parts = np.split(vectors, _starts(shapes)[1:], axis=-1) if shapes else []
    return {
        name: part.reshape((*vectors.shape[:-1], *shape))
        for part, (name, shape) in zip(parts, shapes.items(), strict=True)
    }


def _shapes(sites: Mapping[str, Any]) -> Shapes:
    return {name: tuple(np.shape(sites[name])) for name in sorted(sites)}


def _starts(shapes: Shapes) -> list[int]:
    sizes = [int(np.prod(shape, dtype=int)) for shape in shapes.values()]
    return np.cumsum([0, *sizes[:-1]]).tolist()
