"""A bound model as densities: potential, log likelihood by row, prior draws, predictions."""

import functools
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Real, Shaped
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.distributions.transforms import ComposeTransform, ExpTransform
from numpyro.infer.util import constrain_fn, potential_energy, unconstrain_fn

from scalecheck.model.outcome import row_mask_of
from scalecheck.model.rows import RowArrays
from scalecheck.model.sites import Site, traced
from scalecheck.model.support import of_entries

Arrays = Mapping[str, Any]
Sites = dict[str, jax.Array]
Function = Callable[..., Any]
Energy = Float[Array, ""]

# The checks need the prior's scale, not its last digit: a standard deviation is known to half a percent.
PRIOR_DRAWS = 20_000


def potential(function: Function) -> Callable[..., Callable[[Sites], Energy]]:
    """Give `arrays -> (unconstrained sites -> potential energy)`, the data as arguments, not baked in.

    Arrays are `(rows, ...)` by model argument, the energy is a scalar.
    """

    def of_arrays(**arrays: Any) -> Callable[[Sites], Energy]:
        return functools.partial(potential_energy, function, (), arrays)

    return of_arrays


def in_double(arrays: RowArrays) -> RowArrays:
    """Give arrays `(rows, ...)` with their floating point numbers in float64; only under x64 does JAX keep them so."""
    return {
        name: values.astype("float64") if values.dtype.kind == "f" else values
        for name, values in arrays.items()
    }


def constrain(
    function: Function, z: Sites, arrays: Arrays, *, deterministic: bool = False
) -> Sites:
    """Map unconstrained sites to their supports, with deterministic sites when asked for."""
    return constrain_fn(function, (), dict(arrays), z, return_deterministic=deterministic)


def row_log_likelihood(
    function: Function, site: str, z: Sites, arrays: Arrays
) -> Float[Array, " row"]:
    """Log likelihood of each row at unconstrained `z`, `(rows,)`."""
    return log_prob_by_row(traced_at(function, z, arrays)[site])


def traced_at(
    function: Function,
    z: Sites,
    arrays: Arrays,
    *,
    others: Callable[[dict[str, Any]], jax.Array | None] = lambda site: None,
    key: PRNGKeyArray | None = None,
) -> dict[str, Any]:
    """Trace a model at given values of some of its sites.

    Parameters
    ----------
    z
        Unconstrained sites, in their shapes.
    others
        Gives the value of a site that is not among them, on its support; where it gives none, a latent site is drawn
        from its conditional prior.
    key
        Of what is drawn.
    """

    def value(site: dict[str, Any]) -> jax.Array | None:
        if site["name"] in z and site["type"] == "sample":
            return biject_to(site["fn"].support)(z[site["name"]])
        return others(site)

    substituted = handlers.substitute(function, substitute_fn=value)
    return traced(substituted, arrays, jax.random.key(0) if key is None else key)


def log_prob_by_row(site: Mapping[str, Any]) -> Float[Array, " row"]:
    """Log density of each row `(rows,)` at a traced site."""
    values = scaled(site, site["fn"].log_prob(site["value"]))
    return values.reshape(values.shape[0], -1).sum(axis=1)


def scaled(site: Mapping[str, Any], log_prob: Float[Array, "*entry"]) -> Float[Array, "*entry"]:
    """Scale log densities `(...)` as a handler or a subsampling plate does: it does so in the posterior, too."""
    scale = site.get("scale")
    return log_prob if scale is None else scale * log_prob


def sites_by_logarithm(function: Function, arrays: Arrays) -> frozenset[str]:
    """Names of the latent sites with one bound: their unconstrained value is the logarithm of the distance to it.

    Parameters
    ----------
    arrays
        By name, `(rows, ...)`: their shapes and types matter.
    """
    names: set[str] = set()

    def trace(key: PRNGKeyArray) -> None:
        for name, site in traced(function, arrays, key).items():
            # Of an outcome nobody asks for a bijection, and there may be none.
            is_latent = site["type"] == "sample" and not site["is_observed"]
            if is_latent and not site["fn"].support.is_discrete:
                change = biject_to(of_entries(site["fn"].support))
                first = change.parts[0] if isinstance(change, ComposeTransform) else change
                if isinstance(first, ExpTransform):
                    names.add(name)

    jax.eval_shape(trace, jax.ShapeDtypeStruct((2,), "uint32"))
    return frozenset(names)


def has_row_likelihood(function: Function, site: str, arrays: Arrays) -> bool:
    """Whether the observed site gives each row a log likelihood of its own.

    A Gaussian process over rows does not: such a model can be sampled, but neither padded nor
    checked row by row.
    """
    n_rows = len(next(iter(arrays.values())))

    def log_prob(arrays: Arrays) -> jax.Array:
        found = traced(function, arrays, jax.random.key(0))[site]
        return found["fn"].log_prob(found["value"])

    # Arrays are arguments: of values that it can see NumPyro warns where they are out of support.
    return jax.eval_shape(log_prob, dict(arrays)).shape[:1] == (n_rows,)


def prior_draws(
    function: Function, names: Sequence[str], arrays: Arrays, keys: Shaped[Array, "draw ..."]
) -> Sites:
    """Draw latent sites from the prior, one draw per key: `(draw, ...)` on their supports."""

    def draw(key: PRNGKeyArray) -> Sites:
        trace = traced(function, arrays, key)
        return {name: trace[name]["value"] for name in names}

    return jax.vmap(draw)(keys)


