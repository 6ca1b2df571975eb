"""Facts about the checkout: programs, lock file, environments, licence."""

import ast
import collections
import graphlib
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[1]
SCRIPTS = sorted((CHECKOUT / "scripts").glob("*.py"))
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
PROGRAMS = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-scripts"]
LOCK = (CHECKOUT / "requirements.lock").read_text()
LOCKED = set(re.findall(r"^(\S+==\S+)", LOCK, flags=re.MULTILINE))


def test_the_tests_of_a_file_stay_in_one_process(request):
    """Else each process makes the fits that the tests of a file share: xdist says nothing where it sees no groups."""
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("asked of make test, which runs the tests of a file together")
    assert request.node.nodeid.endswith("@test_house")


def test_every_script_is_installed_under_its_name():
    names = [path.stem.replace("_", "-") for path in SCRIPTS]
    assert [PROGRAMS.get(f"scripts/{path.name}") for path in SCRIPTS] == [
        f"scalecheck-{name}" for name in names
    ]
    assert len(PROGRAMS) == len(SCRIPTS)


@pytest.mark.parametrize("program", PROGRAMS.values())
def test_a_program_explains_itself(program):
    installed = Path(sys.executable).parent / program
    result = subprocess.run([installed, "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"usage: {program}")
    assert result.stderr == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_thin_and_can_be_run(script):
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env python"  # the line that installers rewrite
    assert len(lines) <= 40
    assert script.stat().st_mode & stat.S_IXUSR


LIBRARY = CHECKOUT / "workflow/src/scalecheck"


def packages_in_order():
    """The packages of the library as docs/architecture.md lists them."""
    text = (CHECKOUT / "docs/architecture.md").read_text().split("## Packages")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)


def package_of(path):
    """The first part of a file's path in the library: a package, or a module at the top."""
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


def imported_by(path):
    """Packages of the library that a file imports from, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)]
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{name}" for name in names]
        yield from (name.split(".")[1] for name in names if name.startswith("scalecheck."))


MODULES = sorted(path for path in LIBRARY.rglob("*.py") if path.name != "__init__.py")


def test_a_package_imports_only_from_those_listed_above_it():
    order = packages_in_order()
    assert set(order) == {package_of(path) for path in MODULES}
    place = {package: number for number, package in enumerate(order)}
    wrong = [
        (str(path.relative_to(LIBRARY)), name)
        for path in [*MODULES, *LIBRARY.glob("*/**/__init__.py")]
        for name in imported_by(path)
        if name in place and place[name] > place[package_of(path)]
    ]
    assert wrong == []


def modules_imported_by(path):
    """Modules of the library that a file imports when it is imported itself, by their dotted names."""
    known = {".".join(one.relative_to(LIBRARY).with_suffix("").parts) for one in MODULES}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("scalecheck"):
            base = node.module.removeprefix("scalecheck").removeprefix(".")
            names = [base, *(f"{base}.{alias.name}".removeprefix(".") for alias in node.names)]
            yield from known.intersection(names)


def test_modules_do_not_import_in_circles():
    graph = {
        ".".join(path.relative_to(LIBRARY).with_suffix("").parts): set(modules_imported_by(path))
        for path in MODULES
    }
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


# A program has the name of what it writes, and the rules of what it writes stand below it.
NAMED_TWICE = {"plan", "verdict"}


def test_no_module_name_stands_twice():
    names = collections.Counter(path.stem for path in MODULES)
    assert {name for name, count in names.items() if count > 1} == NAMED_TWICE


def test_no_public_class_has_two_meanings():
    classes = collections.Counter(
        node.name
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert {name for name, count in classes.items() if count > 1} == set()


# What runs whatever a file says. `load` of NumPy refuses pickles only where it is told to.
EVALUATING = {
    "eval",
    "exec",
    "literal_eval",
    "read_pickle",
    "to_pickle",
    "query",
    "full_load",
    "unsafe_load",
}
PICKLING = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("path", [*LIBRARY.rglob("*.py"), *SCRIPTS], ids=lambda path: path.name)
def test_nothing_reads_a_pickle_or_evaluates_text(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names} | {
                getattr(node, "module", "")
            }
            assert not names & PICKLING
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            assert name not in EVALUATING
            if name == "load" and getattr(getattr(node.func, "value", None), "id", "") == "np":
                options = {key.arg: ast.unparse(key.value) for key in node.keywords}
                assert options.get("allow_pickle") == "False"


def test_lock_names_no_index():
    # Clusters sit behind mirrors: an address in the lock would overrule theirs.
    assert "://" not in LOCK
    assert "--index-url" not in LOCK
    assert "--find-links" not in LOCK


def test_lock_has_a_hash_for_every_requirement():
    pinned = re.split(r"^(?=[^\s#])", LOCK, flags=re.MULTILINE)[1:]
    assert len(pinned) > 50
    assert [block for block in pinned if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_conda_environment_pins_what_the_library_needs_as_the_lock_does(name):
    environment = yaml.safe_load((CHECKOUT / f"envs/{name}.yaml").read_text())
    *requirements, library = environment["dependencies"][-1]["pip"]
    without_extras = {re.sub(r"\[.*\]", "", requirement) for requirement in requirements}
    needed = {re.split(r"[^\w-]", text)[0] for text in PYPROJECT["project"]["dependencies"]}
    assert library == "../"
    assert without_extras <= LOCKED
    assert {requirement.split("==")[0] for requirement in without_extras} == needed


def test_version_is_one_everywhere():
    version = PYPROJECT["project"]["version"]
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert f"\n## {version}" in (CHECKOUT / "CHANGELOG.md").read_text()


def test_licence_is_the_one_declared():
    licence = (CHECKOUT / "LICENSE").read_text()
    assert licence.startswith("BSD 3-Clause License")
    assert PYPROJECT["project"]["license"] == "BSD-3-Clause"
    assert yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())["license"] == "BSD-3-Clause"


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "Snakefile",
        "workflow/Snakefile",
        "config/README.md",
        ".snakemake-workflow-catalog.yml",
    ],
)
def test_what_the_catalog_and_readers_look_for_is_there(path):
    assert (CHECKOUT / path).read_text().strip()
