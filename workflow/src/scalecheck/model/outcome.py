"""What the distribution of an observed site says besides its density: which rows it masks, and which it censors.

NumPyro's `MaskedDistribution.sample` draws rows that are masked, and the `sample` of a censored distribution draws the
true value. A replicate is a draw of the true value; so the observed outcome has to be one, too.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Real
from numpyro.ops.provenance import eval_provenance

from scalecheck.model.masks import WRAPPERS, entry_mask, n_taken
from scalecheck.model.sites import traced

# Of no argument of a model: it is no name in Python.
_PARAMETERS = "the parameters"

CENSORED = (
    dist.LeftCensoredDistribution,
    dist.RightCensoredDistribution,
    dist.IntervalCensoredDistribution,
)

# Halvings of the range of numbers of 64 bits, after which one is left.
_HALVINGS = 64


class ObservedSite(NamedTuple):
    """What is known of the observed site before any data.

    Attributes
    ----------
    discrete
        Whether it takes whole numbers.
    masked, censored
        Whether it is, whatever the rows.
    within
        The distribution that holds a censored one in a way that has no distribution of the true value; or nothing.
    mask_needs, censoring_needs
        Arguments of the model that determine which rows are masked, and which are censored and where.
    needs_parameters
        Whether either depends on a latent site.
    """

    discrete: bool
    masked: bool
    censored: bool
    within: str
    mask_needs: frozenset[str]
    censoring_needs: frozenset[str]
    needs_parameters: bool


def describe_outcome(
    function: Callable[..., Any], site: str, arrays: Mapping[str, Any]
) -> ObservedSite:
    """Describe the observed site of a model by its trace; nothing is computed.

    Parameters
    ----------
    function
        The model as a function of its arrays.
    site
        Name of the observed site.
    arrays
        Model argument -> `(rows, ...)`, the outcome among them.
    """
    found: list[tuple[bool, bool, bool, str]] = []

    def tell(**given: Any) -> tuple[Any, Any]:
        # What is drawn from a prior depends on the key, and so does what depends on a parameter.
        key = given.pop(_PARAMETERS)
        observed = traced(function, given, key)[site]
        fn, value = observed["fn"], observed["value"]
        # Here, because what a support computes belongs to this trace.
        censored = censored_part(fn) is not None
        found.append((fn.support.is_discrete, is_masked(fn), censored, foreign_censoring(fn)))
        return taking_part(fn, value.shape[0]), _telling(fn, value)

    masked, *censored = jax.tree.leaves(
        eval_provenance(tell, **arrays, **{_PARAMETERS: np.zeros(2, "uint32")}),
        is_leaf=lambda one: isinstance(one, frozenset),
    )
    needed = frozenset().union(*censored)
    return ObservedSite(
        *found[0],
        masked - {_PARAMETERS},
        needed - {_PARAMETERS},
        _PARAMETERS in needed | masked,
    )


def _telling(fn: dist.Distribution, value: Real[Array, "row ..."]) -> list[Any]:
    """Give what tells which rows are censored, and where."""
    told: list[Any] = []
    for part in _censored_within(fn):
        is_interval = isinstance(part, dist.IntervalCensoredDistribution)
        told += [part.left_censored, part.right_censored, value] if is_interval else [part.censored]
    return told


def why_not_simulated(site: str) -> str:
    """Say why a model whose observed site is censored cannot simulate data sets."""
    return (
        f"the outcome of the site {site} is censored, and the data say which rows are:"
        " outcomes that are simulated would be censored elsewhere"
    )


def is_masked(fn: dist.Distribution) -> bool:
    """Say whether a distribution has a mask."""
    return any(isinstance(layer, dist.MaskedDistribution) for layer in _layers(fn))


def row_mask_of(fn: dist.Distribution, n_rows: int) -> Bool[Array, " row"] | None:
    """Give the mask of rows `(rows,)` of an observed site, or None where its distribution has none.

    A row is False, and has no log likelihood, where every entry of it is masked. Its outcome is then a placeholder.
    """
    mask = entry_mask(fn)
    if mask is None:
        return None
    if fn.batch_shape[:1] != (n_rows,):
        return jnp.full(
            n_rows, mask.any()
        )  # without a plate a distribution need not know of the rows
    shape = (n_rows, *(1,) * (len(fn.batch_shape) + n_taken(fn) - 1))
    full = jnp.broadcast_to(mask, jnp.broadcast_shapes(mask.shape, shape))
    return full.reshape(n_rows, -1).any(axis=1)


def taking_part(fn: dist.Distribution, n_rows: int) -> Bool[Array, " row"]:
    """Say which rows have a log likelihood, `(rows,)`: all, where there is no mask."""
    mask = row_mask_of(fn, n_rows)
    return jnp.ones(n_rows, bool) if mask is None else mask


def censored_part(fn: dist.Distribution) -> Any:
    """Give the censored distribution in a distribution, or None."""
    return next((layer for layer in _layers(fn) if isinstance(layer, CENSORED)), None)


def censored_rows(fn: dist.Distribution, value: Real[Array, "row ..."]) -> Bool[Array, " row"]:
    """Say of which rows the true value is not observed."""
    part = censored_part(fn)
    if part is None:
        return jnp.zeros(value.shape[0], bool)
    exact = _known(part, value).exact
    return jnp.broadcast_to(~exact, value.shape[: value.ndim - part.event_dim])


def foreign_censoring(fn: dist.Distribution) -> str:
    """Name the distribution that has a censored one within it, and none of the true value; or nothing."""
    *_, innermost = _layers(fn)
    if isinstance(innermost, CENSORED) or not any(True for _ in _censored_within(innermost)):
        return ""
    return type(innermost).__name__


def uncensored(fn: dist.Distribution) -> dist.Distribution:
    """Give the distribution of the true value, wrapped as the censored one is."""
    if isinstance(fn, CENSORED):
        return fn.base_dist.expand(fn.batch_shape)
    if isinstance(fn, dist.MaskedDistribution):
        return uncensored(fn.base_dist).mask(fn._mask)
    if isinstance(fn, dist.Independent):
        return uncensored(fn.base_dist).to_event(fn.reinterpreted_batch_ndims)
    if isinstance(fn, dist.ExpandedDistribution):
        return uncensored(fn.base_dist).expand(fn.batch_shape)
    return fn


def complete(
    fn: dist.Distribution, value: Real[Array, "row ..."], key: PRNGKeyArray
) -> Float[Array, " row"]:
    """Draw the true value of each censored row from its distribution, given what is known of it.

    An outcome so far out that the cumulative distribution function says nothing beyond it stays where it was seen: it
    is surprising.

    Parameters
    ----------
    fn
        Of the observed site; censored.
    value
        `(rows,)`, or `(rows, 2)` where intervals are observed.
    key
        Of the draws.
    """
    part = censored_part(fn)
    known = _known(part, value)
    seen = known.seen.astype(float)
    u = jax.random.uniform(key, seen.shape) * known.mass
    u = jnp.where(u < known.before, u, u + known.gap)
    drawn = _quantile(part.base_dist, u, seen)
    return jnp.where(~known.exact & (known.mass > 0) & jnp.isfinite(drawn), drawn, seen)


class _Known(NamedTuple):
    """What is known of the true value of each row; all `(rows,)`.

    It lies in the lowest `before` of its distribution, or above the `gap` that follows, up to `mass` in all.
    """

    exact: Bool[Array, " row"]
    seen: Real[Array, " row"]
    before: Float[Array, " row"]
    gap: Float[Array, " row"]
    mass: Float[Array, " row"]


def _known(part: Any, value: Real[Array, "row ..."]) -> _Known:
    if isinstance(part, dist.IntervalCensoredDistribution):
        return _known_interval(part, value)
    below = part.base_dist.cdf(value)
    zero = jnp.zeros_like(below)
    if isinstance(part, dist.LeftCensoredDistribution):
        return _Known(~part.censored, value, below, zero, below)
    return _Known(~part.censored, value, zero, below, 1 - below)


def _known_interval(part: Any, value: Real[Array, "row 2"]) -> _Known:
    left, right, _, outside, exact = part._get_censoring_masks(value)
    low, high = value[..., 0], value[..., 1]
    # A bound that says nothing may be any number.
    seen = jnp.where(left, high, low)
    below = jnp.where(left, 0.0, part.base_dist.cdf(seen))
    above = jnp.where(right, 1.0, part.base_dist.cdf(jnp.where(right, low, high)))
    between = above - below
    zero = jnp.zeros_like(below)
    before = jnp.where(outside, below, zero)
    gap = jnp.where(outside, between, below)
    mass = jnp.where(outside, 1 - between, between)
    return _Known(exact, seen, before, gap, mass)


def _quantile(
    base: dist.Distribution, u: Float[Array, " row"], seen: Float[Array, " row"]
) -> Float[Array, " row"]:
    """Give the least number whose cumulative probability is at least `u`, by halving the range of all numbers.

    `icdf` is not asked: several distributions have none, and their cumulative distribution function is what the
    censored likelihood takes.
    """
    support = base.support
    lowest, highest = (
        jnp.broadcast_to(jnp.asarray(getattr(support, name, other), u.dtype), u.shape)
        for name, other in (("lower_bound", -jnp.inf), ("upper_bound", jnp.inf))
    )
    # The least number itself may be the answer.
    low, high = _ordered(lowest) - 1, _ordered(highest)

    def halve(_: Int[Array, ""], bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = (low & high) + ((low ^ high) >> 1)
        x = _number(middle)
        reached = base.cdf(x)
        # Where the function is not defined, numbers beyond what was seen lie on the side that they are on.
        enough = jnp.where(jnp.isnan(reached), x > seen, reached >= u)
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    found = _number(jax.lax.fori_loop(0, _HALVINGS, halve, (low, high))[1])
    return jnp.ceil(found) if support.is_discrete else found


def _ordered(x: Float[Array, " row"]) -> Int[Array, " row"]:
    """Give integers in the order of numbers of double precision, none between those of neighbours."""
    bits = jax.lax.bitcast_convert_type(x + 0.0, "int64")  # of both zeros the one above
    return jnp.where(bits < 0, bits ^ jnp.iinfo("int64").max, bits)


def _number(ordered: Int[Array, " row"]) -> Float[Array, " row"]:
    bits = jnp.where(ordered < 0, ordered ^ jnp.iinfo("int64").max, ordered)
    return jax.lax.bitcast_convert_type(bits, "float64")


def _layers(fn: dist.Distribution) -> Iterator[Any]:
    """Give a distribution and what it wraps, as long as rows keep their own entries."""
    yield fn
    while isinstance(fn, WRAPPERS):
        fn = fn.base_dist
        yield fn


def _censored_within(fn: dist.Distribution) -> Iterator[Any]:
    """Give the censored distributions that a distribution is, or is made of."""
    if isinstance(fn, CENSORED):
        yield fn
        return
    leaves = jax.tree.leaves(vars(fn), is_leaf=lambda one: isinstance(one, dist.Distribution))
    for part in leaves:
        if isinstance(part, dist.Distribution):
            yield from _censored_within(part)
