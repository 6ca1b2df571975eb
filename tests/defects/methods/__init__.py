"""The methods that the benchmark compares: a module each, found by being here.

A module has one function, `check(case: Case) -> Answer`, which must not look at the defect of the
case (only the oracle does). Its docstring says where the method comes from. `USES_CHECKS = True`
says that its lines depend on all of the library, not on its sampler alone; `SEEDS = 5` that it is too
costly for more seeds than these. Where a package is
missing, `check` raises ImportError, and the line says "not installed".
"""

import importlib
import pkgutil
from types import ModuleType


def names() -> list[str]:
    """Names of all methods."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """Import a method."""
    return importlib.import_module(f"{__name__}.{name}")
