"""Whether a model is the same one whenever it is called: not where it draws numbers by other means than NumPyro."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.infer.util import log_density

from scalecheck.errors import StudyError
from scalecheck.model.binding import raised
from scalecheck.model.jaxpr import operations_and_numbers


def check_deterministic(file: str, function: Callable[..., Any], arrays: Mapping[str, Any]) -> None:
    """Trace a model twice, and refuse one whose programs differ in a number or an operation.

    Each fit is traced several times (for its starts, its gradient, its predictions), and every trace
    would be another model.

    Parameters
    ----------
    function
        The bound model as a function of its arrays.
    arrays
        Model argument -> `(rows, ...)`.

    Raises
    ------
    StudyError
        Names the file, also where the density cannot be computed at all.
    """
    try:
        one, other = (list(operations_and_numbers(_program(function, arrays))) for _ in range(2))
    except Exception as error:
        raise StudyError(raised(file, "the density of the model raises", error)) from error
    if len(one) != len(other) or not all(map(_same, one, other)):
        raise StudyError(
            f"{file}: the model is another one each time that it is called: what is random must be drawn by"
            " numpyro.sample, not by numpy.random, random or the time"
        )


def _program(function: Callable[..., Any], arrays: Mapping[str, Any]) -> Any:
    def log_joint(arrays: dict[str, Any]) -> Any:
        return log_density(handlers.seed(function, jax.random.key(0)), (), arrays, {})[0]

    return jax.make_jaxpr(log_joint)(dict(arrays))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    if isinstance(one, jax.Array) and jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        return True  # NumPyro's own
    one, other = np.asarray(one), np.asarray(other)
    return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
