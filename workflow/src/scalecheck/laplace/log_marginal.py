"""Log marginal density of what units share, by Laplace's method in each unit, and its gradient.

The gradient is that of a function of theta that has the same one: the energies at the modes, where their derivative by
the latent values is zero; and half the trace of the Hessian times its inverse, held, at modes that move with theta by
one Newton step (implicit function theorem). No derivative is taken of the iteration, nor of a Cholesky factor.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float

from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_modes import UnitModes, Vectors, find_modes, log_masses

LOG_2PI = math.log(2 * math.pi)


class MarginalGradient(NamedTuple):
    """What a block adds to the log marginal density.

    Attributes
    ----------
    by_unit
        `(unit,)` log marginal density of each unit.
    gradient
        `(d,)` of their sum.
    modes
        Of the units.
    """

    by_unit: Float[Array, " unit"]
    gradient: Float[Array, " d"]
    modes: UnitModes


def laplace_by_unit(modes: UnitModes, block: UnitBlock) -> Float[Array, " unit"]:
    """Log marginal density `(unit,)` of each unit; 0 for what is no unit."""
    k = modes.u.shape[1]
    return jnp.where(block.is_unit, k / 2 * LOG_2PI + log_masses(modes), 0.0)


@functools.partial(jax.jit, static_argnums=0)
def marginal_and_gradient(
    model: UnitModel, theta: Float[Array, " d"], start: Vectors, block: UnitBlock
) -> MarginalGradient:
    """Log marginal density of a block's units and its gradient by theta, from a start `(unit, k)` of the modes."""
    modes = find_modes(model, theta, start, block)
    gradient = jax.grad(lambda theta: surrogate(model, theta, modes, block))(theta)
    return MarginalGradient(laplace_by_unit(modes, block), gradient, modes)


def surrogate(
    model: UnitModel, theta: Float[Array, " d"], modes: UnitModes, block: UnitBlock
) -> Float[Array, ""]:
    """A function of theta with the gradient of the log marginal density where the modes are those of theta."""
    held: UnitModes = jax.lax.stop_gradient(modes)

    def energy(theta: jax.Array, u: Vectors) -> jax.Array:
        return -model.log_density(theta, u, block).sum()

    by_u = jax.grad(energy, argnums=1)(theta, held.u)
    # The value of the step is nothing: the modes were found.
    step = cho_solve((held.root, True), by_u[..., None])[..., 0]
    u = held.u - (step - jax.lax.stop_gradient(step))
    # The inverse of the Hessian is the sum of the outer products of these columns.
    eye = jnp.broadcast_to(jnp.eye(u.shape[1], dtype=u.dtype), held.root.shape)
    columns = solve_triangular(held.root, eye, lower=True, trans=1)

    def second(direction: Vectors) -> jax.Array:
        def first(u: Vectors) -> jax.Array:
            return jax.jvp(lambda u: energy(theta, u), (u,), (direction,))[1]

        return jax.jvp(first, (u,), (direction,))[1]

    trace = jax.vmap(second)(jnp.moveaxis(columns, 2, 0)).sum()
    return -energy(theta, held.u) - trace / 2
