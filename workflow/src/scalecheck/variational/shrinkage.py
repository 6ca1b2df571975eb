"""How far units are drawn to their population: the estimate from a unit's rows alone beside its posterior."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

from scalecheck.evaluation import unit_density
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.unit_scores import unit_codes
from scalecheck.variational import khat

# What is left of the population's prior, so that a flat curve has an estimate at all.
_LEFT = 0.01
_MOST_STEPS = 500


class ShrunkSite(NamedTuple):
    """A site of units, `(unit,)` each.

    Attributes
    ----------
    site
        Its name; `name[i]` for an element of vectors.
    separate
        Estimated from the unit's own rows.
    posterior
        Posterior mean by NUTS.
    slope
        Of the regression of the second on the first, a scalar: 1 where nothing is shrunk.
    """

    site: str
    separate: np.ndarray
    posterior: np.ndarray
    slope: float


def measure_shrinkage(
    likelihood: Likelihood,
    values: Mapping[str, np.ndarray],
    theta: np.ndarray,
    own: Mapping[str, np.ndarray],
) -> list[ShrunkSite]:
    """Estimate every unit from its own rows, the prior of its latent sites reduced to a hundredth.

    Parameters
    ----------
    values
        Columns `(rows,)`.
    theta
        `(d,)` posterior mean of the compared parameters, unconstrained: noise and whatever else rows share.
    own
        Posterior means `(...)` of the sites of units, on the model's scale.
    """
    hidden = likelihood.hidden
    if not hidden or khat.reason_against(likelihood, own):
        return []
    rows = likelihood.rows(values)
    n_units = int(unit_codes(likelihood, values).max()) + 1
    parts = unit_density.DensityOptions(likelihood, likelihood.function(rows.counts), n_units)
    changes = khat.transforms_of(likelihood, parts.function, rows.arrays)
    start = {name: changes[name].inv(jnp.asarray(own[name], "float64")) for name in changes}
    flat, unravel = ravel_pytree(start)

    def energy(flat: jax.Array, arrays: dict[str, jax.Array]) -> jax.Array:
        latent = {name: changes[name](z) for name, z in unravel(flat).items()}
        of_row, of_unit = unit_density.log_density(parts, jnp.asarray(theta), latent, arrays)
        return -of_row.sum() - _LEFT * of_unit.sum()

    loss = jax.jit(jax.value_and_grad(energy))

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = loss(jnp.asarray(x), rows.arrays)
        return float(value), np.asarray(gradient, "float64")

    found = minimize(
        objective, np.asarray(flat), jac=True, method="L-BFGS-B", options={"maxiter": _MOST_STEPS}
    )
    separate = {n: np.asarray(changes[n](z)) for n, z in unravel(jnp.asarray(found.x)).items()}
    return [
        one
        for site in hidden
        for one in _of_site(site.name, site.plates[0][1], separate[site.name], own[site.name])
    ]


def _of_site(name: str, axis: int, separate: np.ndarray, posterior: np.ndarray) -> list[ShrunkSite]:
    pairs = [
        np.moveaxis(part, axis, 0).reshape(part.shape[axis], -1).T for part in (separate, posterior)
    ]
    elements = [name] if len(pairs[0]) == 1 else [f"{name}[{i}]" for i in range(len(pairs[0]))]
    return [
        ShrunkSite(element, x, y, float(np.polyfit(x, y, 1)[0]) if np.ptp(x) > 0 else 1.0)
        for element, x, y in zip(elements, *pairs, strict=True)
    ]
