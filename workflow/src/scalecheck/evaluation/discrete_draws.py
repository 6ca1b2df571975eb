"""Draws of discrete outcomes by NumPy: JAX's samplers of counts are loops, which take long to compile and to run.

A family says which parameters of a NumPyro distribution NumPy needs, computed with the model, and how an outcome is
drawn from them. Distributions that are no member of a family keep NumPyro's samplers. The family is that of the very
class: a class that is derived from one of these may be drawn otherwise.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float, Real, UInt32
from numpyro.distributions.discrete import ZeroInflatedLogits, ZeroInflatedProbs

from scalecheck.model.masks import WRAPPERS

Parameters = Mapping[str, Any]
Shape = tuple[int, ...]

# Beyond it NumPy refuses to draw Poisson numbers.
_HIGHEST_RATE = 9e18


class Family(NamedTuple):
    """A family of distributions that NumPy draws from.

    Attributes
    ----------
    parameters
        `distribution -> {name: array}`, in JAX; they broadcast from the right to the entries of the distribution.
    draw
        `(rng, parameters, shape) -> outcome` of that shape, in NumPy.
    """

    parameters: Callable[[Any], dict[str, Any]]
    draw: Callable[[np.random.Generator, Parameters, Shape], Real[np.ndarray, "..."]]


def family_of(fn: dist.Distribution) -> Family | None:
    """Give the family of a distribution, or None where NumPyro has to draw; masks and shapes do not matter."""
    inner = _innermost(fn)
    if type(inner) in (dist.ZeroInflatedPoisson, ZeroInflatedProbs, ZeroInflatedLogits):
        base = family_of(inner.base_dist)
        return None if base is None else _zero_inflated(base)
    return _FAMILIES.get(type(inner))


def parameters_of(family: Family, fn: dist.Distribution) -> dict[str, Any]:
    """Give the parameters of a distribution of a family."""
    return family.parameters(_innermost(fn))


def draw_outcome(
    family: Family, parameters: Parameters, key: UInt32[np.ndarray, " 2"], block: int, shape: Shape
) -> Float[np.ndarray, "..."]:
    """Draw one outcome: a function of parameters, key and number of the block alone.

    Parameters
    ----------
    family
        Of the outcome's distribution.
    parameters
        From `parameters_of`. Where one is no number, neither is the outcome.
    key
        Of JAX's form.
    block
        Which rows of the replicate these are.
    shape
        Of the outcome.
    """
    high, low = (int(word) for word in key)
    rng = np.random.Generator(np.random.Philox(key=[high << 32 | low, block]))
    return family.draw(rng, parameters, shape).astype(float)


def _innermost(fn: Any) -> Any:
    while isinstance(fn, WRAPPERS):
        fn = fn.base_dist
    return fn


def _probability(p: Real[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Give probabilities that NumPy takes: rounded ones may be above 1."""
    return np.clip(np.nan_to_num(p), 0.0, 1.0)


def _where_known(drawn: Any, *parameters: Any) -> Any:
    unknown = [one for one in map(np.isnan, parameters) if one.any()]
    for one in unknown:
        drawn = np.where(one, np.nan, drawn)
    return drawn


def _bernoulli(rng: np.random.Generator, given: Parameters, shape: Shape) -> Any:
    return _where_known(rng.random(shape) < given["probs"], given["probs"])


def _binomial(rng: np.random.Generator, given: Parameters, shape: Shape) -> Any:
    trials = np.asarray(given["trials"]).astype("int64")
    return _where_known(rng.binomial(trials, _probability(given["probs"]), shape), given["probs"])


def _beta_binomial(rng: np.random.Generator, given: Parameters, shape: Shape) -> Any:
    # As a ratio of gamma variables: NumPy's beta refuses concentrations that have underflowed to zero.
    one, zero = (
        rng.standard_gamma(_positive(given[name]), shape) for name in ("successes", "failures")
    )
    total = one + zero
    probs = np.divide(one, total, out=np.full(shape, np.nan), where=total > 0)
    drawn = _binomial(rng, {"probs": probs, "trials": given["trials"]}, shape)
    return _where_known(drawn, given["successes"], given["failures"])


def _positive(values: Real[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.maximum(np.nan_to_num(values), 0.0)


def _poisson(rng: np.random.Generator, given: Parameters, shape: Shape) -> Any:
    rate = np.minimum(_positive(given["rate"]), _HIGHEST_RATE)
    return _where_known(rng.poisson(rate, shape), given["rate"])


def _gamma_poisson(rng: np.random.Generator, given: Parameters, shape: Shape) -> Any:
    gamma = rng.standard_gamma(_positive(given["concentration"]), shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(gamma > 0, gamma / given["rate"], 0.0)
    return _where_known(_poisson(rng, {"rate": rate}, shape), given["concentration"])


def _geometric(rng: np.random.Generator, given: Parameters, shape: Shape) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        failures = np.log1p(-rng.random(shape)) / np.log1p(-_probability(given["probs"]))
    return _where_known(np.floor(failures), given["probs"])


def _categorical(rng: np.random.Generator, given: Parameters, shape: Shape) -> Any:
    """Count the cumulative probabilities up to a uniform number."""
    reached = np.cumsum(given["probs"], axis=-1)
    u = rng.random(shape) * reached[..., -1]
    drawn = np.zeros(shape)
    for category in range(reached.shape[-1] - 1):
        drawn += reached[..., category] <= u
    return _where_known(drawn, reached[..., -1])


def _zero_inflated(base: Family) -> Family:
    """Give the family of a base distribution beside zeros."""

    def parameters(fn: Any) -> dict[str, Any]:
        return {"gate": fn.gate, "base": parameters_of(base, fn.base_dist)}

    def draw(rng: np.random.Generator, given: Parameters, shape: Shape) -> Any:
        is_zero = _bernoulli(rng, {"probs": given["gate"]}, shape)
        return (1 - is_zero) * base.draw(rng, given["base"], shape)

    return Family(parameters, draw)


def _of_probs(fn: Any) -> dict[str, Any]:
    return {"probs": fn.probs}


def _of_trials(fn: Any) -> dict[str, Any]:
    return {"probs": fn.probs, "trials": fn.total_count}


def _of_beta(fn: Any) -> dict[str, Any]:
    return {
        "successes": fn.concentration1,
        "failures": fn.concentration0,
        "trials": fn.total_count,
    }


def _of_gamma(fn: Any) -> dict[str, Any]:
    return {"concentration": fn.concentration, "rate": fn.rate}


_FAMILIES = {
    dist.BernoulliProbs: Family(_of_probs, _bernoulli),
    dist.BernoulliLogits: Family(_of_probs, _bernoulli),
    dist.BinomialProbs: Family(_of_trials, _binomial),
    dist.BinomialLogits: Family(_of_trials, _binomial),
    dist.BetaBinomial: Family(_of_beta, _beta_binomial),
    dist.Poisson: Family(lambda fn: {"rate": fn.rate}, _poisson),
    dist.GammaPoisson: Family(_of_gamma, _gamma_poisson),
    dist.NegativeBinomial2: Family(_of_gamma, _gamma_poisson),
    dist.NegativeBinomialProbs: Family(_of_gamma, _gamma_poisson),
    dist.NegativeBinomialLogits: Family(_of_gamma, _gamma_poisson),
    dist.GeometricProbs: Family(_of_probs, _geometric),
    dist.GeometricLogits: Family(_of_probs, _geometric),
    dist.CategoricalProbs: Family(_of_probs, _categorical),
    dist.CategoricalLogits: Family(_of_probs, _categorical),
    dist.OrderedLogistic: Family(_of_probs, _categorical),
}
