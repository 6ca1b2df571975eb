"""The public docstrings of the library: numpydoc, with shapes and errors."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).parents[1]
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
    assert [
        name for name, tree in TREES.items() if len((ast.get_docstring(tree) or "").split()) < 4
    ] == []


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
        attributes = [n for n in ast.walk(node) if isinstance(n, ast.Attribute)]
        assigned = {n.attr for n in attributes if isinstance(n.ctx, ast.Store)}
        described = set(one.section("Attributes"))
        in_words = set(re.findall(r"`(\w+)`", one.docstring))
        extra = (fields - described - in_words) | (described - fields - assigned)
        if described and extra:
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
