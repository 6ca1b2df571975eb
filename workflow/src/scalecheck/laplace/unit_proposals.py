"""What the integrals of units draw from: a mixture of three multivariate t for each unit.

One lies around the unit's mode, as wide as the normal there. One has the mean and, as its scale matrix, the covariance
of the unit's density around it, of which draws at the mode are few where it is skew or curved. One lies around a second
mode that was found; where none was, it has the place and width of the unit's prior.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, PRNGKeyArray
from scipy.special import gammaln

from scalecheck.laplace.log_marginal import LOG_2PI
from scalecheck.laplace.unit_model import UnitBlock, UnitModel
from scalecheck.laplace.unit_modes import Matrices, UnitModes, Vectors, prior_shape
from scalecheck.laplace.unit_start import SecondModes, UnitStart

# The fewest degrees of freedom: one with fewer than dimensions is hardly ever where a normal is.
_FEWEST_DF = 7.0
# Draws of a unit, half of them opposite to the others: around the mode, of the unit's own shape, and the others.
_NUMBERS = (8, 40, 16)
N_INNER = sum(_NUMBERS)
# Draws of a t of the prior's width from which other modes are looked for. They come in pairs of opposite sign: where a
# density has two modes, one of a pair is likely to be on the other side.
_N_STARTS = 4
# By what the t around a second mode is wider than the normal there, of one dimension: theta moves the mode, and the t
# stays. Of many dimensions each is stretched by less, or hardly a draw would be near the mode.
_STRETCHED = 0.5


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


class UnitMixture(NamedTuple):
    """What draws of each unit come from: a t around its mode, one of its own shape, and one of what lies elsewhere."""

    near: UnitT
    own: UnitT
    elsewhere: UnitT

    def draw(self, key: PRNGKeyArray) -> Float[Array, "draw unit k"]:
        """Draw `(N_INNER, unit, k)`, so many of each t; draws of each come in pairs of opposite sign."""
        each = zip(self, jax.random.split(key, len(self)), _NUMBERS, strict=True)
        return jnp.concatenate([part.draw(own, number) for part, own, number in each])

    def log_density(self, u: Float[Array, "draw unit k"]) -> Float[Array, "draw unit"]:
        """Log density `(draw, unit)`."""
        each = zip(self, _NUMBERS, strict=True)
        logs = [part.log_density(u) + math.log(number / N_INNER) for part, number in each]
        return logsumexp(jnp.stack(logs), axis=0)


def mixture_of(
    model: UnitModel, theta: jax.Array, modes: UnitModes, start: UnitStart, block: UnitBlock
) -> UnitMixture:
    """Give the mixture of each unit of a block, at modes found at `theta` `(d,)`."""
    shape = start.shape
    off = solve_triangular(modes.root, shape.mean[..., None], lower=True, trans=1)[..., 0]
    # A product of lower factors is one.
    own = UnitT(modes.u + off, modes.root @ shape.root)
    wide = t_of_prior(model, theta, modes.u, block)
    return UnitMixture(around(modes), own, elsewhere_of(start.second, wide))


def elsewhere_of(second: SecondModes, wide: UnitT) -> UnitT:
    """Give a t around each second mode, and the wide one of units without."""
    stretched = second.root / (1 + _STRETCHED / math.sqrt(second.u.shape[1]))
    return UnitT(
        jnp.where(second.found[:, None], second.u, wide.centre),
        jnp.where(second.found[:, None, None], stretched, wide.root),
    )


def around(modes: UnitModes) -> UnitT:
    """Give the t around each unit's mode, of the width of the normal there."""
    return UnitT(modes.u, modes.root)


def n_draws_near(mixture: UnitMixture, modes: UnitModes) -> Float[Array, " unit"]:
    """Expected number of draws `(unit,)` where the density around a mode is."""
    k = modes.u.shape[1]
    log_mass = k / 2 * LOG_2PI - around(modes).log_volume
    return N_INNER * jnp.exp(mixture.log_density(modes.u[None])[0] + log_mass)


def t_of_prior(model: UnitModel, theta: jax.Array, u: Vectors, block: UnitBlock) -> UnitT:
    """Give a t of the place and width of each unit's prior, near `u` `(unit, k)`: it reaches other modes."""
    return UnitT(*prior_shape(model, theta, u, block))


def other_starts(
    model: UnitModel, theta: jax.Array, start: UnitStart, block: UnitBlock, key: PRNGKeyArray
) -> Float[Array, "start unit k"]:
    """Give places `(start, unit, k)` to look for modes from: those that are known, and draws as wide as the prior."""
    wide = t_of_prior(model, theta, start.u, block).draw(key, _N_STARTS)
    return jnp.concatenate([jnp.stack([start.u, start.second.u]), wide])
