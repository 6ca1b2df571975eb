"""Each unit's integral over its latent values by importance sampling, where Laplace's method is only near.

Draws come from a multivariate t around the unit's mode, in pairs of opposite sign. The same random numbers serve every
theta: the error of the log marginal density is then a smooth function of theta, which nearly cancels in what is
compared.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import gammaln

from scalecheck.laplace.log_marginal import MarginalGradient
from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_modes import UnitModes, Vectors, find_modes

# Draws of a unit, half of them opposite to the others, and degrees of freedom of their t.
N_INNER = 64
DF = 7.0


def key_of_block(number: int, again: int = 0) -> PRNGKeyArray:
    """Key `(2,)` of a block's random numbers: the same for every theta and every run; others each time `again`."""
    return jax.random.fold_in(jax.random.PRNGKey(again), number)


class UnitIntegrals(NamedTuple):
    """Integrals of a block's units at one theta.

    Attributes
    ----------
    by_unit
        `(unit,)` log marginal density of each; 0 for what is no unit.
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
    half = N_INNER // 2
    for_normals, for_scales = jax.random.split(key)
    z = jax.random.normal(for_normals, (half, n_units, k), dtype)
    scale = jnp.sqrt(DF / jax.random.chisquare(for_scales, DF, (half, n_units), dtype=dtype))
    z = jnp.concatenate([z, -z]) * jnp.concatenate([scale, scale])[..., None]
    moved = solve_triangular(modes.root, jnp.moveaxis(z, 0, 2), lower=True, trans=1)
    u = modes.u + jnp.moveaxis(moved, 2, 0)
    log_det = jnp.log(jnp.einsum("uii->ui", modes.root)).sum(axis=1)
    constant = gammaln((DF + k) / 2) - gammaln(DF / 2) - k / 2 * math.log(DF * math.pi)
    log_t = constant + log_det - (DF + k) / 2 * jnp.log1p((z**2).sum(axis=2) / DF)
    log_p = jax.lax.map(lambda one: model.log_density(theta, one, block), u)
    ratio = jnp.where(jnp.isfinite(log_p), log_p, -jnp.inf) - log_t
    total = logsumexp(ratio, axis=0)
    by_unit = jnp.where(block.is_unit, total - math.log(N_INNER), 0.0)
    return UnitIntegrals(by_unit, u, jnp.exp(ratio - total))


@functools.partial(jax.jit, static_argnums=0)
def corrected_and_gradient(
    model: UnitModel, theta: Float[Array, " d"], start: Vectors, block: UnitBlock, key: PRNGKeyArray
) -> MarginalGradient:
    """Log marginal density of a block's units by their integrals, and its gradient, from modes `(unit, k)`."""
    modes = find_modes(model, theta, start, block)
    integrals = integrate_units(model, theta, modes, block, key)
    return MarginalGradient(
        integrals.by_unit, fisher_gradient(model, theta, integrals, block), modes
    )


def fisher_gradient(
    model: UnitModel, theta: Float[Array, " d"], integrals: UnitIntegrals, block: UnitBlock
) -> Float[Array, " d"]:
    """Gradient `(d,)` of the sum of a block's integrals by Fisher's identity.

    It is the mean over each unit's posterior of the gradient with its latent values held.
    """

    def add(total: jax.Array, draw: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        u, weight = draw
        of = jax.grad(lambda theta: (weight * model.log_density(theta, u, block)).sum())
        return total + of(theta), None

    weights = jnp.where(block.is_unit, integrals.weight, 0.0)
    return jax.lax.scan(add, jnp.zeros_like(theta), (integrals.u, weights))[0]
