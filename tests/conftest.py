"""Options and fixtures that all tests share."""

import os
from pathlib import Path

import pytest

# Before anything imports jax: tests state facts about the CPU, whatever the machine has.
os.environ.setdefault("SCALECHECK_PLATFORM", "cpu")
# Compiling takes most of the time of the tests that fit; the same programs serve the next run.
_CACHE = Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Tests compile more than they compute: a third less processor time. Level 0 saves a fifth more, and draws others.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")


def pytest_collection_modifyitems(items):
    """Run whole studies first: the longest last would leave one of two processes without work."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


@pytest.fixture(scope="session")
def conjugate(tmp_path_factory):
    """A study of one normal mean whose posteriors are known exactly, all its fits done."""
    import jax  # not above: what a conftest imports is not type-checked
    import small_studies

    with jax.enable_x64(False):  # whatever the first test to ask for it works in
        return small_studies.conjugate(tmp_path_factory.mktemp("conjugate"))


@pytest.fixture(scope="session")
def rich(tmp_path_factory):
    """A study whose model has everything, with the batch of its subsets and levels sampled."""
    import jax
    import small_studies

    with jax.enable_x64(False):
        return small_studies.rich(tmp_path_factory.mktemp("rich"))


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the figures of a page empty: what is said beside them is the same, and takes no seconds."""
    from markupsafe import Markup

    from scalecheck.report import curves, effort_plot, forest_plot

    empty = Markup('<svg class="plot" role="img" viewBox="0 0 1 1"></svg>')
    for module in (effort_plot, forest_plot, curves):
        monkeypatch.setattr(module, "draw", lambda name, drawing, alt: empty)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a data file and a model file alone."""
    import minimal_studies

    monkeypatch.chdir(tmp_path)
    minimal_studies.begin(tmp_path)
    return tmp_path
