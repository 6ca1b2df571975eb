"""The documents, the schema, the settings and the docstrings say the same."""

import ast
import copy
import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from scalecheck import configuration, schema, study
from scalecheck.records import PLAN_COLUMNS

CHECKOUT = Path(__file__).parents[1]
PAGE = CHECKOUT / "config/README.md"
KEYS = schema.keys()
SECTIONS = {name for name, part in KEYS.items() if "properties" in part}
STUDY_FILES = [
    path.relative_to(CHECKOUT)
    for path in sorted((CHECKOUT / "config/studies").glob("*/*.yaml"))
    if "study" in yaml.safe_load(path.read_text())
]
MINIMAL: dict[str, Any] = {
    "study": "any",
    "data": {"file": "data.csv", "outcome": "y"},
    "model": {"file": "model.py"},
}


# ---- config/README.md


class Row(NamedTuple):
    """A row of a table in Markdown, its cells stripped."""

    header: str
    cells: tuple[str, ...]


def table_rows(text: str) -> list[Row]:
    """Every body row of every table, with the first cell of its header."""
    rows: list[Row] = []
    header = None
    for line in text.splitlines():
        if not line.startswith("|"):
            header = None
            continue
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | "))
        if header is None:
            header = " ".join(cells[:2])
        elif not set(cells[0]) <= {"-", " ", "|"}:
            rows.append(Row(header, cells))
    return rows


def unquoted(cell: str) -> str:
    """What stands between the backticks of a cell."""
    return cell.strip("`")


ROWS = table_rows(PAGE.read_text())
DOCUMENTED = {unquoted(row.cells[0]): row.cells for row in ROWS if row.header == "Key Default"}


def test_every_key_is_documented_once():
    documented = [unquoted(row.cells[0]) for row in ROWS if row.header == "Key Default"]
    assert len(documented) == len(set(documented))
    assert set(documented) == set(KEYS) - SECTIONS


def test_every_section_has_a_heading():
    headings = re.findall(r"^### `(\w+)`$", PAGE.read_text(), flags=re.MULTILINE)
    assert set(headings) == SECTIONS
    assert len(headings) == len(SECTIONS)


@pytest.mark.parametrize("key", sorted(set(KEYS) - SECTIONS))
def test_the_documented_default_is_that_of_the_schema(key):
    default = DOCUMENTED[key][1]
    if "default" in KEYS[key]:
        assert yaml.safe_load(unquoted(default)) == KEYS[key]["default"]
    else:
        assert default == "required"
        *sections, name = key.split(".")
        parent = KEYS[sections[0]] if sections else schema.load()
        assert name in parent["required"]


@pytest.mark.parametrize("key", sorted(set(KEYS) - SECTIONS))
def test_a_choice_is_documented_with_all_its_values(key):
    for value in choices(KEYS[key]):
        assert f"`{yaml_of(value)}`" in " ".join(DOCUMENTED[key][1:])


@pytest.mark.parametrize(
    "heading",
    [
        "How the model meets the data",
        "What is planned",
        "What is written where",
        "What the full fit would cost",
        "How sure a finding is",
        "Reading `inconclusive`",
    ],
)
def test_the_page_explains(heading):
    assert re.search(rf"^##+ {re.escape(heading)}$", PAGE.read_text(), flags=re.MULTILINE)


def test_the_columns_of_the_plan_are_documented():
    (paragraph,) = re.findall(r"^\*\*`plan\.csv`\*\*.*?\n\n", PAGE.read_text(), flags=re.M | re.S)
    assert [name for name in PLAN_COLUMNS if f"`{name}`" not in paragraph] == []


@pytest.mark.parametrize("document", ["README.md", "config/README.md"])
def test_links_lead_somewhere(document):
    path = CHECKOUT / document
    anchors = {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", path.read_text(), flags=re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (path.parent / target.split("#")[0]).exists(), target


# ---- values


def choices(part: dict[str, Any]) -> list[Any]:
    """Values that a key can choose from."""
    kinds = [part, *part.get("oneOf", [])]
    found = [value for kind in kinds for value in kind.get("enum", [])]
    return found + ([False, True] if "boolean" in part.get("type", "") else [])


def yaml_of(value: Any) -> str:
    """A scalar as YAML writes it."""
    return yaml.safe_dump(value).splitlines()[0]


def with_key(key: str, value: Any, folder: Path) -> dict[str, Any]:
    """The smallest study, with one key set."""
    for name in ("data.csv", "model.py"):
        (folder / name).touch()
    given = copy.deepcopy(MINIMAL)
    section, _, name = key.rpartition(".")
    (given.setdefault(section, {}) if section else given)[name] = value
    return given


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, part in KEYS.items() for value in choices(part)],
)
def test_every_choice_is_honoured(key, value, tmp_path):
    configuration.build(with_key(key, value, tmp_path), str(tmp_path / "study.yaml"))


