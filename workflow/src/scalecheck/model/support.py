"""The support of a distribution: of its single entries, its ends, and how a person would say it."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Real
from numpyro.distributions import constraints

_INDEPENDENT = type(constraints.independent(constraints.real, 1))


def of_entries(support: Any) -> Any:
    """Undo `to_event`: the support that each entry is asked by itself."""
    while isinstance(support, _INDEPENDENT):
        support = support.base_constraint
    return support


def ends(support: Any) -> tuple[Real[Array, "..."], Real[Array, "..."]]:
    """Lower and upper end of the support of entries, infinite where it has none."""
    if support is constraints.boolean:
        return jnp.zeros(()), jnp.ones(())
    lower, upper = (
        getattr(support, "lower_bound", -jnp.inf),
        getattr(support, "upper_bound", jnp.inf),
    )
    return jnp.asarray(lower), jnp.asarray(upper)


def in_words(support: Any, lower: float, upper: float) -> str:
    """Say what a distribution takes: `the whole numbers from 0 to 2`; nothing where no words are known.

    Parameters
    ----------
    support
        Of entries.
    lower, upper
        Its ends at the row that is spoken of.
    """
    numbers = "the whole numbers" if support.is_discrete else "the numbers"
    match support:
        case constraints.boolean:
            return "0 and 1"
        case constraints.open_interval():
            return f"{numbers} between {lower:g} and {upper:g}"
        case constraints.interval() | constraints.integer_interval():
            return f"{numbers} from {lower:g} to {upper:g}"
        case constraints.greater_than_eq() | constraints.integer_greater_than():
            return f"{numbers} from {lower:g} on"
        case constraints.greater_than():
            return f"{numbers} above {lower:g}"
        case constraints.less_than_eq():
            return f"{numbers} up to {upper:g}"
        case constraints.less_than():
            return f"{numbers} below {upper:g}"
    return ""
