"""Each unit's integral over its latent values by importance sampling, where Laplace's method is only near.

Draws come from a multivariate t around the unit's mode, in pairs of opposite sign. The mean ratio of the unit's
density to that of the t is divided by the mean ratio of the normal that Laplace's method puts in its place, which is
known to be one: what is left of the Monte Carlo error is that of the difference between the two. The same random
numbers serve every theta, so that the log marginal density is a smooth function of theta, whose gradient follows them.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import gammaln

from scalecheck.laplace.log_marginal import LOG_2PI, MarginalGradient, laplace_by_unit
from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_modes import (
    UnitModes,
    Vectors,
    derivatives,
    find_modes,
    no_flatter,
    prior_diagonal,
)

# Draws of a unit, half of them opposite to the others, and the fewest degrees of freedom of their t: one with fewer
# than dimensions is hardly ever where a normal is.
N_INNER = 64
_FEWEST_DF = 7.0


def key_of_block(number: int, again: int = 0) -> PRNGKeyArray:
    """Key `(2,)` of a block's random numbers: the same for every theta and every run; others each time `again`."""
    return jax.random.fold_in(jax.random.PRNGKey(again), number)


class UnitIntegrals(NamedTuple):
    """Integrals of a block's units at one theta.

    Attributes
    ----------
    by_unit
        `(unit,)` log marginal density of each; 0 for what is no unit. Half of the relative variance of its Monte Carlo
        error is added, by which the logarithm of a mean is too small on average: of many units such errors add up.
    u
        `(draw, unit, k)` the draws, unconstrained.
    weight
        `(draw, unit)` their weights, of sum 1.
    """

    by_unit: Float[Array, " unit"]
    u: Float[Array, "draw unit k"]
    weight: Float[Array, "draw unit"]

    @property
    def effective(self) -> Float[Array, " unit"]:
        """Effective number of draws of each unit."""
        return 1 / (self.weight**2).sum(axis=0)


def integrate_units(
    model: UnitModel,
    theta: Float[Array, " d"],
    modes: UnitModes,
    block: UnitBlock,
    key: PRNGKeyArray,
) -> UnitIntegrals:
    """Integrate each unit's density over its latent values, around its mode at `theta`."""
    n_units, k = modes.u.shape
    dtype = modes.u.dtype
    half, df = N_INNER // 2, max(_FEWEST_DF, float(k))
    for_normals, for_scales = jax.random.split(key)
    z = jax.random.normal(for_normals, (half, n_units, k), dtype)
    scale = jnp.sqrt(df / jax.random.chisquare(for_scales, df, (half, n_units), dtype=dtype))
    z = jnp.concatenate([z, -z]) * jnp.concatenate([scale, scale])[..., None]
    moved = solve_triangular(modes.root, jnp.moveaxis(z, 0, 2), lower=True, trans=1)
    u = modes.u + jnp.moveaxis(moved, 2, 0)
    square = (z**2).sum(axis=2)
    constant = gammaln((df + k) / 2) - gammaln(df / 2) - k / 2 * math.log(df * math.pi)
    log_t = constant - (df + k) / 2 * jnp.log1p(square / df)
    log_p = jax.lax.map(jax.checkpoint(lambda one: model.log_density(theta, one, block)), u)
    # Relative to the mode, and to the normal there.
    log_p = jnp.where(jnp.isfinite(log_p), log_p + modes.energy, -jnp.inf)
    exact, normal = log_p - k / 2 * LOG_2PI - log_t, -(square + k * LOG_2PI) / 2 - log_t
    weight, of_normal = jax.nn.softmax(exact, axis=0), jax.nn.softmax(normal, axis=0)
    ratio = logsumexp(exact, axis=0) - logsumexp(normal, axis=0)
    ratio += (_pair_squares(weight) - _pair_squares(of_normal)) / 2
    by_unit = laplace_by_unit(modes, block) + jnp.where(block.is_unit, ratio, 0.0)
    return UnitIntegrals(by_unit, u, weight)


def _pair_squares(weight: Float[Array, "draw unit"]) -> Float[Array, " unit"]:
    """Sum of squares of the weights of pairs of opposite draws, which are independent of each other."""
    pairs = weight[: len(weight) // 2] + weight[len(weight) // 2 :]
    return (pairs**2).sum(axis=0)


@functools.partial(jax.jit, static_argnums=0)
def corrected_and_gradient(
    model: UnitModel, theta: Float[Array, " d"], start: Vectors, block: UnitBlock, key: PRNGKeyArray
) -> MarginalGradient:
    """Log marginal density of a block's units by their integrals, and its gradient, from modes `(unit, k)`."""
    modes = find_modes(model, theta, start, block)

    def total(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        moving = moving_modes(model, theta, modes, block)
        by_unit = integrate_units(model, theta, moving, block, key).by_unit
        return by_unit.sum(), by_unit

    gradient, by_unit = jax.grad(total, has_aux=True)(theta)
    return MarginalGradient(by_unit, gradient, modes)


def moving_modes(
    model: UnitModel, theta: Float[Array, " d"], modes: UnitModes, block: UnitBlock
) -> UnitModes:
    """Give modes that move as theta does, to first order: by one Newton step from those that were found."""
    held: UnitModes = jax.lax.stop_gradient(modes)

    def energy(u: Vectors) -> jax.Array:
        return -model.log_density(theta, u, block)

    by_u = jax.grad(lambda u: energy(u).sum())(held.u)
    step = cho_solve((held.root, True), by_u[..., None])[..., 0]
    # The value of the step is nothing: the modes were found.
    u = held.u - (step - jax.lax.stop_gradient(step))
    value, _, hessian = derivatives(energy, u)
    # Where there is no mode the factor that was held stays, and no derivative is taken: it would be no number.
    good = (modes.found & block.is_unit)[:, None, None]
    eye = jnp.eye(hessian.shape[-1], dtype=hessian.dtype)
    raised = no_flatter(jnp.where(good, hessian, eye), prior_diagonal(model, theta, u, block))
    root = jnp.where(good, jnp.linalg.cholesky(jnp.where(good, raised, eye)), held.root)
    return UnitModes(u, value, root, held.found)
