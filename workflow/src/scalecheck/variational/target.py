"""What is approximated: the posterior of a batch as one vector, its likelihood from a minibatch of rows."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from scalecheck.errors import StudyError
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.sites import ROWS

Arrays = Mapping[str, Any]

# Draws from the prior whose median is where an approximation begins.
_PRIOR_DRAWS = 32
# The minibatches of a partition of few rows must add up to all of them, in units of their log likelihood.
_FEW, _TOLERANCE = 256, 1e-3


class SharedLayout(NamedTuple):
    """How all latent sites lie in one vector, unconstrained: the compared sites first.

    Attributes
    ----------
    shapes
        Unconstrained shape by site, in the order of the vector.
    n_shared
        Elements of the compared sites.
    """

    shapes: dict[str, tuple[int, ...]]
    n_shared: int

    @property
    def size(self) -> int:
        """Elements of all sites."""
        return sum(map(math.prod, self.shapes.values()))

    @property
    def vector(self) -> density.Vector:
        """What packs and unpacks it; without names, which millions of elements would have."""
        return density.Vector((), self.shapes)


def layout_of(batch: Batch) -> SharedLayout:
    """Lay out the latent sites of a batch of one fit."""
    shapes = density.unconstrained(batch.function, batch.arrays_of())
    names = [*batch.vector.shapes, *(name for name in shapes if name not in batch.vector.shapes)]
    return SharedLayout({name: shapes[name].shape for name in names}, len(batch.vector.names))


class scale_rows(numpyro.primitives.Messenger):  # noqa: N801  (named as NumPyro's handlers are)
    """Multiply the log likelihood of the observed site: `numpyro.handlers.scale` would scale the prior too."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        super().__init__(lambda: None)

    def process_message(self, msg: dict[str, Any]) -> None:
        """Scale what is observed."""
        if msg["type"] == "sample" and msg["is_observed"] and not isinstance(msg["fn"], dist.Unit):
            scale = msg.get("scale")
            msg["scale"] = self.factor if scale is None else self.factor * scale


def energy_of(
    function: Callable[..., Any], layout: SharedLayout, factor: float
) -> Callable[[jax.Array, Arrays], jax.Array]:
    """Give the potential energy, a scalar, of a vector `(d,)` and some rows that stand for `factor` times as many."""

    def scaled(**arrays: Any) -> Any:
        with scale_rows(factor):
            return function(**arrays)

    def energy(flat: jax.Array, arrays: Arrays) -> jax.Array:
        return density.potential(scaled)(**arrays)(layout.vector.unpack(flat))

    return energy


def first_guess(batch: Batch, layout: SharedLayout, key: jax.Array) -> jax.Array:
    """Median `(d,)` of draws from the prior, unconstrained.

    Raises
    ------
    StudyError
        Where the posterior has no density there.
    """
    function, arrays = batch.function, batch.arrays_of()
    keys = jax.random.split(key, _PRIOR_DRAWS)

    @jax.jit
    def guess(keys: jax.Array, arrays: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        drawn = density.prior_draws(function, list(layout.shapes), arrays, keys)
        z = jax.vmap(lambda one: layout.vector.pack(density.unconstrain(function, one, arrays)))(
            drawn
        )
        # A prior such as Gamma(0.001, 0.001) draws numbers that underflow.
        middle = jnp.nan_to_num(jnp.nanmedian(jnp.where(jnp.isfinite(z), z, jnp.nan), axis=0))
        return middle, energy_of(function, layout, 1.0)(middle, arrays)

    middle, energy = guess(keys, arrays)
    if not np.isfinite(energy):
        raise StudyError(
            f"{batch.bound.file}: the posterior has no finite density at the median of the prior, where a variational"
            " fit begins: use approximation.when: never"
        )
    return middle


def check_minibatches(batch: Batch, layout: SharedLayout, at: jax.Array, size: int) -> None:
    """Refuse minibatches of a model whose rows do not each add their part to the log likelihood.

    Parameters
    ----------
    at
        `(d,)` where it is tried.
    size
        Rows of a minibatch, for the message.

    Raises
    ------
    StudyError
        Names the key and what to use instead.
    """
    by_row = [s.name for s in batch.sites if s.kind == "latent" and ROWS in s.indexed_by]
    if not by_row and not batch.bound.n_rows and _adds_up(batch, layout, at):
        return
    what = (
        f"the latent site {by_row[0]} is indexed by rows"
        if by_row
        else "its density is no sum over rows"
    )
    raise StudyError(
        f"{batch.bound.file}: approximation.batch is {size}, but minibatches of rows do not do for this model, {what}:"
        f" use approximation.batch: {len(next(iter(batch.arrays_of().values())))} (all rows)"
    )


def _adds_up(batch: Batch, layout: SharedLayout, at: jax.Array) -> bool:
    """Whether the mean over the minibatches of a partition is the energy of all the rows of it.

    Held against the log likelihood of these rows: the prior of thousands of units would hide any difference.
    """
    with jax.enable_x64(True):
        arrays = density.in_double(batch.arrays_of())
        flat = jnp.asarray(np.asarray(at), "float64")
        n_half = min(len(next(iter(arrays.values()))), _FEW) // 2
        halves = [
            {name: values[start : start + n_half] for name, values in arrays.items()}
            for start in (0, n_half)
        ]
        whole = {name: values[: 2 * n_half] for name, values in arrays.items()}
        none, one, two = (
            jax.jit(energy_of(batch.function, layout, factor)) for factor in (0.0, 1.0, 2.0)
        )
        mean = sum(float(two(flat, half)) for half in halves) / 2
        likelihood = sum(abs(float(one(flat, half)) - float(none(flat, half))) for half in halves)
        return bool(abs(mean - float(one(flat, whole))) <= _TOLERANCE * likelihood)
