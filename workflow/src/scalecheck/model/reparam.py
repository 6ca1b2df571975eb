"""Reparameterisation in which the sampler moves: those of the model, some sites less centred (`sampler.reparam`).

Only the sampler sees them. A site keeps its name and shape in both, so that blocks of a metric, sites that are
held and starts are named alike.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import AffineTransform
from numpyro.infer.reparam import Reparam
from numpyro.infer.util import potential_energy

from scalecheck.errors import StudyError, did_you_mean
from scalecheck.model import density
from scalecheck.model.density import Arrays, Energy, Sites
from scalecheck.model.sites import traced

Function = Callable[..., Any]

_SUFFIX = "_decentered"  # as NumPyro's LocScaleReparam has it
_SCALED = (dist.HalfCauchy, dist.HalfNormal)
# Of the real line, whose negative has the same distribution.
_SYMMETRIC = (dist.Normal, dist.StudentT, dist.Cauchy, dist.Laplace, dist.Logistic)


class Affine(NamedTuple):
    """How an unconstrained site `z = shift + factor * w` depends on what the sampler sees, in shapes that broadcast."""

    shift: jax.Array
    factor: jax.Array


class _Recentred(Reparam):
    """Draw a site from its distribution with part of location and scale, and give it the rest afterwards.

    M. I. Gorinova, D. Moore, M. D. Hoffman, "Automatic Reparameterisation of Probabilistic Programs"
    (arXiv:1906.03028), which NumPyro's LocScaleReparam follows, too; here also of the logarithm of a
    LogNormal, and of the scale alone of a HalfNormal or a HalfCauchy.
    """

    def __init__(self, centredness: float) -> None:
        self.c = centredness

    def __call__(self, name: str, fn: Any, obs: Any) -> tuple[None, jax.Array]:
        """Sample, and transform; shapes as of the site."""
        _, shape, event_dim = self._unwrap(fn)
        inner = unwrap(fn)
        move = affine(inner, self.c)
        w = numpyro.sample(name + _SUFFIX, self._wrap(_part(inner, self.c), shape, event_dim))
        if isinstance(inner, _SCALED):
            return None, jnp.exp(move.shift) * w
        z = move.shift + move.factor * w
        return None, jnp.exp(z) if isinstance(inner, dist.LogNormal) else z


def unwrap(fn: Any) -> Any:
    """Give the distribution inside `expand` and `to_event`, an affine transform of a symmetric one folded into it."""
    while isinstance(fn, dist.Independent | dist.ExpandedDistribution):
        fn = fn.base_dist
    if not isinstance(fn, dist.TransformedDistribution) or isinstance(fn, dist.LogNormal):
        return fn
    base, (move, *others) = unwrap(fn.base_dist), fn.transforms
    if others or not isinstance(move, AffineTransform) or not isinstance(base, _SYMMETRIC):
        return fn
    loc, scale = move.loc + move.scale * base.loc, jnp.abs(move.scale) * base.scale
    return type(base)(**_parameters(base) | {"loc": loc, "scale": scale})


def _parameters(distribution: Any) -> dict[str, Any]:
    return {name: getattr(distribution, name) for name in distribution.arg_constraints}


def can_recentre(fn: Any) -> bool:
    """Whether a distribution has a location and a scale, or a scale alone, to be taken out of it."""
    inner = unwrap(fn)
    has_both = {"loc", "scale"} <= set(getattr(inner, "arg_constraints", {}))
    return isinstance(inner, (dist.LogNormal, *_SCALED)) or (
        has_both and inner.support is constraints.real
    )


def affine(inner: Any, c: float) -> Affine:
    """Give the map of a site with centredness c, by its distribution from `unwrap`; shapes as its parameters."""
    if isinstance(inner, _SCALED):
        shift = (1 - c) * jnp.log(inner.scale)
        return Affine(shift, jnp.ones_like(shift))
    factor = inner.scale ** (1 - c)
    return Affine(inner.loc - c * factor * inner.loc, factor)


def _part(inner: Any, c: float) -> Any:
    """Give the distribution with part of its location and scale: of the real line, or scaled."""
    changed = {"scale": inner.scale**c}
    if not isinstance(inner, _SCALED):
        changed["loc"] = c * inner.loc
    if isinstance(inner, dist.LogNormal):
        return dist.Normal(**changed)
    return type(inner)(**_parameters(inner) | changed)


class _Move(numpyro.primitives.Messenger):
    """Give latent sites their values from one kind of coordinates, and note them in the other."""

    def __init__(
        self, sites: Mapping[str, Any], centredness: Mapping[str, float], *, inward: bool
    ) -> None:
        self.sites, self.centredness, self.inward = sites, centredness, inward
        self.found: Sites = {}
        super().__init__(lambda: None)

    def process_message(self, msg: dict[str, Any]) -> None:
        """Set the value of a site, which comes after those that it depends on."""
        name = msg["name"]
        if msg["type"] != "sample" or name not in self.sites:
            return
        given = other = self.sites[name]
        if name in self.centredness:
            shift, factor = affine(unwrap(msg["fn"]), self.centredness[name])
            other = (given - shift) / factor if self.inward else shift + factor * given
        self.found[name] = other
        msg["value"] = biject_to(msg["fn"].support)(given if self.inward else other)


class Reparameterisation(NamedTuple):
    """Reparameterisation of the sampler.

    Attributes
    ----------
    function
        The model as a function of its arrays.
    centredness
        By site, from 0 (not centred) to below 1; other sites are as the model has them.
    """

    function: Function
    centredness: tuple[tuple[str, float], ...] = ()

    def potential(self, **arrays: Any) -> Callable[[Sites], Energy]:
        """Give `sampler's sites -> potential energy`, a scalar, for data `(rows, ...)`; it lacks no Jacobian."""
        if not self.centredness:
            return density.potential(self.function)(**arrays)
        config = {name: _Recentred(c) for name, c in self.centredness}
        function = handlers.reparam(self.function, config=config)

        def energy(w: Sites) -> Energy:
            named = {name + _SUFFIX if name in config else name: x for name, x in w.items()}
            return potential_energy(function, (), arrays, named)

        return energy

    def to_model(self, w: Sites, arrays: Arrays) -> Sites:
        """Map the sampler's sites to the model's, unconstrained, in their shapes."""
        return self._move(w, arrays, inward=False)

    def from_model(self, z: Sites, arrays: Arrays) -> Sites:
        """Map the model's unconstrained sites to the sampler's, in their shapes."""
        return self._move(z, arrays, inward=True)

    def _move(self, sites: Sites, arrays: Arrays, *, inward: bool) -> Sites:
        if not self.centredness:
            return dict(sites)
        move = _Move(sites, dict(self.centredness), inward=inward)
        with move:
            traced(self.function, arrays, jax.random.key(0))
        return {name: move.found[name] for name in sites}


def coordinates_of(function: Function, reparam: Mapping[str, float]) -> Reparameterisation:
    """Give the coordinates of `sampler.reparam`; a site of centredness 1 stays as it is.

    The same object for the same arguments: its potential is what programs are kept by.
    """
    return _coordinates(function, tuple(sorted((name, c) for name, c in reparam.items() if c != 1)))


@functools.lru_cache(maxsize=64)
def _coordinates(
    function: Function, centredness: tuple[tuple[str, float], ...]
) -> Reparameterisation:
    return Reparameterisation(function, centredness)


def check_reparam(
    file: str, function: Function, arrays: Arrays, reparam: Mapping[str, float]
) -> None:
    """Refuse a site that cannot be recentred; nothing is computed of the arrays `(rows, ...)`.

    Raises
    ------
    StudyError
        Names the site.
    """
    if not reparam:
        return
    reasons: dict[str, str] = {}

    def look(arrays: dict[str, Any]) -> None:
        for name, site in traced(function, arrays, jax.random.key(0)).items():
            if site["type"] == "sample":
                reasons[name] = why_not(site)

    jax.eval_shape(look, dict(arrays))
    for name in reparam:
        if name not in reasons:
            raise StudyError(
                f"sampler.reparam names {name}, which is no latent site of {file}{did_you_mean(name, reasons)}"
            )
        if reasons[name]:
            raise StudyError(f"sampler.reparam names {name} of {file}, which {reasons[name]}")


def why_not(site: Mapping[str, Any]) -> str:
    """Say why a sample site cannot be recentred, or nothing."""
    if site["is_observed"]:
        return "is observed: only latent sites can be recentred"
    if site.get("_control_flow_done", False):
        return "stands in a scan, where sites cannot be recentred"
    if not can_recentre(site["fn"]):
        kind = type(unwrap(site["fn"])).__name__
        return (
            f"is a {kind}: only a distribution with loc and scale on the real line, a LogNormal, a HalfNormal"
            " or a HalfCauchy can be recentred"
        )
    return ""
