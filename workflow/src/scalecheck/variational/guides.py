"""Families of approximations as guides of NumPyro: independent normals, correlated ones, a flow for what rows share."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions.flows import InverseAutoregressiveTransform
from numpyro.distributions.transforms import AffineTransform, IndependentTransform, PermuteTransform
from numpyro.nn.auto_reg_nn import AutoregressiveNN

Params = Mapping[str, Any]

FIRST_SD = 0.1
# Factors of a low-rank covariance; layers of a flow, and hidden units of each for every dimension.
RANK, N_LAYERS, WIDTH = 8, 2, 3
# A factor of zeros would be a saddle: its gradient is zero.
_FIRST_FACTOR = 0.01


class Guide(NamedTuple):
    """A family of distributions of a vector whose first elements are shared by all rows.

    Attributes
    ----------
    sites
        Name and size of each part of the vector, in order.
    function
        The guide.
    """

    sites: dict[str, int]
    function: Callable[..., None]

    def draw(self, params: Params, key: jax.Array, n: int) -> jax.Array:
        """Draw n vectors: `(n, d)`."""
        return jax.vmap(lambda key: self._one(params, key))(jax.random.split(key, n))

    def draw_of(
        self,
        take: Callable[[jax.Array], Any],
        params: Params,
        key: jax.Array,
        n: int,
        at_once: int,
    ) -> Any:
        """Draw the vectors of `draw` again, some at once, and hold what `take` makes of each `(d,)`: `(n, ...)`."""
        keys = jax.random.split(key, n)
        return jax.lax.map(lambda key: take(self._one(params, key)), keys, batch_size=at_once)

    def _one(self, params: Params, key: jax.Array) -> jax.Array:
        trace = self._trace(params, key)
        return jnp.concatenate([trace[name]["value"] for name in self.sites])

    def log_density_shared(self, params: Params, theta: jax.Array) -> jax.Array:
        """Log density `(n,)` of the marginal of the shared elements at `theta` `(n, n_shared)`."""
        found = next(iter(self._trace(params, jax.random.key(0)).values()))["fn"]
        if isinstance(found, dist.MaskedDistribution):
            found = found.base_dist
        if isinstance(found, dist.LowRankMultivariateNormal):
            n = theta.shape[-1]
            found = dist.LowRankMultivariateNormal(
                found.loc[:n], found.cov_factor[:n], found.cov_diag[:n]
            )
        return jax.vmap(found.log_prob)(theta)

    def _trace(self, params: Params, key: jax.Array) -> dict[str, Any]:
        seeded = handlers.seed(handlers.substitute(self.function, data=dict(params)), key)
        trace = handlers.trace(seeded).get_trace()
        return {name: trace[name] for name in self.sites}


def guide_of(name: str, first: jax.Array, n_shared: int) -> Guide:
    """Give a family by its name in the study file.

    Parameters
    ----------
    name
        `mean_field`, `low_rank` or `flow`.
    first
        `(d,)` the mean that it begins with.
    n_shared
        Elements that all rows share, which come first.
    """
    sizes = {"shared": n_shared, "own": len(first) - n_shared}
    parts = {part: size for part, size in sizes.items() if size}
    if name == "low_rank":
        return Guide({"whole": len(first)}, lambda *_: _low_rank(first))
    if name == "flow" and n_shared > 1:  # one dimension has nothing to be bent by
        return Guide(parts, lambda *_: _flow(first, n_shared))
    return Guide(parts, lambda *_: _mean_field(first, parts))


def _mean_field(first: jax.Array, parts: Mapping[str, int]) -> None:
    start = 0
    for name, size in parts.items():
        _independent(name, first[start : start + size])
        start += size


def _independent(name: str, first: jax.Array) -> None:
    mean, sd = _location_scale(name, first)
    _land(name, lambda mean, sd: dist.Normal(mean, sd).to_event(1), mean, sd)


def _land(name: str, family: Callable[..., dist.Distribution], *parameters: Any) -> None:
    """Sample, and count a log density that depends on the parameters through the value alone.

    Its gradient has the same mean, and next to no variance once the approximation is good: G. Roeder, Y. Wu,
    D. Duvenaud, "Sticking the landing", arXiv:1703.09194.
    """
    moving, held = family(*parameters), family(*map(jax.lax.stop_gradient, parameters))
    value = numpyro.sample(name, moving.mask(False))
    numpyro.factor(f"log_density_{name}", held.log_prob(value))


def _location_scale(name: str, first: jax.Array) -> tuple[Any, Any]:
    mean = numpyro.param(f"mean_{name}", first)
    sd = numpyro.param(
        f"sd_{name}", jnp.full_like(first, FIRST_SD), constraint=dist.constraints.positive
    )
    return mean, sd


def _low_rank(first: jax.Array) -> None:
    """Covariance D (F F' + I) D, as NumPyro's AutoLowRankMultivariateNormal."""
    mean, sd = _location_scale("whole", first)
    start = _FIRST_FACTOR * jax.random.normal(jax.random.key(0), (len(first), RANK), first.dtype)
    factor = numpyro.param("factor", start)
    parts = mean, sd[:, None] * factor, jnp.square(sd)
    _land("whole", dist.LowRankMultivariateNormal, *parts)


def _flow(first: jax.Array, n_shared: int) -> None:
    """Inverse autoregressive flow of standard normals, then location and scale."""
    turn = PermuteTransform(jnp.arange(n_shared)[::-1])
    layers: list[Any] = []
    for number in range(N_LAYERS):
        network = AutoregressiveNN(
            n_shared, [WIDTH * n_shared], permutation=jnp.arange(n_shared), skip_connections=False
        )
        applied = numpyro.module(f"layer_{number}", network, (n_shared,))
        layers += [InverseAutoregressiveTransform(applied), turn]
    mean, sd = _location_scale("shared", first[:n_shared])
    base = dist.Normal(jnp.zeros(n_shared), 1.0).to_event(1)
    layers.append(IndependentTransform(AffineTransform(mean, sd), 1))
    numpyro.sample("shared", dist.TransformedDistribution(base, layers))
    if len(first) > n_shared:
        _independent("own", first[n_shared:])
