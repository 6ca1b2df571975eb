"""Files of the studies that are shipped, as modules."""

import importlib.util
from pathlib import Path
from types import ModuleType

STUDIES = Path(__file__).parents[1] / "config" / "studies"


def load(study: str, name: str) -> ModuleType:
    """Import a Python file of a study: its model, or the program that makes its table."""
    spec = importlib.util.spec_from_file_location(f"{study}_{name}", STUDIES / study / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