# ---- the schema and the settings


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_a_description(key):
    description = KEYS[key].get("description", "")
    assert description.endswith(".")
    assert description[0].isupper() or description[0] == "`"


def test_settings_are_spelled_as_in_the_schema():
    top = [field.name for field in dataclasses.fields(study.Study)]
    assert top == list(schema.load()["properties"])
    assert set(study.SECTIONS) == SECTIONS
    for name, kind in study.SECTIONS.items():
        fields = [field.name for field in dataclasses.fields(kind)]
        assert fields == list(KEYS[name]["properties"]), name


# ---- studies


@pytest.mark.parametrize("path", STUDY_FILES, ids=str)
def test_a_study_of_the_checkout_is_valid(path, monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    built = configuration.build(configuration.read_yaml(path), str(path))
    assert Path(built.model.file).parent == path.parent
    # Two studies of the same data share them.
    assert Path(built.data.file).is_relative_to("config/studies") or built.data.made_by


def test_studies_of_the_checkout_have_names_of_their_own():
    names = [yaml.safe_load((CHECKOUT / path).read_text())["study"] for path in STUDY_FILES]
    assert len(set(names)) == len(names) >= 3


def test_the_default_study_is_golf(monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    path = Path("config/config.yaml")
    default = configuration.read_yaml(path)
    # More keys would leak into every other study.
    assert list(default) == ["study_file"]
    assert list(configuration.select(default, [path])) == ["golf"]


def blocks(document: str, *languages: str) -> list[str]:
    """Code blocks of a document in some languages; "" for those that name none."""
    text = (CHECKOUT / document).read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


DOCUMENTS = ["README.md", "config/README.md"]


@pytest.mark.parametrize(
    "text", [text for document in DOCUMENTS for text in blocks(document, "yaml", "yml")]
)
def test_an_example_study_is_valid(text, tmp_path):
    path = tmp_path / "example.yaml"
    path.write_text(text)
    given = configuration.read_yaml(path)
    if "study" in given:
        schema.validate(given, "example.yaml")
    else:  # a part of a study
        assert set(given) <= {*schema.load()["properties"], "study_file", "studies"}
        keys = {name: part for name, part in given.items() if name in KEYS}
        schema.validate(MINIMAL | keys, "example.yaml")


@pytest.mark.parametrize(
    "text", [text for document in DOCUMENTS for text in blocks(document, "python")]
)
def test_an_example_model_is_python(text):
    assert any(isinstance(node, ast.FunctionDef) for node in ast.parse(text).body)


def overrides() -> list[list[str]]:
    """What the documents give to `--config`, as the shell splits it."""
    shown = [text for document in DOCUMENTS for text in blocks(document, "", "sh", "bash")]
    lines = [line for text in shown for line in text.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if "--config " in line]
    return [line[line.index("--config") + 1 :] for line in words]


@pytest.mark.parametrize("words", overrides(), ids=" ".join)
def test_an_example_override_is_valid(words, monkeypatch):
    from snakemake.cli import parse_config  # what Snakemake makes of it, which is half text

    monkeypatch.chdir(CHECKOUT)
    path = Path("config/config.yaml")
    given = configuration.read_yaml(path) | parse_config(words)
    assert configuration.select(given, [path])


# ---- docstrings

PACKAGE = CHECKOUT / "workflow/src/scalecheck"
TREES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}
SECTION_NAMES = {
    *("Parameters", "Returns", "Yields", "Raises", "Warns", "Attributes"),
    *("See Also", "Notes", "References", "Examples"),
}


class Definition(NamedTuple):
    """A public function, class, method or property of the library."""

    name: str
    node: ast.FunctionDef | ast.ClassDef

    @property
    def docstring(self) -> str:
        """Empty where there is none."""
        return ast.get_docstring(self.node) or ""

    def section(self, heading: str) -> list[str]:
        """Names that a section of the docstring describes."""
        body = re.search(
            rf"^{heading}\n-+\n(.*?)(?=^\S.*\n-{{3,}}$|\Z)", self.docstring, re.M | re.S
        )
        heads = re.findall(r"^(\S.*)$", body[1], flags=re.MULTILINE) if body else []
        return [name.strip(" *`") for head in heads for name in head.split(" : ")[0].split(",")]


def public(node: ast.AST, prefix: str) -> Iterator[Definition]:
    """Public definitions of a module, and of its public classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield Definition(f"{prefix}.{child.name}", child)
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}.{child.name}")


def arguments(function: ast.FunctionDef) -> list[ast.arg]:
    """Every argument, starred ones included."""
    given = function.args
    starred = [argument for argument in (given.vararg, given.kwarg) if argument]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *starred]


PUBLIC = [one for name, tree in TREES.items() for one in public(tree, name)]
FUNCTIONS = [(one, one.node) for one in PUBLIC if isinstance(one.node, ast.FunctionDef)]
CLASSES = [(one, one.node) for one in PUBLIC if isinstance(one.node, ast.ClassDef)]


def test_every_module_says_what_it_is_for():
    assert [name for name, tree in TREES.items() if len((ast.get_docstring(tree) or "").split()) < 4] == []  # fmt: skip


def test_every_docstring_says_more_than_the_name():
    empty = {"a", "an", "the", "of", "to", "this", "give", "return", "returns", "get"}

    def words(text: str) -> set[str]:
        return set(re.findall(r"[a-z]+", text.lower())) - empty

    bare = [one.name for one in PUBLIC if not words(one.docstring) - words(one.name.split(".")[-1])]
    assert bare == []


def test_sections_of_docstrings_are_those_of_numpydoc():
    malformed: list[str] = []
    for one in PUBLIC:
        found = re.findall(r"^(\S.*)\n(-{3,})$", one.docstring, flags=re.MULTILINE)
        headings = [heading for heading, _ in found]
        known = set(headings) <= SECTION_NAMES and len(set(headings)) == len(headings)
        if not known or any(len(heading) != len(line) for heading, line in found):
            malformed.append(one.name)
    assert malformed == []


def test_parameters_that_are_described_exist():
    unknown = {
        one.name: set(one.section("Parameters")) - {argument.arg for argument in arguments(node)}
        for one, node in FUNCTIONS
    }
    for one, node in CLASSES:
        init = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        known = {argument.arg for function in init for argument in arguments(function)}
        unknown[one.name] = set(one.section("Parameters")) - known
    assert {name: extra for name, extra in unknown.items() if extra} == {}


def test_fields_are_described_all_or_none():
    # Settings are described key by key in the schema.
    missing: dict[str, set[str]] = {}
    for one, node in CLASSES:
        targets = [n.target for n in node.body if isinstance(n, ast.AnnAssign)]
        fields = {t.id for t in targets if isinstance(t, ast.Name) and not t.id.startswith("_")}
        described = set(one.section("Attributes"))
        in_words = set(re.findall(r"`(\w+)`", one.docstring))
        if described and (extra := (fields - described - in_words) | (described - fields)):
            missing[one.name] = extra
    assert missing == {}


def test_who_raises_study_errors_says_when():
    def raises(function: ast.FunctionDef) -> bool:
        errors = [node.exc for node in ast.walk(function) if isinstance(node, ast.Raise)]
        return any(isinstance(e, ast.Call) and ast.unparse(e.func) == "StudyError" for e in errors)

    raising = [one for one, node in FUNCTIONS if raises(node)]
    silent = [one.name for one in raising if "StudyError" not in one.section("Raises")]
    assert silent == []


def test_who_takes_or_gives_arrays_gives_their_shape():
    arrays = re.compile(r"\b(NDArray|ndarray|jax\.Array)\b")
    # `(rows,)`, `(chain, draw, d)`, "scalar", "dims", or a shape as jaxtyping writes it.
    shape = re.compile(
        r"\([a-zS0-9_ +|.]+,[^()]*\)|\b(shapes?|dims|scalars?)\b|(Float|Int|Bool|Key)\["
    )
    shapeless: list[str] = []
    for one, node in FUNCTIONS:
        annotations = [*(argument.annotation for argument in arguments(node)), node.returns]
        written = " ".join(ast.unparse(part) for part in annotations if part is not None)
        if arrays.search(written) and not shape.search(one.docstring + written):
            shapeless.append(one.name)
    assert shapeless == []
