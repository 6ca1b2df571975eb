"""The log marginal density of what units share, over all rows, block by block."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, Real

from scalecheck.laplace import log_marginal, unit_integrals, unit_shapes
from scalecheck.laplace.unit_blocks import (
    BlockShape,
    Runs,
    UnitOrder,
    block_of,
    plan_blocks,
    rows_by_unit,
)
from scalecheck.laplace.unit_integrals import UnitIntegrals, integrate_units
from scalecheck.laplace.unit_model import UnitBlock, UnitModel, unit_model_of, units_of
from scalecheck.laplace.unit_modes import UnitModes, find_modes
from scalecheck.laplace.unit_start import UnitStart, first_start, stack_parts, start_of
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.rows import RowArrays

# Draws from the prior whose median is where modes are looked for first.
_PRIOR_DRAWS = 200
# Effective draws that a unit needs where its mode is not found; share of pairs of a unit and a theta without both.
_FEWEST, _MOST_LOST = 8, 1e-3
# Of keys of blocks: that of the draws by which shapes are measured. `split` gives those of small numbers.
_FOR_SHAPES = 1_000_000
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


class BatchPlan(NamedTuple):
    """Rows of each fit of a batch by unit, and their blocks, which have one shape."""

    orders: list[UnitOrder]
    shape: BlockShape
    runs: list[Runs]


def plan_batch(batch: Batch) -> BatchPlan:
    """Sort the rows of each fit of a batch by unit, and cut them into blocks."""
    model, n_units = unit_model_of(batch), units_of(batch)
    orders = [
        rows_by_unit(one, model.code_names, one.get("row_mask"), n_units)
        for one in map(batch.arrays_of, range(len(batch.tasks)))
    ]
    return BatchPlan(orders, *plan_blocks(orders, model.n_own))


class MarginalDensity:
    """Rows in blocks, what is compiled for them, and where all units were last: their modes and shapes.

    Parameters
    ----------
    batch
        For which `why_not_by_unit` has no reason.
    number
        Of the fit in the batch.
    plan
        That of the batch; None to make it.
    numbers
        Which random numbers the integrals have.
    """

    def __init__(
        self, batch: Batch, number: int = 0, plan: "BatchPlan | None" = None, numbers: int = 0
    ) -> None:
        self.model: UnitModel = unit_model_of(batch)
        self.numbers = numbers
        self._arrays = batch.arrays_of(number)
        plan = plan or plan_batch(batch)
        self._order, self.shape, self.runs = plan.orders[number], plan.shape, plan.runs[number]
        self.n_rows, self.n_units = len(self._order.rows), self._order.n_units
        self.dtype = "float64" if jax.config.jax_enable_x64 else "float32"
        self.blocks = self._cut(self._arrays)
        self.prior = _prior_of(self.model, self.blocks[0])
        self.starts = self._first_starts()

    def _cut(self, arrays: RowArrays) -> list[UnitBlock]:
        return [
            jax.tree.map(jnp.asarray, block_of(self.model, arrays, self._order, *run, self.shape))
            for run in self.runs
        ]

    def _first_starts(self) -> list[UnitStart]:
        n_units, k = self.shape.n_units, self.model.n_own
        u = jnp.asarray(np.broadcast_to(self.prior.of_unit, (n_units, k)), self.dtype)
        return [first_start(u)] * len(self.runs)

    def state(self) -> dict[str, np.ndarray]:
        """Give the starts of all blocks by name, `(block, ...)`, as they are saved."""
        return stack_parts(self.starts)

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` gave, `(block, ...)` by name; other names are left alone."""
        stacked = start_of(state)
        self.starts = [
            jax.tree.map(lambda values, i=i: jnp.asarray(values[i]), stacked)
            for i in range(len(self.runs))
        ]

    def renew(self, name: str, values: Real[np.ndarray, "row ..."]) -> None:
        """Take other values `(rows, ...)` of an argument, and begin anew: what is compiled serves them, too."""
        self.blocks = self._cut({**self._arrays, name: values})
        self.starts = self._first_starts()

    @property
    def size(self) -> int:
        """Number of compared parameters, d."""
        return len(self.model.vector.names)

    def theta(self, values: Float[np.ndarray, "*draw d"]) -> jax.Array:
        """Put a theta `(d,)` on the device, or some, `(draw, d)`."""
        return jnp.asarray(values, self.dtype)

    def key_of(self, number: int, again: int = 0) -> PRNGKeyArray:
        """Key `(2,)` of the integrals of a block: the same for every theta; others each time `again`."""
        return unit_integrals.key_of_block(number, self.numbers + again)

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
            start, block = self.starts[number], self.blocks[number]
            if corrected:
                found = unit_integrals.corrected_and_gradient(
                    self.model, theta, start, block, self.key_of(number)
                )
            else:
                found = log_marginal.marginal_and_gradient(self.model, theta, start.u, block)
            total = float(np.asarray(found.by_unit, "float64").sum())
            gradient = np.asarray(found.gradient, "float64")
            if moves and np.isfinite(total):
                self.starts[number] = start.moved(found.modes.u)
            return total, gradient

        value, gradient = _prior_and_gradient(self.model, theta, self.blocks[0])
        parts = self.each(one, chosen)
        return Evaluated(
            float(value) + sum(part[0] for part in parts),
            np.asarray(gradient, "float64") + sum(part[1] for part in parts),
        )

    def settle(self, values: Theta, chosen: Sequence[int] | None = None) -> None:
        """Look for the modes with the most mass at a theta `(d,)`, and measure the shapes of units around them.

        Of all blocks, or of those chosen.
        """
        theta = self.theta(values)

        def one(number: int) -> None:
            key = jax.random.fold_in(self.key_of(number), _FOR_SHAPES)
            self.starts[number] = unit_shapes.measure_shapes(
                self.model, theta, self.starts[number], self.blocks[number], key
            )

        self.each(one, range(len(self.blocks)) if chosen is None else chosen)

    def integrate(
        self, number: int, thetas: Float[np.ndarray, "draw d"], at: Theta, again: int = 0
    ) -> "Integrated":
        """Integrate the units of a block at thetas `(draw, d)`: what they add, beside what they add at `at` `(d,)`.

        Parameters
        ----------
        again
            Number of the random numbers of the integrals: 0 are those of `evaluate`.
        """
        # Calls of one shape.
        n = len(thetas)
        padded = np.concatenate([thetas, np.repeat(thetas[-1:], -n % DRAWS_AT_ONCE, axis=0)])
        key = self.key_of(number, again)
        found = [
            _integrate_block(
                self.model,
                self.theta(padded[start : start + DRAWS_AT_ONCE]),
                self.theta(at),
                self.starts[number],
                self.blocks[number],
                key,
            )
            for start in range(0, len(padded), DRAWS_AT_ONCE)
        ]
        return Integrated(*(np.concatenate(part)[:n] for part in zip(*found, strict=True)))

    def add_up(self, parts: "Integrated", thetas: Float[np.ndarray, "draw d"]) -> "Integrated":
        """Add up what all blocks gave, `(block, draw)` each, and the prior's log density of the thetas `(draw, d)`."""
        log_prior = self.log_prior(thetas)
        return Integrated(
            np.asarray(parts.plain, "float64").sum(axis=0) + log_prior,
            np.asarray(parts.corrected, "float64").sum(axis=0) + log_prior,
            parts.fewest.min(axis=0),
            parts.lost.sum(axis=0),
        )

    def log_prior(self, thetas: Float[np.ndarray, "draw d"]) -> Float[np.ndarray, " draw"]:
        """Log prior density `(draw,)` of some thetas."""
        return np.asarray(_log_priors(self.model, self.theta(thetas), self.blocks[0]), "float64")


