"""A short variational fit of independent normals, to start chains from: NumPyro's SVI on the unconstrained scale."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree
from numpyro.infer import SVI, Trace_ELBO
from numpyro.optim import Adam

from scalecheck.model.density import Sites

# Steps of a block, and blocks at most. Warmup takes thousands of gradients; so few bring chains near enough.
_STEPS = 100
_MOST_BLOCKS = 10
_FIRST_SD = 0.1


def draw(key: jax.Array, energy: Callable[[Sites], jax.Array], z: Sites, wider: float) -> Sites:
    """Fit independent normals from `z` on, and draw from them: unconstrained sites `(*site,)`.

    The fit ends with the first block of steps whose mean loss is not lower than that of the block before by more
    than its own Monte Carlo error. A. Kucukelbir et al., "Automatic differentiation variational inference",
    Journal of Machine Learning Research 18:14 (2017).

    Parameters
    ----------
    energy
        Potential energy of unconstrained sites, a scalar.
    wider
        Factor of the standard deviations.
    """
    first, unravel = ravel_pytree(z)
    fitting, drawing = jax.random.split(key)
    found = _fit(fitting, lambda flat: energy(unravel(flat)), first)
    noise = jax.random.normal(drawing, first.shape, first.dtype)
    return unravel(found["mean"] + wider * found["sd"] * noise)


def _fit(
    key: jax.Array, energy: Callable[[jax.Array], jax.Array], first: jax.Array
) -> dict[str, jax.Array]:
    def target() -> None:
        # Masked: all of the density is the factor.
        flat = numpyro.sample("z", dist.Normal(jnp.zeros_like(first)).to_event(1).mask(False))
        with numpyro.handlers.block():  # the sites of the model would count once more
            log_density = -energy(flat)
        numpyro.factor("log_density", log_density)

    def guide() -> None:
        mean = numpyro.param("mean", first)
        sd = numpyro.param(
            "sd", jnp.full_like(first, _FIRST_SD), constraint=dist.constraints.positive
        )
        numpyro.sample("z", dist.Normal(mean, sd).to_event(1))

    svi = SVI(target, guide, Adam(_step_size), Trace_ELBO())

    def falls(carry: tuple[Any, ...]) -> jax.Array:
        _, block, mean, before, error = carry
        return (block < _MOST_BLOCKS) & (before - mean > error)

    def fit_block(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        state, block, before, *_ = carry
        state, losses = jax.lax.scan(lambda s, _: svi.update(s), state, length=_STEPS)
        return state, block + 1, losses.mean(), before, losses.std() / jnp.sqrt(_STEPS)

    infinite = jnp.array(jnp.inf, first.dtype)
    start = (
        svi.init(key),
        0,
        jnp.finfo(first.dtype).max * jnp.ones((), first.dtype),
        infinite,
        0 * first.sum(),
    )
    state, *_ = jax.lax.while_loop(falls, fit_block, start)
    return svi.get_params(state)


def _step_size(step: jax.Array) -> jax.Array:
    """Long at first, for starts far out, then shorter, or the mean would jitter by more than a narrow posterior."""
    return 0.1 / (1 + step / _STEPS)
