"""Candidate starts of chains, by the values of `sampler.start`."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from scalecheck.fitting.starts import pathfinder, user_function
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.density import Sites

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
        What a fit is given, by its number in the batch and a key: nothing, but for a user's function.
    """

    propose: Propose
    given: Callable[[int, jax.Array], Sites] = lambda number, key: {}


# Approximations are wider by this: R-hat sees chains that have not met only where they start further apart
# than the posterior is wide, and a normal approximation is narrower than a posterior with correlations or tails.
_WIDER = 2.0


def proposal(batch: Batch, start: str, n_chains: int) -> Proposal:
    """Give the proposal of a value of `sampler.start`.

    Parameters
    ----------
    n_chains
        Starts that are needed: there are twice as many candidates, as many where each takes a fit of its own.
    """
    match start:
        # What has no increment before it starts from the prior.
        case "prior" | "previous":
            return Proposal(_prior(batch, 2 * n_chains))
        case "uniform":
            return Proposal(_uniform(_prior(batch, 2 * n_chains)))
        case "pathfinder":
            return Proposal(_approximate(batch, n_chains, pathfinder.load_pathfinder()))
        case _:
            return _function(batch, start, 2 * n_chains)


def _prior(batch: Batch, n: int) -> Propose:
    latent = [site.name for site in batch.sites if site.kind == "latent"]

    def propose(key: jax.Array, arrays: Arrays, given: Mapping[str, jax.Array]) -> Sites:
        drawn = density.prior_draws(batch.function, latent, arrays, jax.random.split(key, n))
        return jax.vmap(lambda values: density.unconstrain(batch.function, values, arrays))(drawn)

    return propose


def _uniform(prior: Propose) -> Propose:
    """In (-2, 2), in the shapes of draws from the prior."""

    def propose(key: jax.Array, arrays: Arrays, given: Mapping[str, jax.Array]) -> Sites:
        z = prior(key, arrays, given)
        return {
            name: jax.random.uniform(jax.random.fold_in(key, i), values.shape, values.dtype, -2, 2)
            for i, (name, values) in enumerate(sorted(z.items()))
        }

    return propose


def _approximate(batch: Batch, n: int, draw: Callable[..., Sites]) -> Propose:
    """Each candidate from an approximation of its own, fitted from its own draw from the prior.

    One approximation for all would hide every mode but its own.
    """
    prior = _prior(batch, n)

    def propose(key: jax.Array, arrays: Arrays, given: Mapping[str, jax.Array]) -> Sites:
        from_prior, own = jax.random.split(key)
        energy = density.potential(batch.function)(**arrays)
        return jax.vmap(lambda key, z: draw(key, energy, z, _WIDER))(
            jax.random.split(own, n), prior(from_prior, arrays, given)
        )

    return propose


def _function(batch: Batch, start: str, n: int) -> Proposal:
    """By a user's function, from the rows of a fit without their padding: a mean would count that, too."""
    function = user_function.load_start_function(batch.bound, start)

    @jax.jit
    def draw(keys: jax.Array, own: Arrays) -> Sites:
        return jax.vmap(
            lambda key: user_function.draw_start(
                function, batch.bound, batch.function, own, batch.counts, key
            )
        )(keys)

    def given(number: int, key: jax.Array) -> Sites:
        own = {name: jnp.asarray(values) for name, values in batch.own[number].items()}
        return draw(jax.random.split(key, n), own)

    def propose(key: jax.Array, arrays: Arrays, given: Mapping[str, jax.Array]) -> Sites:
        return jax.vmap(lambda one: density.unconstrain(batch.function, one, arrays))(dict(given))

    return Proposal(propose, given)