def prior_moments(
    function: Function, latent: Sequence[str], vector: "Vector", arrays: Arrays, seed: int
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """Mean `(d,)` and covariance `(d, d)` of the prior of some sites, unconstrained, by simulation.

    NaN where hardly a draw is finite.
    """
    if not vector.names:
        return np.zeros(0), np.zeros((0, 0))

    @jax.jit
    def draw(seed: Any, arrays: dict[str, jax.Array]) -> Float[Array, "draw d"]:
        keys = jax.random.split(jax.random.PRNGKey(seed), PRIOR_DRAWS)
        values = prior_draws(function, latent, arrays, keys)
        return vector.pack(jax.vmap(lambda one: unconstrain(function, one, arrays))(values), 1)

    draws = np.asarray(draw(np.uint32(seed), dict(arrays)), "float64")
    # A prior such as Gamma(0.001, 0.001) draws numbers that underflow, and their logarithm is no number.
    draws = draws[np.isfinite(draws).all(axis=1)]
    if len(draws) < 2:
        return np.full(draws.shape[1], np.nan), np.full([draws.shape[1]] * 2, np.nan)
    return draws.mean(axis=0), np.cov(draws, rowvar=False).reshape(draws.shape[1], -1)


def unconstrain(function: Function, values: Sites, arrays: Arrays) -> Sites:
    """Map one value of every latent site from its support to the unconstrained space."""
    return unconstrain_fn(function, (), dict(arrays), values)


def draw_outcome(
    function: Function, site: str, outcome: str, values: Sites, arrays: Arrays, key: PRNGKeyArray
) -> Real[Array, " row"]:
    """Draw the observed site given latent sites; those not given come from their conditional prior. `(rows,)`.

    A row that the model masks keeps the outcome that it has.
    """
    given = handlers.substitute(function, data=values)
    drawn = traced(given, {**arrays, outcome: None}, key)[site]["value"]
    fn = traced(given, arrays, key)[site]["fn"]
    mask = row_mask_of(fn, drawn.shape[0])
    return drawn if mask is None else jnp.where(mask, drawn, arrays[outcome])


class Vector(NamedTuple):
    """How compared sites lie in one vector, on the unconstrained scale.

    Attributes
    ----------
    names
        One per element: `sigma`, `beta[0]`, ...
    shapes
        Unconstrained shape by site, in the order of the vector.
    """

    names: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]

    def pack(self, z: Mapping[str, Any], n_leading: int = 0) -> Any:
        """Join sites `(..., *shape)` into `(..., d)`, on the host where they are there."""
        parts = [z[name].reshape((*z[name].shape[:n_leading], -1)) for name in self.shapes]
        on_host = all(isinstance(part, np.ndarray) for part in parts)
        return (np if on_host else jnp).concatenate(parts, axis=-1)

    def elements_of(self, sites: Collection[str]) -> Bool[np.ndarray, " d"]:
        """Tell which elements belong to some of the sites, `(d,)`."""
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        return np.repeat(np.array([name in sites for name in self.shapes], bool), sizes)

    def unpack(self, vector: Float[Array, " d"]) -> Sites:
        """Split a vector `(d,)` into sites."""
        sizes = [int(np.prod(shape)) for shape in self.shapes.values()]
        # Also after the last one, so that no site is no part.
        parts = jnp.split(vector, np.cumsum(sizes, dtype=int).tolist())[:-1]
        return {n: part.reshape(s) for part, (n, s) in zip(parts, self.shapes.items(), strict=True)}


def latent_values(trace: Mapping[str, Any]) -> Sites:
    """Give the values of all latent sites of a trace, on their supports."""
    sampled = {name: site for name, site in trace.items() if site["type"] == "sample"}
    return {name: site["value"] for name, site in sampled.items() if not site["is_observed"]}


def unconstrained(function: Function, arrays: Arrays) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of all latent sites, unconstrained, for arrays `(rows, ...)`; nothing is computed."""

    def draw(key: PRNGKeyArray) -> Sites:
        return unconstrain(function, latent_values(traced(function, arrays, key)), arrays)

    return jax.eval_shape(draw, jax.ShapeDtypeStruct((2,), "uint32"))


def vector_of(
    function: Function,
    sites: Sequence[Site],
    arrays: Arrays,
    labels: Mapping[str, Sequence[str] | None],
) -> Vector:
    """Lay out the unconstrained space of some latent sites; `labels` are those of each categorical column."""
    shapes = unconstrained(function, arrays)
    chosen = {site.name: shapes[site.name].shape for site in sites}
    names = [n for site in sites for n in element_names(site, chosen[site.name], labels)]
    return Vector(tuple(names), chosen)


def element_names(
    site: Site, shape: Sequence[int], labels: Mapping[str, Sequence[str] | None]
) -> list[str]:
    """Names of the elements of a site: `beta[0]`, `effect[high]`, or the site's own name where it is a scalar.

    Parameters
    ----------
    shape
        Of its values, constrained or not: an unconstrained simplex has an element less, and no labels.
    """
    if not shape:
        return [site.name]
    # Unconstrained, a Cholesky factor has a dimension less.
    dims = site.dims if len(site.dims) == len(shape) else ("",) * len(shape)
    along = [_labels(dim, size, labels) for dim, size in zip(dims, shape, strict=True)]
    return [f"{site.name}[{','.join(index)}]" for index in itertools.product(*along)]


def _labels(dim: str, size: int, labels: Mapping[str, Sequence[str] | None]) -> Sequence[str]:
    known = labels.get(dim) or ()
    return known if len(known) == size else [str(number) for number in range(size)]
