"""Metrics of the kinetic energy: diagonal, dense, or blocks of both, over one flat vector.

Every block has the inverse mass of its coordinates, which estimates their posterior covariance, and
the root of its mass, which turns standard normals into momenta.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from scalecheck.sampler.types import Number, Vector

Vectors = Float[Array, "*batch d"]


class Part(NamedTuple):
    """Reparameterisation that share a block.

    Attributes
    ----------
    places
        `(n,)` numbers of the coordinates.
    dense
        Whether the block is a matrix.
    """

    places: Int[np.ndarray, " n"]
    dense: bool

    def take(self, vector: Vectors) -> Float[Array, "*batch n"]:
        """Take the coordinates `(..., n)` of a vector `(..., d)`."""
        is_all = np.array_equal(self.places, np.arange(vector.shape[-1]))
        return vector if is_all else vector[..., self.places]


Layout = tuple[Part, ...]


class Metric(NamedTuple):
    """A metric.

    Attributes
    ----------
    inverse
        By part: `(n,)` or `(n, n)`.
    root
        By part: of its mass, `(n,)` or `(n, n)`.
    """

    inverse: tuple[Float[Array, "..."], ...]
    root: tuple[Float[Array, "..."], ...]


def lay_out(z: Mapping[str, Any], dense: Sequence[Sequence[str]]) -> Layout:
    """Find the coordinates of each block in the flat vector of some sites.

    Parameters
    ----------
    z
        Sites of one chain.
    dense
        Blocks of sites with a dense metric; all others share a diagonal one.
    """
    sizes = {name: int(np.size(value)) for name, value in z.items()}
    names = sorted(sizes)  # the order of ravel_pytree
    stops = dict(zip(names, np.cumsum([sizes[name] for name in names]), strict=True))
    index = {name: np.arange(stops[name] - sizes[name], stops[name]) for name in names}
    blocks = [Part(np.concatenate([index[name] for name in block]), True) for block in dense]
    rest = [index[name] for name in names if not any(name in block for block in dense)]
    return (*blocks, *([Part(np.concatenate(rest), False)] if rest else []))


def identity(layout: Layout, dtype: Any) -> Metric:
    """Give the metric that warmup begins with."""
    parts = tuple(
        jnp.eye(len(part.places), dtype=dtype) if part.dense else jnp.ones(len(part.places), dtype)
        for part in layout
    )
    return Metric(parts, parts)


def of_variances(layout: Layout, variances: Vector) -> Metric:
    """Give the diagonal metric whose inverse mass is `(d,)`, for a layout without dense parts."""
    parts = tuple(part.take(variances) for part in layout)
    return Metric(parts, tuple(jax.lax.rsqrt(part) for part in parts))


def velocity(layout: Layout, metric: Metric, r: Vectors) -> Vectors:
    """Multiply momenta `(..., d)` by the inverse mass."""
    return _apply(layout, metric.inverse, r)


def momentum(layout: Layout, metric: Metric, normal: Vector) -> Vector:
    """Turn standard normals `(d,)` into momenta."""
    return _apply(layout, metric.root, normal)


def kinetic(layout: Layout, metric: Metric, r: Vector) -> Number:
    """Kinetic energy of momenta `(d,)`."""
    return 0.5 * jnp.dot(r, velocity(layout, metric, r))


def is_turning(
    layout: Layout, metric: Metric, one: Vectors, other: Vectors, total: Vectors
) -> Bool[Array, "*batch"]:
    """Generalised U-turn criterion (Betancourt 2017) of momenta at both ends `(..., d)` and their sum.

    As in Stan and NumPyro, half of each end is left out of the sum.
    """
    along = velocity(layout, metric, total - 0.5 * (one + other))
    return (jnp.sum(one * along, axis=-1) <= 0) | (jnp.sum(other * along, axis=-1) <= 0)


def diagonal(layout: Layout, metric: Metric) -> Vector:
    """Diagonal `(d,)` of the inverse mass."""
    parts = zip(layout, metric.inverse, strict=True)
    return _together(layout, [jnp.diagonal(v) if part.dense else v for part, v in parts])


def _apply(layout: Layout, parts: Sequence[Float[Array, "..."]], vector: Vectors) -> Vectors:
    # Rows times the transpose: the root of a dense mass is triangular.
    return _together(
        layout,
        [
            part.take(vector) @ values.T if part.dense else part.take(vector) * values
            for part, values in zip(layout, parts, strict=True)
        ],
    )


def _together(layout: Layout, parts: Sequence[Float[Array, "..."]]) -> Float[Array, "..."]:
    """Put coordinates `(..., n)` of all parts in their places `(..., d)`."""
    joined = jnp.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
    places = np.concatenate([part.places for part in layout])
    order = np.argsort(places)
    return joined if (order == np.arange(len(order))).all() else joined[..., order]
