"""Where chains start: finite draws from the prior; and what is to blame where there is none."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers

from scalecheck import density, sites, store
from scalecheck.batches import Batch
from scalecheck.errors import StudyError
from scalecheck.study import SamplerSettings

NDArray = np.ndarray

_TRIES = 10  # batches of candidate starts


def find_starts(batch: Batch, settings: SamplerSettings, keys: jax.Array) -> dict[str, jax.Array]:
    """Find a start with finite density and gradient for every chain of every fit: `(fit, chain, ...)`.

    Raises
    ------
    StudyError
        When a fit has none: names the site and the row that are to blame.
    """
    latent = [site.name for site in batch.sites if site.kind == "latent"]
    n_candidates = 2 * settings.chains

    @jax.jit
    def candidates(key: jax.Array, arrays: dict[str, jax.Array]) -> tuple[Any, jax.Array]:
        draw_keys = jax.random.split(key, n_candidates)
        drawn = density.prior_draws(batch.function, latent, arrays, draw_keys)
        z = jax.vmap(lambda values: density.unconstrain(batch.function, values, arrays))(drawn)
        if settings.start == "uniform":
            z = {
                name: jax.random.uniform(
                    jax.random.fold_in(key, i), values.shape, values.dtype, -2, 2
                )
                for i, (name, values) in enumerate(sorted(z.items()))
            }
        energy = density.potential(batch.function)(**arrays)
        value, gradient = jax.vmap(jax.value_and_grad(energy))(z)
        flat = [
            jnp.isfinite(part).reshape(n_candidates, -1).all(1)
            for part in jax.tree.leaves(gradient)
        ]
        return z, jnp.isfinite(value) & jnp.stack(flat).all(0)

    found = [
        _starts_of_fit(batch, i, candidates, key, settings.chains) for i, key in enumerate(keys)
    ]
    return {name: jnp.stack([start[name] for start in found]) for name in latent}


def _starts_of_fit(
    batch: Batch, number: int, candidates: Callable[..., Any], key: jax.Array, n_chains: int
) -> dict[str, jax.Array]:
    arrays = {name: values[number] for name, values in batch.arrays.items()}
    good: list[Any] = []
    worst: dict[str, jax.Array] = {}
    for attempt in range(_TRIES):
        z, valid = candidates(jax.random.fold_in(key, attempt), arrays)
        worst = _take(z, int(np.argmin(valid)))
        good.append(_take(z, np.flatnonzero(valid)))
        if sum(len(next(iter(part.values()))) for part in good) >= n_chains:
            return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:n_chains], *good)
    raise _blame(batch, number, worst)


def _take(z: dict[str, jax.Array], which: NDArray | int) -> dict[str, jax.Array]:
    return {name: values[which] for name, values in z.items()}


def _blame(batch: Batch, number: int, z: Mapping[str, jax.Array]) -> StudyError:
    """Say which site, and which row of the observed one, makes a fit's density or gradient not finite.

    `z` is one start: unconstrained sites `(*site,)`, without a leading dimension.
    """
    # Outside of a program NumPyro raises where a parameter is NaN, which is what is looked for.
    with numpyro.validation_enabled(False):
        return _find_culprit(batch, number, z)


def _find_culprit(batch: Batch, number: int, z: Mapping[str, jax.Array]) -> StudyError:
    arrays = {name: jnp.asarray(values[number]) for name, values in batch.arrays.items()}
    fit = batch.tasks[number].fit
    constrained = density.constrain(batch.function, dict(z), arrays)
    trace = sites.traced(
        handlers.substitute(batch.function, data=constrained), arrays, jax.random.key(0)
    )
    observed = next(site.name for site in batch.sites if site.kind == "observed")
    latent = [site.name for site in batch.sites if site.kind == "latent"]
    factors = [site.name for site in batch.sites if site.kind == "factor"]
    for name in [*latent, *factors, observed]:
        log_prob = trace[name]["fn"].log_prob(trace[name]["value"])
        if not bool(jnp.isfinite(log_prob).all()):
            where = _bad_row(batch, number, ~jnp.isfinite(log_prob)) if name == observed else ""
            return StudyError(
                f"{fit}: no start has a finite log density: the site {name} is to blame{where}"
            )
    for name, slope in _slopes_by_row(batch, observed, z, arrays).items():
        if not bool(jnp.isfinite(slope).all()):
            where = _bad_row(batch, number, ~jnp.isfinite(slope))
            return StudyError(
                f"{fit}: no start has a finite gradient: the site {observed} is to blame{where},"
                f" in the direction of {name}"
            )
    return StudyError(
        f"{fit}: no start has a finite log density and gradient: the prior of {', '.join(latent)}"
        " may be too wide"
    )


def _slopes_by_row(
    batch: Batch, observed: str, z: Mapping[str, jax.Array], arrays: dict[str, jax.Array]
) -> dict[str, jax.Array]:
    """Slope `(rows,)` of each row's log likelihood along each site; nothing where rows have none.

    Forward: backward, a row that is not finite would make all others NaN by `0 x inf`.
    """
    if not density.has_row_likelihood(batch.function, observed, arrays):
        return {}

    def slope(name: str) -> jax.Array:
        along = lambda value: density.row_log_likelihood(  # noqa: E731
            batch.function, observed, {**z, name: value}, arrays
        )
        return jax.jvp(along, (z[name],), (jnp.ones_like(z[name]),))[1]

    return {name: slope(name) for name in z}


def _bad_row(batch: Batch, number: int, bad: jax.Array) -> str:
    rows = np.flatnonzero(np.asarray(bad).reshape(len(bad), -1).any(axis=1))
    own = batch.values[number][store.FILE_ROW]
    named = [str(own[row]) for row in rows[:3] if row < len(own)]
    return f" at row {', '.join(named)}" if named else ""
