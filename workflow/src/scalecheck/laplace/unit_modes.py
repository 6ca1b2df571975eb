"""The mode of each unit's latent values given what all share: damped Newton iterations of all units at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float, Int

from scalecheck.laplace.unit_model import UnitBlock, UnitModel

# Iterations at most. A unit is at its mode once the decrease that a step promises is below this: one more step, which
# is made, leaves the square of it.
MOST_STEPS = 60
_DECREASE = {"float32": 1e-4, "float64": 1e-9}
# A step may raise the energy by so much of its size: rounding.
_ROUNDING = {"float32": 2e-6, "float64": 1e-13}
# Damping of a step that did not lead down, first and by how much more each time; what is left of it after one that did.
_FIRST, _MORE, _LEFT, _NONE, _MOST = 0.05, 8.0, 0.1, 1e-3, 1e12

# Another mode is so many sds of a unit from the first; it counts from this share of the mass of both on.
_APART, LEAST_MASS = 4.0, 0.01
# Least curvature of a unit's density, in units of the prior's, for the normal that is put in its place.
_FLATTEST = 0.5
# Precision of a prior that shows neither curvature nor slope.
_LEAST_PRECISION = 1e-4

Vectors = Float[Array, "unit k"]
Matrices = Float[Array, "unit k k"]


class UnitModes(NamedTuple):
    """Where each unit's density is highest.

    Attributes
    ----------
    u
        `(unit, k)`.
    energy
        `(unit,)` minus the log density there.
    root
        `(unit, k, k)` lower Cholesky factor of the Hessian of the energy there, raised where it is nearly flat.
    found
        `(unit,)` whether the iteration came to rest where the Hessian is positive definite.
    """

    u: Vectors
    energy: Float[Array, " unit"]
    root: Matrices
    found: Bool[Array, " unit"]


class UnitNormal(NamedTuple):
    """A normal for each unit.

    Attributes
    ----------
    mean
        `(unit, k)`.
    root
        `(unit, k, k)` lower Cholesky factor of the inverse of its covariance.
    """

    mean: Vectors
    root: Matrices


class _State(NamedTuple):
    u: Vectors
    energy: Float[Array, " unit"]
    gradient: Vectors
    hessian: Matrices
    damping: Float[Array, " unit"]
    rests: Bool[Array, " unit"]
    number: Any


def derivatives(
    energy: Callable[[Vectors], Float[Array, " unit"]], u: Vectors
) -> tuple[Float[Array, " unit"], Vectors, Matrices]:
    """Energy `(unit,)`, gradient `(unit, k)` and Hessian `(unit, k, k)` of independent units."""

    def gradient(u: Vectors) -> tuple[Vectors, Float[Array, " unit"]]:
        value, back = jax.vjp(energy, u)
        return back(jnp.ones_like(value))[0], value

    def along(direction: Float[Array, " k"]) -> Vectors:
        return jax.jvp(lambda u: gradient(u)[0], (u,), (jnp.broadcast_to(direction, u.shape),))[1]

    first, value = gradient(u)
    columns = jax.vmap(along)(jnp.eye(u.shape[1], dtype=u.dtype))
    hessian = jnp.moveaxis(columns, 0, 1)
    return value, first, (hessian + hessian.mT) / 2


def find_modes(
    model: UnitModel, theta: Float[Array, " d"], start: Vectors, block: UnitBlock
) -> UnitModes:
    """Find the modes of a block's units, from a start `(unit, k)`.

    An indefinite Hessian is damped until it is positive definite: curves that the data do not determine are the rule.
    """

    def energy(u: Vectors) -> Float[Array, " unit"]:
        return -model.log_density(theta, u, block)

    kind = str(start.dtype)
    empty = ~block.is_unit

    def evaluate(u: Vectors) -> tuple[Any, Vectors, Matrices]:
        value, gradient, hessian = derivatives(energy, u)
        # What only fills the shape has the simplest density there is.
        eye = jnp.eye(u.shape[1], dtype=u.dtype)
        return value, gradient, jnp.where(empty[:, None, None], eye, hessian)

    def step(state: _State) -> _State:
        root, damping = _damped_root(state.hessian, state.damping)
        move = cho_solve((root, True), state.gradient[..., None])[..., 0]
        decrease = (move * state.gradient).sum(axis=1)
        u = state.u - move
        value, gradient, hessian = evaluate(u)
        room = _ROUNDING[kind] * (1 + jnp.abs(state.energy))
        is_down = (value <= state.energy + room) & jnp.isfinite(gradient).all(axis=1)
        is_down &= jnp.isfinite(hessian).all(axis=(1, 2)) & ~state.rests
        value, gradient, hessian, u = (
            jnp.where(is_down.reshape(-1, *(1,) * (old.ndim - 1)), new, old)
            for new, old in (
                (value, state.energy),
                (gradient, state.gradient),
                (hessian, state.hessian),
                (u, state.u),
            )
        )
        lower = jnp.where(damping * _LEFT < _NONE, 0.0, damping * _LEFT)
        higher = jnp.minimum(jnp.maximum(damping * _MORE, _FIRST), _MOST)
        is_small = (decrease < _DECREASE[kind]) & (damping < _FIRST)
        rests = state.rests | (is_down & is_small)
        raised = jnp.where(is_down, lower, higher)
        return _State(u, value, gradient, hessian, raised, rests, state.number + 1)

    def goes_on(state: _State) -> Any:
        return (state.number < MOST_STEPS) & ~state.rests.all()

    # A start may be where nothing is finite: its units never move, and are not found.
    first = _State(start, *evaluate(start), jnp.zeros_like(start[:, 0]), empty, 0)
    last = jax.lax.while_loop(goes_on, step, first)
    hessian = no_flatter(last.hessian, prior_shape(model, theta, last.u, block).root)
    root = jnp.linalg.cholesky(hessian)
    is_definite = jnp.isfinite(root).all(axis=(1, 2))
    safe, _ = _damped_root(last.hessian, jnp.zeros_like(last.damping))
    root = jnp.where(is_definite[:, None, None], root, safe)
    return UnitModes(last.u, last.energy, root, last.rests & is_definite)


def best_modes(
    model: UnitModel,
    theta: Float[Array, " d"],
    starts: Float[Array, "start unit k"],
    block: UnitBlock,
) -> tuple[UnitModes, UnitModes]:
    """Modes with the most mass by Laplace's method from some starts, and those with the most that lie apart from them.

    Of the latter `found` tells where there is one whose mass counts.
    """
    # What only fills the shape stays finite.
    starts = jnp.where(block.is_unit[:, None], starts, starts[0])
    all_ = jax.lax.map(lambda start: find_modes(model, theta, start, block), starts)
    log_mass = jnp.where(all_.found, jax.vmap(log_masses)(all_), -jnp.inf)

    def take(number: Int[Array, " unit"]) -> UnitModes:
        return jax.tree.map(lambda each: each[number, jnp.arange(each.shape[1])], all_)

    best = take(log_mass.argmax(axis=0))
    are_apart = jax.vmap(lambda other: lie_apart(best, other))(all_)
    left = jnp.where(are_apart, log_mass, -jnp.inf)
    second, most = take(left.argmax(axis=0)), left.max(axis=0)
    share = jnp.where(jnp.isfinite(most), jax.nn.sigmoid(most - log_mass.max(axis=0)), 0.0)
    return best, second._replace(found=(share > LEAST_MASS) & block.is_unit)


def log_masses(modes: UnitModes) -> Float[Array, " unit"]:
    """Log of the mass `(unit,)` of the normal at each mode, but for a constant."""
    return -modes.energy - jnp.log(jnp.einsum("uii->ui", modes.root)).sum(axis=1)


def lie_apart(first: UnitModes, other: UnitModes) -> Bool[Array, " unit"]:
    """Tell which of the other modes `(unit,)` are so far from the first that they are no part of it."""
    apart = jnp.einsum("uji,uj->ui", first.root, other.u - first.u)
    return (apart**2).sum(axis=1) > _APART**2


def prior_shape(
    model: UnitModel, theta: Float[Array, " d"], u: Vectors, block: UnitBlock
) -> UnitNormal:
    """Give the normal that has the curvature of the units' prior at `u` `(unit, k)`.

    Where the prior is not concave, as a t far out, or has no curvature at all, as a Laplace distribution, the normal
    stays at `u`. Its precision is then that of the curvature's size or the square of the slope along each axis.
    """

    def energy(u: Vectors) -> Float[Array, " unit"]:
        return -model.log_prior_of_units(theta, u, block)

    value, gradient, hessian = derivatives(energy, u)
    eye = jnp.eye(u.shape[1], dtype=u.dtype)
    hessian = jnp.where(block.is_unit[:, None, None], hessian, eye)
    is_definite = jnp.isfinite(jnp.linalg.cholesky(hessian)).all(axis=(1, 2))
    size = jnp.maximum(jnp.abs(jnp.einsum("uii->ui", hessian)), gradient**2)
    diagonal = jnp.maximum(size, _LEAST_PRECISION)[:, :, None] * eye
    root = jnp.linalg.cholesky(jnp.where(is_definite[:, None, None], hessian, diagonal))
    step = cho_solve((root, True), gradient[..., None])[..., 0]
    # Near where its curvature changes sign a prior has its mode elsewhere than the step says.
    leads_down = is_definite & (energy(u - step) <= value) & block.is_unit
    return UnitNormal(u - jnp.where(leads_down[:, None], step, 0.0), root)


def no_flatter(hessian: Matrices, prior_root: Matrices) -> Matrices:
    """Raise Hessians that are nearly flat somewhere, by the precision of the prior, of which `prior_root` is a factor.

    Where two modes meet the Hessian is singular, and a normal with its inverse as covariance infinitely wide. A unit's
    posterior is hardly wider than its prior. That of a log-concave likelihood is never raised.
    """
    half = solve_triangular(prior_root, hessian, lower=True)
    inner = solve_triangular(prior_root, half.mT, lower=True)
    pivots = jnp.einsum("uii->ui", jnp.linalg.cholesky((inner + inner.mT) / 2)) ** 2
    missing = jnp.maximum(_FLATTEST - jnp.where(jnp.isfinite(pivots), pivots, 1.0).min(axis=1), 0.0)
    return hessian + missing[:, None, None] * (prior_root @ prior_root.mT)


def _damped_root(
    hessian: Matrices, damping: Float[Array, " unit"]
) -> tuple[Matrices, Float[Array, " unit"]]:
    """Cholesky factor of the Hessian with its diagonal raised, by more where it is not positive definite."""
    diagonal = jnp.abs(jnp.einsum("uii->ui", hessian))
    floor = 1e-4 * diagonal.max(axis=1, keepdims=True) + jnp.finfo(hessian.dtype).tiny
    scale = jnp.maximum(diagonal, floor)
    eye = jnp.eye(hessian.shape[-1], dtype=hessian.dtype)

    def root_at(damping: jax.Array) -> jax.Array:
        return jnp.linalg.cholesky(hessian + (damping[:, None] * scale)[:, :, None] * eye)

    def is_bad(root: jax.Array) -> jax.Array:
        return ~jnp.isfinite(root).all(axis=(1, 2))

    def raise_it(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        damping, root = state
        raised = jnp.where(is_bad(root), jnp.maximum(damping * _MORE, _FIRST), damping)
        return raised, root_at(raised)

    def goes_on(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        damping, root = state
        return (is_bad(root) & (damping < _MOST)).any()

    damping, root = jax.lax.while_loop(goes_on, raise_it, (damping, root_at(damping)))
    return jnp.where(is_bad(root)[:, None, None], eye, root), damping
