"""The log marginal density of what units share, over all rows, block by block."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, Real

from scalecheck.laplace import log_marginal, unit_integrals, unit_modes
from scalecheck.laplace.unit_blocks import block_of, plan_blocks, rows_by_unit
from scalecheck.laplace.unit_integrals import UnitIntegrals, integrate_units
from scalecheck.laplace.unit_model import UnitBlock, UnitModel, unit_model_of
from scalecheck.laplace.unit_modes import UnitModes, find_modes
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.rows import RowArrays

# Draws from the prior whose median is where modes are looked for first.
_PRIOR_DRAWS = 200
# Effective draws that a unit needs where its mode is not found.
_FEWEST = 8
# Draws of theta that a program goes through in one call.
DRAWS_AT_ONCE = 16

Theta = Float[np.ndarray, " d"]


class Evaluated(NamedTuple):
    """Log marginal density at a theta, and its gradient `(d,)`."""

    value: float
    gradient: Float[np.ndarray, " d"]


class PriorScale(NamedTuple):
    """Median and sd of draws of theta from the prior, `(d,)`, and median of those of a unit `(k,)`, unconstrained."""

    median: Theta
    sd: Theta
    of_unit: Float[np.ndarray, " k"]


class MarginalDensity:
    """Rows in blocks, what is compiled for them, and the modes of all units where they were found last.

    Parameters
    ----------
    batch
        Of one fit, for which `why_not_by_unit` has no reason.
    """

    def __init__(self, batch: Batch) -> None:
        self.model: UnitModel = unit_model_of(batch)
        self._arrays = batch.arrays_of()
        self._order = rows_by_unit(
            self._arrays, self.model.code_names, self._arrays.get("row_mask")
        )
        self.shape, self.runs = plan_blocks(self._order, self.model.n_own)
        self.n_rows, self.n_units = len(self._order.rows), self._order.n_units
        self.dtype = "float64" if jax.config.jax_enable_x64 else "float32"
        self.blocks = self._cut(self._arrays)
        self.prior = _prior_of(self.model, self.blocks[0])
        self.modes = self._first_modes()
        self._log_prior = jax.jit(jax.value_and_grad(self.model.log_prior))
        self._log_priors = jax.jit(jax.vmap(self.model.log_prior, in_axes=(0, None)))

    def _cut(self, arrays: RowArrays) -> list[UnitBlock]:
        return [
            jax.tree.map(jnp.asarray, block_of(self.model, arrays, self._order, *run, self.shape))
            for run in self.runs
        ]

    def _first_modes(self) -> list[jax.Array]:
        start = np.broadcast_to(self.prior.of_unit, (self.shape.n_units, self.model.n_own))
        return [jnp.asarray(start, self.dtype)] * len(self.runs)

    def renew(self, name: str, values: Real[np.ndarray, "row ..."]) -> None:
        """Take other values `(rows, ...)` of an argument, and begin anew: what is compiled serves them, too."""
        self.blocks = self._cut({**self._arrays, name: values})
        self.modes = self._first_modes()

    @property
    def size(self) -> int:
        """Number of compared parameters, d."""
        return len(self.model.vector.names)

    def theta(self, values: Float[np.ndarray, "*draw d"]) -> jax.Array:
        """Put a theta `(d,)` on the device, or some, `(draw, d)`."""
        return jnp.asarray(values, self.dtype)

    def each(self, work: Callable[[int], Any], chosen: Sequence[int]) -> list[Any]:
        """Do some work for some blocks, by number: as many at once as there are processors."""
        if jax.default_backend() != "cpu" or len(chosen) == 1:
            return [work(number) for number in chosen]
        device, in_double = jax.config.jax_default_device, jax.config.jax_enable_x64

        def there(number: int) -> Any:
            # Settings of JAX belong to a thread.
            with jax.default_device(device), jax.enable_x64(in_double):
                return work(number)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            return list(pool.map(there, chosen))

    def evaluate(
        self,
        values: Theta,
        chosen: Sequence[int] | None = None,
        *,
        moves: bool = True,
        corrected: bool = False,
    ) -> Evaluated:
        """Give log p(theta, y) of all blocks, or of some; sums of blocks are in float64.

        Parameters
        ----------
        moves
            Whether the modes found are where the next ones are looked for.
        corrected
            Whether units are integrated by importance sampling; else by Laplace's method.
        """
        theta, chosen = self.theta(values), range(len(self.blocks)) if chosen is None else chosen

        def one(number: int) -> tuple[float, np.ndarray]:
            where = self.model, theta, self.modes[number], self.blocks[number]
            if corrected:
                key = unit_integrals.key_of_block(number)
                found = unit_integrals.corrected_and_gradient(*where, key)
            else:
                found = log_marginal.marginal_and_gradient(*where)
            total = float(np.asarray(found.by_unit, "float64").sum())
            gradient = np.asarray(found.gradient, "float64")
            if moves and np.isfinite(total):
                self.modes[number] = found.modes.u
            return total, gradient

        value, gradient = self._log_prior(theta, self.blocks[0])
        parts = self.each(one, chosen)
        return Evaluated(
            float(value) + sum(part[0] for part in parts),
            np.asarray(gradient, "float64") + sum(part[1] for part in parts),
        )

    def settle(self, values: Theta, chosen: Sequence[int] | None = None) -> None:
        """Look for the modes with the most mass at a theta `(d,)`, from more than one start: units may have several.

        Of all blocks, or of those chosen.
        """
        theta = self.theta(values)

        def one(number: int) -> None:
            key = unit_integrals.key_of_block(number)
            where = self.model, theta, self.modes[number], self.blocks[number]
            self.modes[number] = unit_modes.best_modes(*where, key)

        self.each(one, range(len(self.blocks)) if chosen is None else chosen)

    def log_prior(self, thetas: Float[np.ndarray, "draw d"]) -> Float[np.ndarray, " draw"]:
        """Log prior density `(draw,)` of some thetas."""
        return np.asarray(self._log_priors(self.theta(thetas), self.blocks[0]), "float64")


def _prior_of(model: UnitModel, block: UnitBlock) -> PriorScale:
    names = [*model.vector.shapes, *(site.name for site in model.own)]
    function = model.function_of(len(block.is_unit))

    @jax.jit
    def draw(key: PRNGKeyArray, arrays: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        drawn = density.prior_draws(function, names, arrays, jax.random.split(key, _PRIOR_DRAWS))
        z = jax.vmap(lambda one: density.unconstrain(function, one, arrays))(drawn)
        return model.vector.pack(z, 1), model.pack(z, 1)[:, 0]

    # A prior such as Gamma(0.001, 0.001) draws numbers that underflow.
    theta, own = (
        np.where(np.isfinite(one), one, np.nan)
        for one in map(np.asarray, draw(jax.random.PRNGKey(0), block.arrays))
    )
    sd = np.nan_to_num(np.nanstd(theta, axis=0), nan=1.0)
    middle, of_unit = (np.nan_to_num(np.nanmedian(one, axis=0)) for one in (theta, own))
    return PriorScale(middle.astype("float64"), np.maximum(sd, 1e-3), of_unit)


class Integrated(NamedTuple):
    """What a block adds to the log density of some thetas, beside what it adds at a first one.

    Attributes
    ----------
    plain, corrected
        `(draw,)` by Laplace's method, and by importance sampling in every unit.
    fewest, lost
        `(draw,)` smallest effective number of a unit's draws; units without a mode that so few draws are left to.
    """

    plain: Any
    corrected: Any
    fewest: Any
    lost: Any


@functools.partial(jax.jit, static_argnums=0)
def integrate_block(
    model: UnitModel,
    thetas: jax.Array,
    at: jax.Array,
    start: jax.Array,
    block: UnitBlock,
    key: PRNGKeyArray,
) -> Integrated:
    """Integrate a block's units at thetas `(draw, d)`: the sum over units of what is more than at `at` `(d,)`."""

    def both(theta: jax.Array, start: jax.Array) -> tuple[UnitModes, jax.Array, UnitIntegrals]:
        modes = find_modes(model, theta, start, block)
        integrals = integrate_units(model, theta, modes, block, key)
        return modes, log_marginal.laplace_by_unit(modes, block), integrals

    first, plain, exact = both(at, start)

    def one(theta: jax.Array) -> Integrated:
        modes, laplace, integrals = both(theta, first.u)
        effective = jnp.where(block.is_unit, integrals.effective, jnp.inf)
        return Integrated(
            (laplace - plain).sum(),
            (integrals.by_unit - exact.by_unit).sum(),
            effective.min(),
            (~modes.found & ~(effective >= _FEWEST)).sum(),
        )

    return jax.lax.map(one, thetas)
