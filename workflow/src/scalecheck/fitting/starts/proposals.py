"""Candidate starts of chains, by the values of `sampler.start`."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from scalecheck.fitting.starts import pathfinder, user_function
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.density import Function, Sites

Arrays = dict[str, jax.Array]
Propose = Callable[[jax.Array, Arrays, Mapping[str, jax.Array]], Sites]


class Proposal(NamedTuple):
    """How candidates are found.

    Attributes
    ----------
    propose
        Function of a key, the arrays of a fit and what it was given, to be traced; its result is
        `(candidate, ...)` by latent site, unconstrained.
    given
        What a fit is given, by its number in the batch, a key and the number of the attempt: nothing, but for a
        user's function.
    """

    propose: Propose
    given: Callable[[int, Any, int], Sites] = lambda number, key, attempt: {}


# Approximations are wider by this: R-hat sees chains that have not met only where they start further apart
# than the posterior is wide, and a normal approximation is narrower than a posterior with correlations or tails.
_WIDER = 2.0


def proposal(batch: Batch, start: str, n_chains: int) -> Proposal:
    """Give the proposal of a value of `sampler.start`: where it can, the same one for all fits of a model.

    Parameters
    ----------
    n_chains
        Starts that are needed: there are twice as many candidates, as many where each takes a fit of its own.
    """
    latent = tuple(site.name for site in batch.sites if site.kind == "latent")
    match start:
        # What has no increment before it starts from the prior.
        case "prior" | "previous":
            return Proposal(_prior(batch.function, latent, 2 * n_chains))
        case "uniform":
            return Proposal(_uniform(batch.function, latent, 2 * n_chains))
        case "pathfinder":
            return Proposal(_approximate(batch.function, latent, n_chains))
        case _:
            return _function(batch, start, 2 * n_chains)


@functools.lru_cache(maxsize=64)
def _prior(function: Function, latent: tuple[str, ...], n: int) -> Propose:
    def propose(key: jax.Array, arrays: Arrays, given: Mapping[str, jax.Array]) -> Sites:
        drawn = density.prior_draws(function, latent, arrays, jax.random.split(key, n))
        return jax.vmap(lambda values: density.unconstrain(function, values, arrays))(drawn)

    return propose


@functools.lru_cache(maxsize=64)
def _uniform(function: Function, latent: tuple[str, ...], n: int) -> Propose:
    """In (-2, 2), in the shapes of draws from the prior."""
    prior = _prior(function, latent, n)

    def propose(key: jax.Array, arrays: Arrays, given: Mapping[str, jax.Array]) -> Sites:
        z = prior(key, arrays, given)
        return {
            name: jax.random.uniform(jax.random.fold_in(key, i), values.shape, values.dtype, -2, 2)
            for i, (name, values) in enumerate(sorted(z.items()))
        }

    return propose


@functools.lru_cache(maxsize=64)
def _approximate(function: Function, latent: tuple[str, ...], n: int) -> Propose:
    """Each candidate from an approximation of its own, fitted from its own draw from the prior.

    One approximation for all would hide every mode but its own.
    """
    prior, draw = _prior(function, latent, n), pathfinder.load_pathfinder()

    def propose(key: jax.Array, arrays: Arrays, given: Mapping[str, jax.Array]) -> Sites:
        from_prior, own = jax.random.split(key)
        energy = density.potential(function)(**arrays)
        return jax.vmap(lambda key, z: draw(key, energy, z, _WIDER))(
            jax.random.split(own, n), prior(from_prior, arrays, given)
        )

    return propose


def _function(batch: Batch, start: str, n: int) -> Proposal:
    """By a user's function, from the rows of a fit without their padding: a mean would count that, too."""
    function = user_function.load_start_function(batch.bound, start)

    @jax.jit
    def draw(key: jax.Array, attempt: jax.Array, own: Arrays) -> Sites:
        keys = jax.random.split(jax.random.fold_in(key, attempt), n)
        return jax.vmap(
            lambda key: user_function.draw_start(
                function, batch.bound, batch.function, own, batch.counts, key
            )
        )(keys)

    def given(number: int, key: Any, attempt: int) -> Sites:
        return draw(key, np.int32(attempt), batch.own[number])

    def propose(key: jax.Array, arrays: Arrays, given: Mapping[str, jax.Array]) -> Sites:
        return jax.vmap(lambda one: density.unconstrain(batch.function, one, arrays))(dict(given))

    return Proposal(propose, given)
