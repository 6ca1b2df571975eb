"""The source of a model as Python sees it: the same after a comment, a blank line or another layout.

No JAX here, and no import of the model: what only asks whether a fit is there starts fast.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scalecheck.errors import StudyError


def parse(file: str | Path) -> ast.Module:
    """Read a file of Python.

    Raises
    ------
    StudyError
        When it is none: the line and the reason.
    """
    try:
        return ast.parse(Path(file).read_bytes())  # Python itself knows their encoding
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where, reason = f", line {line}" if line else "", getattr(error, "msg", str(error))
        raise StudyError(f"{file}{where}: not valid Python: {reason}") from None


def digest(file: str | Path) -> str:
    """Digest of a model's file and of the modules beside it that it imports, and that those import.

    What else a model reads while it is imported, such as a table of constants, is not in it.
    """
    found = hashlib.blake2b(digest_size=16)
    for name, tree in sorted(_modules(Path(file)).items()):
        found.update(json.dumps([name, _syntax(tree)]).encode())
    return found.hexdigest()


def refuse_change(file: str | Path, before: str) -> None:
    """Refuse what was computed while a model was edited: nobody knows from which of both.

    Parameters
    ----------
    before
        Digest of what it was as the computation began.

    Raises
    ------
    StudyError
        When it is another now, or none.
    """
    try:
        now = digest(file)
    except (OSError, StudyError):
        now = ""
    if now != before:
        raise StudyError(f"{file}: changed while the study ran: run again")


def _modules(file: Path) -> dict[str, ast.Module]:
    """Syntax of the model's file, under no name, and of each module beside it under its path."""
    folder, waiting, found = file.parent, [file], dict[str, ast.Module]()
    while waiting:
        path = waiting.pop()
        name = "" if path == file else path.relative_to(folder).as_posix()
        if name not in found:
            found[name] = parse(path)
            waiting += _imported(found[name], path, folder)
    return found


def _imported(tree: ast.Module, file: Path, folder: Path) -> Iterator[Path]:
    """Files below the folder that a module imports, also those within a function."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names = [alias.name.split(".") for alias in node.names]
                base = folder
            case ast.ImportFrom():
                inside = node.module.split(".") if node.module else []
                names = [[*inside, *alias.name.split(".")] for alias in node.names]
                base = file.parents[node.level - 1] if node.level else folder
            case _:
                continue
        for parts in names:
            for end in range(1, len(parts) + 1):
                path = base.joinpath(*parts[:end])
                candidates = (path.with_name(f"{path.name}.py"), path / "__init__.py")
                yield from (
                    one for one in candidates if one.is_relative_to(folder) and one.is_file()
                )


def _syntax(node: Any) -> Any:
    """Write syntax as lists, without places.

    Not `ast.dump`, which writes the same syntax otherwise in another version of Python. Fields that are empty are
    left out: a new version may have more of them.
    """
    match node:
        case ast.AST():
            fields = [(name, value) for name, value in ast.iter_fields(node) if _is_told(value)]
            return [type(node).__name__, *((name, _syntax(value)) for name, value in fields)]
        case list():
            return [_syntax(one) for one in node]
        case _:
            return repr(node)


def _is_told(value: Any) -> bool:
    return value is not None and value != []
