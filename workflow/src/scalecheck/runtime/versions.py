"""Versions of what computes, told without importing it."""

import functools
import importlib.metadata
import platform


@functools.cache
def versions() -> dict[str, str]:
    """Of Python and of the packages that draws may depend on."""
    packages = ("scalecheck", "jax", "jaxlib", "numpyro", "numpy", "xarray")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }
