"""Each unit's integral over its latent values by importance sampling, where Laplace's method is only near.

Draws come from a mixture of three multivariate t (`unit_proposals`), in pairs of opposite sign, and are weighed by the
mixture. The mean ratio of the unit's density to the mixture is divided by that of the normal that Laplace's method puts
there. The latter is known to be one, so that only the Monte Carlo error of the difference is left. The same random
numbers serve every theta: the log marginal density is a smooth function of theta, whose gradient follows them.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from scalecheck.laplace.log_marginal import LOG_2PI, MarginalGradient, laplace_by_unit
from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_modes import (
    UnitModes,
    Vectors,
    derivatives,
    find_modes,
    no_flatter,
    prior_shape,
)
from scalecheck.laplace.unit_proposals import around, mixture_of
from scalecheck.laplace.unit_start import UnitStart


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

    def choose(self, key: PRNGKeyArray, n: int) -> Int[Array, "n unit"]:
        """Choose draws of each unit by their weights: numbers `(n, unit)`."""
        places = jax.random.uniform(key, (n, self.weight.shape[1]))
        chosen = (jnp.cumsum(self.weight, axis=0)[None] < places[:, None]).sum(axis=1)
        return jnp.minimum(chosen, len(self.u) - 1)


def integrate_units(
    model: UnitModel,
    theta: Float[Array, " d"],
    modes: UnitModes,
    start: UnitStart,
    block: UnitBlock,
    key: PRNGKeyArray,
) -> UnitIntegrals:
    """Integrate each unit's density over its latent values, by draws from its mixture at `theta`."""
    k, near = modes.u.shape[1], around(modes)
    mixture = mixture_of(model, theta, modes, start, block)
    u = mixture.draw(key)
    log_q = mixture.log_density(u)
    exact = log_ratios(model, theta, modes, u, log_q, block)
    log_normal = -((near.standard(u) ** 2).sum(axis=2) + k * LOG_2PI) / 2 + near.log_volume
    normal = log_normal - log_q
    weight, of_normal = jax.nn.softmax(exact, axis=0), jax.nn.softmax(normal, axis=0)
    ratio = logsumexp(exact, axis=0) - logsumexp(normal, axis=0)
    ratio += (_pair_squares(weight) - _pair_squares(of_normal)) / 2
    by_unit = laplace_by_unit(modes, block) + jnp.where(block.is_unit, ratio, 0.0)
    return UnitIntegrals(by_unit, u, weight)


def log_ratios(
    model: UnitModel,
    theta: Float[Array, " d"],
    modes: UnitModes,
    u: Float[Array, "draw unit k"],
    log_q: Float[Array, "draw unit"],
    block: UnitBlock,
) -> Float[Array, "draw unit"]:
    """Log ratios of the units' density to what draws come from, of mean one where Laplace's method is exact.

    Parameters
    ----------
    u, log_q
        The draws, and the log density that they come from.
    """
    held = jax.lax.stop_gradient(modes.u)
    log_p = jax.lax.map(lambda one: _log_density(model, theta, one, held, block), u)
    # Relative to the mode, and to the normal there.
    log_p = jnp.where(jnp.isfinite(log_p), log_p + modes.energy, -jnp.inf)
    return log_p - modes.u.shape[1] / 2 * LOG_2PI + around(modes).log_volume - log_q


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


def _pair_squares(weight: Float[Array, "draw unit"]) -> Float[Array, " unit"]:
    """Sum of squares of the weights of pairs of opposite draws, which are independent of each other."""
    return ((weight[::2] + weight[1::2]) ** 2).sum(axis=0)


@functools.partial(jax.jit, static_argnums=0)
def corrected_and_gradient(
    model: UnitModel,
    theta: Float[Array, " d"],
    start: UnitStart,
    block: UnitBlock,
    key: PRNGKeyArray,
) -> MarginalGradient:
    """Log marginal density of a block's units by their integrals, and its gradient."""
    modes = find_modes(model, theta, start.u, block)

    def total(theta: jax.Array) -> tuple[jax.Array, jax.Array]:
        moving = moving_modes(model, theta, modes, block)
        by_unit = integrate_units(model, theta, moving, start, block, key).by_unit
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
