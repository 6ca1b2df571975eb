"""docs/architecture.md and its picture say what the code is."""

import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
LIBRARY = CHECKOUT / "workflow/src/scalecheck"
TEXT = (CHECKOUT / "docs/architecture.md").read_text()
DOCUMENTS = [
    *sorted((CHECKOUT / "docs").glob("*.md")),
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md")),
]


@pytest.fixture(scope="module")
def architecture():
    """The program that draws the picture."""
    spec = importlib.util.spec_from_file_location("architecture", CHECKOUT / "docs/architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_shows_the_imports(architecture):
    picture = ET.parse(architecture.PICTURE)
    names = {element.get("id", "") for element in picture.iter()}
    drawn = {tuple(name.split("-imports-")) for name in names if "-imports-" in name}
    assert drawn == architecture.arrows(), "run: python docs/architecture.py"
    assert set(architecture.imports()) <= names


def test_an_arrow_that_follows_from_others_is_not_drawn(architecture):
    imported = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()}
    assert architecture.arrows(imported) == {("a", "b"), ("b", "c")}
    assert architecture.layers_of(imported) == {"c": 0, "b": 1, "a": 2}


def found(path: str) -> Path | None:
    """A path of the checkout or of the library, as the documents name it."""
    places = [CHECKOUT / path, LIBRARY / path, LIBRARY.parent / path]
    return next((place for place in places if place.exists()), None)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_that_a_document_names_exist(document):
    own = ("my/", "path/to/", "results/")  # of the reader
    named = re.findall(r"`([\w.-]+/[\w./-]+\.(?:py|smk|yaml|csv|jinja|md))`", document.read_text())
    inside = ("fits/", "checks/")  # of results
    wanted = {path for path in named if not path.startswith((*own, *inside)) and "<" not in path}
    assert {
        path for path in wanted if not (found(path) or (document.parent / path).exists())
    } == set()


NAMED = sorted(set(re.findall(r"`(\w+)`\s+\(?in\s+`([\w./]+\.(?:py|smk))`", TEXT)))


@pytest.mark.parametrize(("name", "path"), NAMED, ids=lambda value: value)
def test_a_function_is_where_the_page_says(name, path):
    place = found(path)
    assert place is not None
    defined = rf"^(?:\s*(?:def|class)|rule|checkpoint) {name}\b|^{name}\b.* = "
    assert re.search(defined, place.read_text(), flags=re.MULTILINE)


STEPS = re.findall(r"^\d+\. .*?(?=^\d+\. |\n\n|\Z)", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[:40])
def test_what_a_step_names_stands_in_its_files(step):
    files = [found(path) for path in re.findall(r"`([\w./]+/[\w.]*)`", step)]
    text = "".join(file.read_text() for file in files if file is not None and file.is_file())
    names = re.findall(r"`(\w*(?:[A-Z]|\w_|_\w)\w*)`", step)
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []
