"""Approximate the posterior of one batch of rows."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.fitting.kept_sites import kept_sites, own_values
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.runtime.program import Log
from scalecheck.study.settings import ApproximationSettings
from scalecheck.variational import guides, optimise, svi_programs, target

# Draws of an approximation that are stored and compared.
N_DRAWS = 1000
# Numbers of whole draws that are in memory together: with millions of parameters, a few draws.
_NUMBERS = 2**24


class Approximation(NamedTuple):
    """An approximate posterior.

    Attributes
    ----------
    batch
        The rows, one fit.
    layout
        Of its vector.
    guide
        The family.
    found
        The member of it.
    key
        `(2,)` of its draws, which are made again where more of them than the shared ones is asked for.
    shared
        `(draw, n_shared)` of the compared parameters, unconstrained.
    """

    batch: Batch
    layout: target.SharedLayout
    guide: guides.Guide
    found: optimise.OptimisedGuide
    key: jax.Array
    shared: np.ndarray

    def log_density_shared(self, theta: np.ndarray) -> np.ndarray:
        """Log density `(n,)` of the compared parameters at `theta` `(n, n_shared)`."""
        return np.asarray(self.guide.log_density_shared(self.found.params, jnp.asarray(theta)))


def approximate(
    batch: Batch,
    settings: ApproximationSettings,
    key: jax.Array,
    log: Log,
    checkpointer: Checkpointer | None = None,
) -> Approximation:
    """Fit a guide to the rows of a batch.

    Parameters
    ----------
    batch
        Of one fit.
    key
        `(2,)` of its draws.
    checkpointer
        Saves the fit while it runs.
    """
    starting, fitting, drawing = jax.random.split(key, 3)
    layout = target.layout_of(batch)
    problem = problem_of(batch, layout, settings, starting)
    found = optimise.maximise(
        problem, svi_programs.SviPrograms(problem), settings.steps, fitting, log, checkpointer
    )
    at_once = max(1, min(N_DRAWS, _NUMBERS // layout.size))

    def first_ones(flat: jax.Array) -> jax.Array:
        return flat[: layout.n_shared]

    @jax.jit
    def of_shared(params: guides.Params) -> jax.Array:
        return problem.guide.draw_of(first_ones, params, drawing, N_DRAWS, at_once)

    shared = np.asarray(of_shared(found.params))
    return Approximation(batch, layout, problem.guide, found, drawing, shared)


def problem_of(
    batch: Batch, layout: target.SharedLayout, settings: ApproximationSettings, key: jax.Array
) -> svi_programs.SviProblem:
    """Put the posterior of a batch as the model of an SVI.

    Parameters
    ----------
    key
        `(2,)` of the guess where the guide begins.
    """
    first = target.first_guess(batch, layout, key)
    arrays = batch.arrays_of()
    n_rows = len(next(iter(arrays.values())))
    n_batch = min(settings.batch or n_rows, n_rows)
    if n_batch < n_rows:
        target.check_minibatches(batch, layout, first, n_batch)
    guide = guides.guide_of(settings.method, first, layout.n_shared)
    energy = target.energy_of(batch.function, layout, n_rows / n_batch)

    def model(arrays: dict[str, Any]) -> None:
        # Masked: all of the density is the factor.
        parts = [
            numpyro.sample(name, dist.Normal(jnp.zeros(size)).to_event(1).mask(False))
            for name, size in guide.sites.items()
        ]
        with numpyro.handlers.block():  # the sites of the user's model would count once more
            log_density = -energy(jnp.concatenate(parts), arrays)
        numpyro.factor("log_density", log_density)

    return svi_programs.SviProblem(guide, model, arrays, n_batch, layout.n_shared)


def constrained(
    approximation: Approximation, keep: Sequence[str] | None
) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Sequence[str | int]]]]:
    """Draws of the sites that are kept on the model's scale: dims, values `(draw, ...)` and labels by site."""
    batch, layout = approximation.batch, approximation.layout
    kept = kept_sites(batch, keep)
    names = [site.name for site in kept]

    def one(flat: jax.Array, arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
        z = layout.vector.unpack(flat)
        values = density.constrain(batch.function, z, arrays, deterministic=True)
        return {name: values[name] for name in names}

    # One after the other: the deterministic sites of rows on the way would fill the memory.
    @jax.jit
    def every(params: guides.Params, arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
        take = partial(one, arrays=arrays)
        return approximation.guide.draw_of(take, params, approximation.key, N_DRAWS, 1)

    drawn = every(approximation.found.params, batch.arrays_of())
    return {
        site.name: (site.dims, *own_values(batch, 0, site, np.asarray(drawn[site.name]), 1))
        for site in kept
    }
