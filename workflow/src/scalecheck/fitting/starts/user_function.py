"""A user's function that gives starts: `sampler.start: function:NAME`, NAME being a function of the model's file."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from scalecheck.errors import StudyError, did_you_mean
from scalecheck.model import binding, sites
from scalecheck.model.binding import Model
from scalecheck.model.density import Arrays, Sites
from scalecheck.model.rows import Rows

PREFIX = "function:"

Start = Callable[..., Any]


def load_start_function(bound: Model, start: str) -> Start:
    """Load the function that `sampler.start` names.

    Raises
    ------
    StudyError
        When the file lacks it, when it takes no key, or an argument that the model does not take.
    """
    name = start.removeprefix(PREFIX)
    function = binding.load_function(bound.file, name, "sampler.start")
    takes = inspect.signature(function).parameters
    known = [*bound.arguments, *bound.counts, *(["n_rows"] if bound.n_rows else [])]
    if "key" not in takes:
        raise StudyError(f"{_named(bound, function)} must take the argument key, a random key")
    for argument, parameter in takes.items():
        optional = parameter.default is not parameter.empty or parameter.kind in binding.VARIADIC
        if argument not in ("key", *known) and not optional:
            raise StudyError(
                f"{_named(bound, function)} takes {argument}, which is no argument of the model"
                f"{did_you_mean(argument, known)}"
            )
    return function


def _named(bound: Model, start: Start) -> str:
    return f"{bound.file}: the function {start.__name__}, which sampler.start names,"


def draw_start(
    start: Start,
    bound: Model,
    function: Callable[..., Any],
    arrays: Arrays,
    counts: Mapping[str, int],
    key: jax.Array,
) -> Sites:
    """Ask for one start: a value `(*site,)` of every latent site, on its support.

    Parameters
    ----------
    start
        From `load_start_function`.
    function
        The model as a function of its arrays.
    counts
        What the model takes beside its arrays.

    Raises
    ------
    StudyError
        When the function raises, or gives other sites or shapes than the model has.
    """
    values = _call(start, bound, {**arrays, **counts}, key)
    trace = sites.traced(function, arrays, key)
    latent = {
        name: site["value"]
        for name, site in trace.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    where = _named(bound, start)
    for name in values:
        if name not in latent:
            raise StudyError(
                f"{where} gives {name}, which is no latent site of the model{did_you_mean(name, latent)}"
            )
    for name, value in latent.items():
        if name not in values:
            raise StudyError(
                f"{where} must give a value of every latent site, but gives none of {name}"
            )
        if jnp.shape(values[name]) != jnp.shape(value):
            raise StudyError(
                f"{where} must give {name} in its shape {jnp.shape(value)}, got {jnp.shape(values[name])}"
            )
    return {name: values[name].astype(value.dtype) for name, value in latent.items()}


def _call(start: Start, bound: Model, given: Mapping[str, Any], key: jax.Array) -> Sites:
    """Call the function with what it takes of what the model takes."""
    takes = inspect.signature(start).parameters
    path = Path(bound.file)
    try:
        values = start(**{name: given[name] for name in takes if name in given}, key=key)
    except Exception as error:
        raise StudyError(
            f"{path}{binding.line_of(error, path)}: the function {start.__name__}, which sampler.start names, raises"
            f" {binding.first_line(error)}"
        ) from error
    if not isinstance(values, Mapping):
        raise StudyError(
            f"{_named(bound, start)} must return a dictionary of latent sites, got {type(values).__name__}"
        )
    return {str(name): _number(start, bound, name, value) for name, value in values.items()}


def _number(start: Start, bound: Model, name: Any, value: Any) -> jax.Array:
    try:
        found = jnp.asarray(value)
    except (TypeError, ValueError):
        found = None
    if found is None or jnp.iscomplexobj(found):
        kind = type(value).__name__ if found is None else "complex numbers"
        raise StudyError(f"{_named(bound, start)} must give {name} as real numbers, got {kind}")
    return found


def check_start_function(bound: Model, start: str, rows: Rows) -> None:
    """Load the function and ask it for a start, without computing.

    Raises
    ------
    StudyError
        As `load_start_function` and `draw_start`.
    """
    function = load_start_function(bound, start)
    of_arrays = sites.function_of_arrays(bound, rows.counts)
    jax.eval_shape(
        lambda arrays: draw_start(
            function, bound, of_arrays, arrays, rows.counts, jax.random.key(0)
        ),
        dict(rows.arrays),
    )
