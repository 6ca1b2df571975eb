"""Each unit's integral over its latent values by importance sampling, where Laplace's method is only near.

Three quarters of the draws come from a multivariate t around the unit's mode. The others come from a t of the place and
width of its prior, which reaches a second mode. Draws come in pairs of opposite sign and are weighed by the mixture.
The mean ratio of the unit's density to the mixture is divided by that of the normal that Laplace's method puts there.
The latter is known to be one, so that only the Monte Carlo error of the difference is left. The same random numbers
serve every theta: the log marginal density is a smooth function of theta, whose gradient follows them.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import gammaln

from scalecheck.laplace.log_marginal import LOG_2PI, MarginalGradient, laplace_by_unit
from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_modes import (
    Matrices,
    UnitModes,
    Vectors,
    derivatives,
    find_modes,
    no_flatter,
    prior_shape,
)

# Draws of a unit, half of them opposite to the others, and the fewest degrees of freedom of their t: one with fewer
# than dimensions is hardly ever where a normal is.
N_INNER = 64
_FEWEST_DF = 7.0
# One draw of so many is of the prior's width.
_WIDE_SHARE = 4


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
    """Integrate each unit's density over its latent values, around its mode at `theta` and over its prior's width."""
    k, n_wide = modes.u.shape[1], N_INNER // _WIDE_SHARE
    near, wide = UnitT(modes.u, modes.root), t_of_prior(model, theta, modes.u, block)
    keys = jax.random.split(key)
    u = jnp.concatenate([near.draw(keys[0], N_INNER - n_wide), wide.draw(keys[1], n_wide)])
    log_q = jnp.logaddexp(
        near.log_density(u) + math.log1p(-1 / _WIDE_SHARE),
        wide.log_density(u) - math.log(_WIDE_SHARE),
    )
    held = jax.lax.stop_gradient(modes.u)
    log_p = jax.lax.map(lambda one: _log_density(model, theta, one, held, block), u)
    # Relative to the mode, and to the normal there.
    log_p = jnp.where(jnp.isfinite(log_p), log_p + modes.energy, -jnp.inf)
    log_normal = -((near.standard(u) ** 2).sum(axis=2) + k * LOG_2PI) / 2 + near.log_volume
    exact, normal = log_p - k / 2 * LOG_2PI + near.log_volume - log_q, log_normal - log_q
    weight, of_normal = jax.nn.softmax(exact, axis=0), jax.nn.softmax(normal, axis=0)
    ratio = logsumexp(exact, axis=0) - logsumexp(normal, axis=0)
    ratio += (_pair_squares(weight) - _pair_squares(of_normal)) / 2
    by_unit = laplace_by_unit(modes, block) + jnp.where(block.is_unit, ratio, 0.0)
    return UnitIntegrals(by_unit, u, weight)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _log_density(
    model: UnitModel, theta: jax.Array, u: Vectors, finite_at: Vectors, block: UnitBlock
) -> jax.Array:
    """Log density `(unit,)` at `u` `(unit, k)`, whose derivative is 0 where it is no number or has no weight.

    Else one draw far out, at which a rate overflows or underflows, would leave the sum over units without a gradient.
    It is taken at `finite_at` there. What it needs is made again for it, as by `jax.checkpoint`.
    """
    return model.log_density(theta, u, block)


def _forwards(
    model: UnitModel, theta: jax.Array, u: Vectors, finite_at: Vectors, block: UnitBlock
) -> tuple[jax.Array, Any]:
    found = model.log_density(theta, u, block)
    return found, (theta, u, finite_at, jnp.isfinite(found), block)


def _backwards(model: UnitModel, held: Any, cotangent: jax.Array) -> tuple[Any, ...]:
    theta, u, finite_at, is_finite, block = held

    def back(counts: jax.Array) -> tuple[jax.Array, Vectors]:
        where = jnp.where(counts[:, None], u, finite_at)
        _, pull = jax.vjp(lambda theta, u: model.log_density(theta, u, block), theta, where)
        return pull(jnp.where(counts, cotangent, 0.0))

    counts = is_finite & (cotangent != 0)
    of_theta, of_u = back(counts)
    smooth = jnp.isfinite(of_u).all(axis=1)
    found = jax.lax.cond(
        smooth.all() & jnp.isfinite(of_theta).all(),
        lambda: (of_theta, of_u),
        lambda: back(counts & smooth),
    )
    return *found, None, None


_log_density.defvjp(_forwards, _backwards)


class UnitT(NamedTuple):
    """A multivariate t for each unit.

    Attributes
    ----------
    centre
        `(unit, k)`.
    root
        `(unit, k, k)` lower Cholesky factor of the inverse of its scale matrix.
    """

    centre: Vectors
    root: Matrices

    @property
    def df(self) -> float:
        """Degrees of freedom."""
        return max(_FEWEST_DF, float(self.centre.shape[1]))

    @property
    def log_volume(self) -> Float[Array, " unit"]:
        """Half of the log determinant of the inverse of the scale matrix."""
        return jnp.log(jnp.einsum("uii->ui", self.root)).sum(axis=1)

    def draw(self, key: PRNGKeyArray, n: int) -> Float[Array, "draw unit k"]:
        """Draw `(n, unit, k)`; the second of each pair is opposite to the first."""
        shape, dtype = (n // 2, *self.centre.shape), self.centre.dtype
        for_normals, for_scales = jax.random.split(key)
        z = jax.random.normal(for_normals, shape, dtype)
        chi = jax.random.chisquare(for_scales, self.df, shape[:2], dtype=dtype)
        z *= jnp.sqrt(self.df / chi)[..., None]
        z = jnp.stack([z, -z], axis=1).reshape(n, *shape[1:])
        moved = solve_triangular(self.root, jnp.moveaxis(z, 0, 2), lower=True, trans=1)
        return self.centre + jnp.moveaxis(moved, 2, 0)

    def standard(self, u: Float[Array, "draw unit k"]) -> Float[Array, "draw unit k"]:
        """Give draws `(draw, unit, k)` in coordinates in which the scale matrix is one."""
        return jnp.einsum("uji,suj->sui", self.root, u - self.centre)

    def log_density(self, u: Float[Array, "draw unit k"]) -> Float[Array, "draw unit"]:
        """Log density `(draw, unit)`."""
        k, df = self.centre.shape[1], self.df
        constant = gammaln((df + k) / 2) - gammaln(df / 2) - k / 2 * math.log(df * math.pi)
        square = (self.standard(u) ** 2).sum(axis=2)
        return constant + self.log_volume - (df + k) / 2 * jnp.log1p(square / df)


def n_draws_near(wide: UnitT, modes: UnitModes) -> Float[Array, " unit"]:
    """Expected number of draws `(unit,)` that the prior's width puts where the density around a mode is."""
    k = modes.u.shape[1]
    log_mass = k / 2 * LOG_2PI - UnitT(modes.u, modes.root).log_volume
    return N_INNER // _WIDE_SHARE * jnp.exp(wide.log_density(modes.u[None])[0] + log_mass)


def t_of_prior(model: UnitModel, theta: jax.Array, u: Vectors, block: UnitBlock) -> UnitT:
    """Give a t of the place and width of each unit's prior, near `u` `(unit, k)`: it reaches other modes."""
    return UnitT(*prior_shape(model, theta, u, block))


def _pair_squares(weight: Float[Array, "draw unit"]) -> Float[Array, " unit"]:
    """Sum of squares of the weights of pairs of opposite draws, which are independent of each other."""
    return ((weight[::2] + weight[1::2]) ** 2).sum(axis=0)


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
    raised = no_flatter(jnp.where(good, hessian, eye), prior_shape(model, theta, u, block).root)
    root = jnp.where(good, jnp.linalg.cholesky(jnp.where(good, raised, eye)), held.root)
    return UnitModes(u, value, root, held.found)
