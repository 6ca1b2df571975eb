"""What in a model asks for the values of an array while JAX traces it, and what to write instead."""

import linecache
import re
import traceback
from pathlib import Path

# By the name of the class, as the package that only prepares data loads no JAX. A bool is the narrower kind.
_KINDS = (
    "TracerArrayConversionError",
    "TracerBoolConversionError",
    "TracerIntegerConversionError",
    "NonConcreteBooleanIndexError",
    "ConcretizationTypeError",
)
_NOT_SCALAR = (
    "Only scalar arrays can be converted to Python scalars"  # of float() and of the module math
)

# How long their results are depends on the values, in jax.numpy as in NumPy.
_OF_UNKNOWN_SIZE = (
    "unique",
    "nonzero",
    "flatnonzero",
    "argwhere",
    "extract",
    "compress",
    "setdiff1d",
    "union1d",
)
_IN_JAX_NUMPY = {"float": "x.astype(float)", "int": "x.astype(int)", "bool": "x.astype(bool)"}


def last_frame(error: BaseException, path: Path) -> traceback.FrameSummary | None:
    """Find the last line of the user's file that an error passed through."""
    files = {str(path), str(path.resolve())}
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename in files]
    return frames[-1] if frames else None


def needs_values(error: BaseException, frame: traceback.FrameSummary | None) -> str | None:
    """Say what needs the values of an array, and what to write instead; None for any other error.

    Parameters
    ----------
    frame
        Where in the user's file it came up.
    """
    names = [kind.__name__ for kind in type(error).__mro__]
    kind = next((name for name in _KINDS if name in names), None)
    if kind is None and _NOT_SCALAR not in str(error):
        return None
    source = _source(frame)
    return f"{source or 'it'} needs the values of an array while JAX traces the model: {_instead(kind, source)}"


def _source(frame: traceback.FrameSummary | None) -> str:
    """The expression that failed, as it is written, up to the end of its first line."""
    if frame is None or frame.colno is None or frame.end_colno is None:
        return ""
    linecache.checkcache(frame.filename)
    line = linecache.getline(frame.filename, frame.lineno or 0).encode()  # columns count bytes
    end = frame.end_colno if frame.end_lineno == frame.lineno else None
    source = line[frame.colno : end].decode(errors="ignore").strip()
    return source + "...)" if source.endswith("(") else source


def _instead(kind: str | None, source: str) -> str:
    called = re.match(r"(?:(\w+)\.)?([\w.]+)\(", source)
    module, function = called.groups() if called else (None, "")
    if function in _OF_UNKNOWN_SIZE:
        return (
            "the number of its results would depend on them: make a column of them in the file, or take the argument"
            " n_<column>, which counts the levels of a column of labels"
        )
    if kind == "NonConcreteBooleanIndexError":
        return (
            "the number of rows would depend on them: write jnp.where(condition, x, other), or leave rows out of the"
            " file"
        )
    if kind == "TracerBoolConversionError":
        return "write jnp.where(condition, this, other) in place of if, and, or, min and max"
    if function == "range":
        return "write jax.lax.fori_loop or scan in place of a loop whose length they decide"
    if kind == "TracerIntegerConversionError":
        return (
            "index an array of jax.numpy with it, jnp.asarray(values)[index], and no list of Python"
        )
    if module in ("np", "numpy", "math"):
        return f"write jax.numpy (jnp.{function}) in place of {module}"
    if function in _IN_JAX_NUMPY:
        return f"write {_IN_JAX_NUMPY[function]} in place of {function}(x)"
    return "write functions of jax.numpy in place of those of NumPy and Python"
