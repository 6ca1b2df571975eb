"""Versions of what computes, told without importing it."""

import functools
import hashlib
import importlib.metadata
import platform
from pathlib import Path

import scalecheck


@functools.cache
def versions() -> dict[str, str]:
    """Of Python and of the packages that draws may depend on."""
    packages = ("scalecheck", "jax", "jaxlib", "numpyro", "numpy", "xarray")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }


@functools.cache
def digest_of_library() -> str:
    """Give a hash of this library: who edits a check wants to see what it finds now."""
    root, found = Path(scalecheck.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(f"{path.relative_to(root)} {path.stat().st_size} ".encode())
        found.update(path.read_bytes())
    return found.hexdigest()
