"""Draws of a model that has no parameters: its posterior is a point, and nothing is sampled."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from scalecheck.sampler.draws import Clock, Draws, Window
from scalecheck.sampler.types import Iterations, Potential


def without_parameters(
    potential: Potential,
    arrays: Mapping[str, Shaped[np.ndarray, "fit ..."]],
    n_chains: int,
    warmup: int,
    draws: int,
) -> Draws:
    """Give a batch of fits of a model without parameters in the shapes of one that was sampled.

    Chains have their iterations, but no leapfrogs, no gradients and no step size; the energy is the
    one that the model gives its data.

    Parameters
    ----------
    potential
        `arrays -> (no sites -> potential energy)` of one fit.
    arrays
        Data, `(fit, ...)`.
    n_chains, warmup, draws
        Chains, and iterations of each.
    """
    clock = Clock()

    @jax.jit
    def energies(arrays: dict[str, Shaped[Array, "fit ..."]]) -> Float[Array, " fit"]:
        return jax.lax.map(lambda one: potential(**one)({}), arrays)

    found = np.asarray(energies({name: jnp.asarray(values) for name, values in arrays.items()}))
    clock.lap(compile=1.0)
    chains = (len(found), n_chains)
    window = Window(warmup, np.zeros(chains), np.ones(chains), np.ones((*chains, 0)))
    return Draws(
        [{} for _ in found],
        [_at_rest(energy, (n_chains, warmup + draws)) for energy in found.tolist()],
        [window],
        clock.wall,
        clock.cpu,
    )


def _at_rest(energy: float, shape: tuple[int, int]) -> Iterations:
    same = np.full(shape, energy)
    return Iterations(
        z=None,
        n_steps=np.zeros(shape, "int32"),
        acceptance_rate=np.ones(shape),
        energy=same,
        potential_energy=same,
        diverging=np.zeros(shape, bool),
        step_size=np.zeros(shape),
    )