@functools.partial(jax.jit, static_argnums=0)
def _prior_and_gradient(
    model: UnitModel, theta: jax.Array, block: UnitBlock
) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(model.log_prior)(theta, block)


@functools.partial(jax.jit, static_argnums=0)
def _log_priors(model: UnitModel, thetas: jax.Array, block: UnitBlock) -> jax.Array:
    return jax.vmap(model.log_prior, in_axes=(0, None))(thetas, block)


def _prior_of(model: UnitModel, block: UnitBlock) -> PriorScale:
    # A prior such as Gamma(0.001, 0.001) draws numbers that underflow.
    theta, own = (
        np.where(np.isfinite(one), one, np.nan)
        for one in map(np.asarray, _draw_prior(model, jax.random.PRNGKey(0), block))
    )
    sd = np.nan_to_num(np.nanstd(theta, axis=0), nan=1.0)
    middle, of_unit = (np.nan_to_num(np.nanmedian(one, axis=0)) for one in (theta, own))
    return PriorScale(middle.astype("float64"), np.maximum(sd, 1e-3), of_unit)


@functools.partial(jax.jit, static_argnums=0)
def _draw_prior(
    model: UnitModel, key: PRNGKeyArray, block: UnitBlock
) -> tuple[jax.Array, jax.Array]:
    """Draws of theta `(draw, d)` from the prior, and of the first unit `(draw, k)`, unconstrained."""
    names = [*model.vector.shapes, *(site.name for site in model.own)]
    function = model.function_of(len(block.is_unit))
    keys = jax.random.split(key, _PRIOR_DRAWS)
    drawn = density.prior_draws(function, names, block.arrays, keys)
    z = jax.vmap(lambda one: density.unconstrain(function, one, block.arrays))(drawn)
    return model.vector.pack(z, 1), model.pack(z, 1)[:, 0]


def are_many_lost(n_lost: int, n_pairs: int) -> bool:
    """Tell whether so many pairs of a unit and a theta, of all that there are, lack a mode."""
    return n_lost > _MOST_LOST * n_pairs


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
def _integrate_block(
    model: UnitModel,
    thetas: jax.Array,
    at: jax.Array,
    start: UnitStart,
    block: UnitBlock,
    key: PRNGKeyArray,
) -> Integrated:
    """Integrate a block's units at thetas `(draw, d)`: the sum over units of what is more than at `at` `(d,)`."""

    def both(theta: jax.Array, u: jax.Array) -> tuple[UnitModes, jax.Array, UnitIntegrals]:
        modes = find_modes(model, theta, u, block)
        integrals = integrate_units(model, theta, modes, start, block, key)
        return modes, log_marginal.laplace_by_unit(modes, block), integrals

    first, plain, exact = both(at, start.u)

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
