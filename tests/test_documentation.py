"""The documents, the schema, the settings and the docstrings say the same."""

import ast
import copy
import dataclasses
import re
import shlex
import types
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import pytest
import yaml

from scalecheck.files.formats import PLAN_COLUMNS
from scalecheck.study import read_study, schema, settings

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
    read_study.build(with_key(key, value, tmp_path), str(tmp_path / "study.yaml"))


# ---- the schema and the settings


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_a_description(key):
    description = KEYS[key].get("description", "")
    assert description.endswith(".")
    assert description[0].isupper() or description[0] == "`"


TYPES = get_type_hints(settings.Study)


def type_of(key):
    """The type of a key in the settings."""
    section, _, name = key.rpartition(".")
    return get_type_hints(TYPES[section])[name] if section else TYPES[key]


IN_SCHEMA = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
IN_SCHEMA |= {tuple: "array", list: "array", dict: "object"}


def kinds_of(hint):
    """The types of the schema that a type of the settings is."""
    if get_origin(hint) in (Union, types.UnionType):
        return set().union(*map(kinds_of, get_args(hint)))
    if get_origin(hint) is Literal:
        return {IN_SCHEMA[type(value)] for value in get_args(hint)}
    return {IN_SCHEMA[get_origin(hint) or hint]}


def allowed(part):
    """The types that the schema of a key allows."""
    found = set()
    for one in (part, *part.get("oneOf", [])):
        kinds = one.get("type", [])
        found |= {kinds} if isinstance(kinds, str) else set(kinds)
        values = [*one.get("enum", []), *([one["const"]] if "const" in one else [])]
        found |= {IN_SCHEMA[type(value)] for value in values}
    return found


@pytest.mark.parametrize("key", sorted(set(KEYS) - SECTIONS))
def test_the_type_of_a_setting_is_that_of_the_schema(key):
    decided = {"null"} if key == "increments.warm" else set()  # from other keys, when it is read
    assert kinds_of(type_of(key)) == allowed(KEYS[key]) - decided


def test_settings_are_spelled_as_in_the_schema():
    top = [field.name for field in dataclasses.fields(settings.Study)]
    assert top == list(schema.load()["properties"])
    for name in SECTIONS:
        fields = [field.name for field in dataclasses.fields(TYPES[name])]
        assert fields == list(KEYS[name]["properties"]), name


# ---- studies


@pytest.mark.parametrize("path", STUDY_FILES, ids=str)
def test_a_study_of_the_checkout_is_valid(path, monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    built = read_study.build(read_study.read_yaml(path), str(path))
    assert Path(built.model.file).parent == path.parent
    # Two studies of the same data share them.
    assert Path(built.data.file).is_relative_to("config/studies") or built.data.made_by


def test_studies_of_the_checkout_have_names_of_their_own():
    names = [yaml.safe_load((CHECKOUT / path).read_text())["study"] for path in STUDY_FILES]
    assert len(set(names)) == len(names) >= 3


def test_the_default_study_is_golf(monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    path = Path("config/config.yaml")
    default = read_study.read_yaml(path)
    # More keys would leak into every other study.
    assert list(default) == ["study_file"]
    assert list(read_study.select(default, [path])) == ["golf"]


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
    given = read_study.read_yaml(path)
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
    given = read_study.read_yaml(path) | parse_config(words)
    assert read_study.select(given, [path])
