"""One-step estimates of levels on the scale of the model, which a reader compares with those of fits."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import biject_to
from numpyro.distributions.transforms import IndependentTransform, Transform
from scipy.stats import norm

from scalecheck.checks.finding import INTERVAL
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.model import density

# Points that one call takes: of any number of levels there is one program.
_BLOCK = 256


class OneStepEstimates(NamedTuple):
    """Estimates and 89 % intervals on the scale of the model; NaN where there is none, or an end is not finite.

    Attributes
    ----------
    mean, low, high
        `(level, d)`.
    """

    mean: Float[np.ndarray, "level d"]
    low: Float[np.ndarray, "level d"]
    high: Float[np.ndarray, "level d"]


def one_step_estimates(
    likelihood: Likelihood,
    pooled: Float[np.ndarray, " d"],
    step: Float[np.ndarray, "level d"],
    sd: Float[np.ndarray, "level d"],
) -> OneStepEstimates:
    """Bring one-step estimates and the ends of their intervals to the scale of the model.

    Each element moves alone, the others stay at the pooled estimate. An element of a simplex, a Cholesky factor or an
    ordered vector cannot: it has no estimate.

    Parameters
    ----------
    likelihood
        Of the model.
    pooled
        `(d,)` pooled estimate, unconstrained.
    step, sd
        `(level, d)` shift of each level from it and its sd, unconstrained.
    """
    margin = norm.ppf((1 + INTERVAL) / 2) * sd
    mean, *ends = _on_model_scale(
        likelihood, pooled, pooled + np.stack([step, step - margin, step + margin])
    )
    # A bijection may reverse the order, as that to numbers below a bound does.
    return OneStepEstimates(mean, np.minimum(*ends), np.maximum(*ends))


def _on_model_scale(
    likelihood: Likelihood,
    pooled: Float[np.ndarray, " d"],
    points: Float[np.ndarray, "part level d"],
) -> Float[np.ndarray, "part level d"]:
    """Transform points element by element; NaN where that cannot be done or is not finite."""
    rows = likelihood.rows(likelihood.few)
    key = ("model scale", *sorted(rows.counts.items()))
    program = likelihood.program(key, lambda: _program(likelihood, rows.counts))
    flat = points.reshape(-1, len(pooled))
    found = np.empty_like(flat)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        padded = np.tile(pooled, (_BLOCK, 1))
        padded[: len(block)] = block
        found[start : start + len(block)] = program(pooled, padded, rows.arrays)[: len(block)]
    return np.where(np.isfinite(found), found, np.nan).reshape(points.shape)


def _program(likelihood: Likelihood, counts: Any) -> Callable[..., Any]:
    """Compile `(pooled (d,), points (n, d), arrays) -> (n, d)`.

    Supports are those at the pooled estimate. They depend on other sites at most, and these do not move.
    """
    function, vector = likelihood.function(counts), likelihood.vector

    @jax.jit
    def program(pooled: Any, points: Any, arrays: Any) -> Float[Array, "n d"]:
        trace = density.traced_at(function, vector.unpack(pooled), arrays)
        transforms = {name: biject_to(trace[name]["fn"].support) for name in vector.shapes}

        def at(point: Float[Array, " d"]) -> Float[Array, " d"]:
            z = vector.unpack(point)
            return vector.pack({name: _by_element(transforms[name], z[name]) for name in z})

        return jax.vmap(at)(points)

    return program


def _by_element(transform: Transform, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Transform a site whose elements do not depend on each other; NaN of any other."""
    while isinstance(transform, IndependentTransform):
        transform = transform.base_transform
    return transform(z) if transform.domain.event_dim == 0 else jnp.full_like(z, jnp.nan)
