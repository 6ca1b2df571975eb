"""What is to blame where a fit has no start: the site, and the row of the observed one."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers

from scalecheck.data import store
from scalecheck.errors import StudyError
from scalecheck.model import density, sites
from scalecheck.model.batches import Batch


# Outside of a program NumPyro raises where a parameter is NaN, which is what is looked for.
@numpyro.validation_enabled(False)
def no_start_error(batch: Batch, number: int, z: Mapping[str, Any], start: str) -> StudyError:
    """Say which site, and which row of the observed one, makes a fit's density or gradient not finite.

    Parameters
    ----------
    number
        Of the fit in the batch.
    z
        One start: unconstrained sites, each in its own shape without a leading dimension.
    start
        `sampler.start`, which gave it.
    """
    arrays, at = jax.tree.map(jnp.asarray, (batch.arrays_of(number), dict(z)))
    by = "" if start == "prior" else f" by sampler.start {start}"
    none = f"{batch.tasks[number].fit}: no start{by} has a finite"
    constrained = density.constrain(batch.function, at, arrays)
    trace = sites.traced(
        handlers.substitute(batch.function, data=constrained), arrays, jax.random.key(0)
    )
    # A model without data may observe nothing, or many sites.
    observed = [site.name for site in batch.sites if site.kind == "observed"]
    latent = [site.name for site in batch.sites if site.kind == "latent"]
    factors = [site.name for site in batch.sites if site.kind == "factor"]
    for name in [*latent, *factors, *observed]:
        log_prob = trace[name]["fn"].log_prob(trace[name]["value"])
        if not bool(jnp.isfinite(log_prob).all()):
            where = _bad_row(batch, number, ~jnp.isfinite(log_prob)) if name in observed else ""
            return StudyError(f"{none} log density: the site {name} is to blame{where}")
    for site in observed:
        for name, slope in _slopes_by_row(batch, site, at, arrays).items():
            if not bool(jnp.isfinite(slope).all()):
                where = _bad_row(batch, number, ~jnp.isfinite(slope))
                return StudyError(
                    f"{none} gradient: the site {site} is to blame{where},"
                    f" in the direction of {name}"
                )
    return StudyError(
        f"{none} log density and gradient: the prior of {', '.join(latent)} may be too wide"
    )


def _slopes_by_row(
    batch: Batch, observed: str, z: Mapping[str, Any], arrays: dict[str, jax.Array]
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
    own = batch.values[number].get(store.FILE_ROW)
    if own is None:  # a model without data
        return ""
    rows = np.flatnonzero(np.asarray(bad).reshape(len(bad), -1).any(axis=1))
    named = [str(own[row]) for row in rows[:3] if row < len(own)]
    return f" at row {', '.join(named)}" if named else ""
