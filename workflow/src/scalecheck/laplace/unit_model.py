"""A model of units: its density unit by unit, given what all units share.

Given the compared parameters the units are independent. The log density of all of them is then a sum with one term for
each unit, and the Hessian by their latent values is made of small blocks: one derivative in a direction that all units
take at once gives a column of every block.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray
from numpyro.distributions import biject_to

from scalecheck.model import density, sites
from scalecheck.model.batches import Batch
from scalecheck.model.sites import Site, by_entry


class UnitBlock(NamedTuple):
    """Rows of some whole units, padded, as a program takes them.

    Attributes
    ----------
    arrays
        Model argument -> `(rows, ...)`, `row_mask` among them; the codes of units are local.
    codes
        `(rows,)` the unit of each row, in growing order.
    is_unit
        `(unit,)` False where a unit only fills the shape, or has no rows: it adds nothing to a marginal density.
    """

    arrays: dict[str, Any]
    codes: Any
    is_unit: Any


class UnitSite(NamedTuple):
    """A latent site of units: its name, which axis the units are, and the unconstrained shape of one unit's part."""

    name: str
    axis: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements that a unit has, unconstrained."""
        return int(np.prod(self.shape))


@dataclasses.dataclass(frozen=True, eq=False)
class UnitModel:
    """A model whose latent sites belong to units or are shared by all.

    Attributes
    ----------
    function_of
        Number of units -> the model as a function of the arrays of a block of so many.
    vector
        The compared sites as one vector `(d,)`, unconstrained.
    own
        Latent sites of units.
    observed
        Name of the observed site.
    code_names
        Arguments that take the code of the unit.
    by_logarithm
        `(d,)` which elements of the vector are logarithms: of the distance of a value to its one bound.
    """

    function_of: Callable[[int], Callable[..., Any]]
    vector: density.Vector
    own: tuple[UnitSite, ...]
    observed: str
    code_names: tuple[str, ...]
    by_logarithm: Bool[np.ndarray, " d"]

    @property
    def n_own(self) -> int:
        """Latent elements of a unit, k."""
        return sum(site.size for site in self.own)

    def log_density(
        self, theta: Float[Array, " d"], u: Float[Array, "unit k"], block: UnitBlock
    ) -> Float[Array, " unit"]:
        """Log density of each unit's rows and latent values, unconstrained, given `theta`; 0 for what is no unit."""
        trace, z = self._trace(theta, u, block)
        n_units = len(block.is_unit)
        of_row = density.log_prob_by_row(trace[self.observed])
        total = jax.ops.segment_sum(of_row, block.codes, n_units, indices_are_sorted=True)
        return jnp.where(block.is_unit, total + self._of_units(trace, z, n_units), 0.0)

    def log_prior_of_units(
        self, theta: Float[Array, " d"], u: Float[Array, "unit k"], block: UnitBlock
    ) -> Float[Array, " unit"]:
        """Log density of each unit's latent values alone, unconstrained, given `theta`; 0 for what is no unit."""
        trace, z = self._trace(theta, u, block)
        return jnp.where(block.is_unit, self._of_units(trace, z, len(block.is_unit)), 0.0)

    def _of_units(
        self, trace: dict[str, Any], z: dict[str, jax.Array], n_units: int
    ) -> Float[Array, " unit"]:
        total = jnp.zeros(n_units)
        for site in self.own:
            at, own = trace[site.name], by_entry(trace[site.name]["fn"])
            prior = density.scaled(at, own.log_prob(at["value"]))
            # Of an event that holds all units, the volume would be that of all.
            change = biject_to(own.support)
            volume = change.log_abs_det_jacobian(z[site.name], at["value"])
            total += _sum_but(prior, site.axis) + _sum_but(volume, site.axis)
        return total

    def log_prior(self, theta: Float[Array, " d"], block: UnitBlock) -> Float[Array, ""]:
        """Log density of the compared sites alone, unconstrained."""
        u = jnp.zeros((len(block.is_unit), self.n_own), theta.dtype)
        trace, z = self._trace(theta, u, block)
        total = jnp.zeros((), theta.dtype)
        for name in self.vector.shapes:
            at = trace[name]
            change = biject_to(at["fn"].support)
            total += density.scaled(at, at["fn"].log_prob(at["value"])).sum()
            total += change.log_abs_det_jacobian(z[name], at["value"]).sum()
        return total

    def values(
        self, theta: Float[Array, " d"], u: Float[Array, "unit k"], block: UnitBlock
    ) -> dict[str, jax.Array]:
        """Latent sites of units on the model's scale, the units first: `(unit, ...)`."""
        trace, _ = self._trace(theta, u, block)
        return {
            site.name: jnp.moveaxis(trace[site.name]["value"], site.axis, 0) for site in self.own
        }

    def prior_draw(
        self, theta: Float[Array, " d"], block: UnitBlock, key: PRNGKeyArray
    ) -> Float[Array, "unit k"]:
        """Draw the latent values of units given `theta`, unconstrained."""
        function = self.function_of(len(block.is_unit))
        trace = density.traced_at(function, self.vector.unpack(theta), block.arrays, key=key)
        drawn = {
            site.name: biject_to(trace[site.name]["fn"].support).inv(trace[site.name]["value"])
            for site in self.own
        }
        return self.pack(drawn)

    def _trace(
        self, theta: Float[Array, " d"], u: Float[Array, "unit k"], block: UnitBlock
    ) -> tuple[dict[str, Any], dict[str, jax.Array]]:
        z = {**self.vector.unpack(theta), **self.unpack(u)}
        return density.traced_at(self.function_of(len(block.is_unit)), z, block.arrays), z

    def unpack(self, u: Float[Array, "unit k"]) -> dict[str, jax.Array]:
        """Split the latent values of units into their sites, in the shapes that the model gives them."""
        ends = np.cumsum([site.size for site in self.own])[:-1]
        parts = jnp.split(u, ends.tolist(), axis=1)
        return {
            site.name: jnp.moveaxis(part.reshape(len(u), *site.shape), 0, site.axis)
            for site, part in zip(self.own, parts, strict=True)
        }

    def pack(self, z: Mapping[str, Any], n_leading: int = 0) -> jax.Array:
        """Join sites of units, unconstrained, into `(..., unit, k)`."""
        parts = [jnp.moveaxis(z[site.name], site.axis + n_leading, n_leading) for site in self.own]
        return jnp.concatenate(
            [part.reshape(*part.shape[: n_leading + 1], -1) for part in parts], axis=-1
        )


