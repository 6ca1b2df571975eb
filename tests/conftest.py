"""Options and fixtures that all tests share."""

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

# Before anything imports jax: tests state facts about the CPU, whatever the machine has.
os.environ.setdefault("SCALECHECK_PLATFORM", "cpu")
# Compiling takes most of the time of the tests that fit; the same programs serve the next run.
_CACHE = Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Tests compile more than they compute: level 0 halves the time of that. Its draws are not those of the level that users
# run, but every fact of a test holds at any level: what is compared bit by bit was compiled alike.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


# Files that share fits or programs, and run in one process of two.
_ALIKE = {
    "lanes": ("test_lane_engine", "test_streamed_draws", "test_capped_fits", "test_stalled_chains"),
    "pages": (
        "test_page",
        "test_sentences",
        "test_figures",
        "test_drawn_fits",
        "test_page_in_browser",
    ),
}
_GROUPS = {name: group for group, names in _ALIKE.items() for name in names}


def pytest_collection():
    """Let the processes of a run share compiled programs: JAX alone reads what another has half written, and warns."""
    # Not above: what a conftest imports is not type-checked.
    from scalecheck.runtime import compiled_programs

    compiled_programs.share(None)


# First: xdist reads the groups in a hook of its own.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Run whole studies first: the longest last would leave one of two processes without work."""
    first = ("slurm", "workflow")
    items.sort(key=lambda item: [folder not in item.path.parts for folder in first])
    on_studies = {
        item.path
        for item in items
        if {"conjugate", "everything"} & set(getattr(item, "fixturenames", ()))
    }
    for item in items:
        own = "studies" if item.path in on_studies else _GROUPS.get(item.path.stem, item.path.stem)
        # There is one Slurm on a machine.
        own = "slurm" if "slurm" in item.path.parts else own
        item.add_marker(pytest.mark.xdist_group(own))


@pytest.fixture(scope="session")
def conjugate(tmp_path_factory):
    """A study of one normal mean whose posteriors are known exactly, all its fits done."""
    import jax  # not above: what a conftest imports is not type-checked
    import small_studies

    with jax.enable_x64(False):  # whatever the first test to ask for it works in
        return small_studies.conjugate(tmp_path_factory.mktemp("conjugate"))


@pytest.fixture(scope="session")
def everything(tmp_path_factory):
    """A study whose model has everything."""
    import jax
    import small_studies

    with jax.enable_x64(False):
        return small_studies.everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture(scope="session")
def rich(everything):
    """The same, with the batch of its subsets and levels sampled."""
    import jax
    import small_studies

    with jax.enable_x64(False):
        return small_studies.rich(everything)


class Written(NamedTuple):
    """Results of a simulated study, and the folder that holds its page and its figures."""

    inputs: Any
    folder: Any

    @property
    def html(self) -> str:
        return self.folder.report.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def written_page(tmp_path_factory):
    """Write the page of simulated results, by name, and write each once: drawing takes seconds."""
    import synthetic_results

    from scalecheck.files.layout import StudyFolder
    from scalecheck.report.page import write

    @functools.cache
    def written(name):
        inputs = getattr(synthetic_results, name)()
        folder = StudyFolder(tmp_path_factory.mktemp(name))
        left = folder.figures / "left.svg"  # of an older page
        left.parent.mkdir()
        left.touch()
        write(folder, inputs)
        return Written(inputs, folder)

    return written


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the figures of a page empty: what is said beside them is the same, and takes no seconds."""
    from markupsafe import Markup

    from scalecheck.report import svg

    empty = Markup('<svg class="plot" role="img" viewBox="0 0 1 1"></svg>')
    monkeypatch.setattr(svg, "draw", lambda name, drawing, alt: empty)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a data file and a model file alone."""
    import minimal_studies

    monkeypatch.chdir(tmp_path)
    minimal_studies.begin(tmp_path)
    return tmp_path