def _sum_but(values: jax.Array, axis: int) -> jax.Array:
    return values.sum(axis=tuple(i for i in range(values.ndim) if i != axis))


def unit_model_of(batch: Batch) -> UnitModel:
    """Give the density unit by unit of a batch for which `why_not_by_unit` has no reason.

    The same for the same function: what was compiled of it serves all fits of a process.
    """
    key = batch.function, batch.unit, batch.vector.names
    if key not in _known:
        if len(_known) >= _MOST_KNOWN:
            del _known[next(iter(_known))]
        _known[key] = _unit_model(batch)
    return _known[key]


def _unit_model(batch: Batch) -> UnitModel:
    shapes = density.unconstrained(batch.function, batch.arrays_of())
    own = tuple(_unit_site(site, shapes[site.name].shape) for site in hidden_sites(batch))
    # Not the batch, which has rows.
    bound, counts = batch.bound, batch.counts
    counted = {name for name, column in bound.counts.items() if column == batch.unit}

    def function_of(n_units: int) -> Callable[..., Any]:
        return sites.function_of_arrays(bound, {**counts, **dict.fromkeys(counted, n_units)})

    codes = tuple(n for n, a in bound.arguments.items() if a.columns == (batch.unit,))
    observed = sites.observed_site(batch.bound, batch.sites).name
    by_logarithm = batch.vector.elements_of(
        density.sites_by_logarithm(batch.function, batch.arrays_of())
    )
    return UnitModel(function_of, batch.vector, own, observed, codes, by_logarithm)


# Models by their functions, the last few.
_MOST_KNOWN = 8
_known: dict[tuple[Any, ...], UnitModel] = {}


def units_of(batch: Batch) -> int:
    """Number of units for which a batch has latent values, be they without rows in a fit."""
    site = hidden_sites(batch)[0]
    shape = density.unconstrained(batch.function, batch.arrays_of())[site.name].shape
    return int(shape[site.plates[0][1]])


def hidden_sites(batch: Batch) -> list[Site]:
    """Give the latent sites that are not compared across fits."""
    return [s for s in batch.sites if s.kind == "latent" and s.name not in batch.vector.shapes]


def _unit_site(site: Site, shape: tuple[int, ...]) -> UnitSite:
    axis = site.plates[0][1]
    return UnitSite(site.name, axis, tuple(n for i, n in enumerate(shape) if i != axis))
