"""A user's model, bound by argument name to the columns of a study.

No JAX here: what only prepares data starts fast.
"""

import ast
import dataclasses
import functools
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scalecheck.errors import StudyError, did_you_mean
from scalecheck.model import source
from scalecheck.model.needs_values import last_frame, needs_values
from scalecheck.runtime import time_limit
from scalecheck.study.settings import ModelSettings


class Argument(NamedTuple):
    """What a model argument takes.

    Attributes
    ----------
    columns
        Columns of the table.
    matrix
        Whether the columns form a matrix `(rows, k)`; else one column is a vector `(rows,)`.
    """

    columns: tuple[str, ...]
    matrix: bool


@dataclasses.dataclass(frozen=True)
class Model:
    """A model function and how its arguments are filled.

    Attributes
    ----------
    function
        The user's.
    file
        Where it is defined, for messages.
    outcome
        The argument that is observed.
    arguments
        Arguments that take columns, the outcome among them.
    counts
        Arguments `n_<column>` that take the number of levels: argument -> column.
    n_rows
        Whether the model takes the argument `n_rows`.
    common
        Columns whose every level is common: random subsets have rows of each.
    """

    function: Callable[..., Any]
    file: str
    outcome: str
    arguments: Mapping[str, Argument]
    counts: Mapping[str, str]
    n_rows: bool
    common: frozenset[str] = frozenset()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the model takes."""
        used = [c for argument in self.arguments.values() for c in argument.columns]
        return tuple(dict.fromkeys([*used, *self.counts.values()]))

    def columns_with(self, *more: str | None) -> tuple[str, ...]:
        """Every column that the model takes, and others: those that are not None."""
        return tuple(dict.fromkeys([*self.columns, *(name for name in more if name)]))

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns that the model takes apart from the outcome."""
        outcome = self.arguments[self.outcome].columns
        return tuple(column for column in self.columns if column not in outcome)


def load_model(settings: ModelSettings) -> Callable[..., Any]:
    """Load the model function from its file.

    Raises
    ------
    StudyError
        When the file cannot be imported or lacks the function.
    """
    path = Path(settings.file)
    source = path.read_bytes() if path.is_file() else b""  # of a missing one loading says so
    return _load_model(settings.file, settings.function, source)


@functools.lru_cache(maxsize=16)
def _load_model(file: str, function: str, source: bytes) -> Callable[..., Any]:
    """Load a model once while its file stays the same: what was compiled of it serves all fits of a process."""
    return load_function(file, function, "model.function")


def load_function(file: str, name: str, key: str) -> Callable[..., Any]:
    """Load a function from the file of a model.

    Parameters
    ----------
    key
        The key of the study that names it.

    Raises
    ------
    StudyError
        When the file cannot be imported or lacks the function.
    """
    path = Path(file)
    spec = importlib.util.spec_from_file_location(f"scalecheck_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise StudyError(f"{path}: model.file must be a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent))  # a model may import what lies beside it
    try:
        with time_limit.limited(path):
            spec.loader.exec_module(module)
    except StudyError:
        raise
    except (Exception, SystemExit) as error:
        raise StudyError(raised(file, "cannot be imported:", error)) from error
    finally:
        sys.path.remove(str(path.parent))
    function = getattr(module, name, None)
    if not callable(function):
        known = [other for other, value in vars(module).items() if inspect.isfunction(value)]
        raise StudyError(
            f"{path}: {key} must be a function of this file, got {name}{did_you_mean(name, known)}"
        )
    return function


def first_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def line_of(error: BaseException, path: Path) -> str:
    """`, line N`: the last line of the user's file that an error passed through; else nothing."""
    frame = last_frame(error, path)
    return f", line {frame.lineno}" if frame else ""


def raised(file: str, what: str, error: BaseException) -> str:
    """Say where in the user's file which error came up: `model.py, line 7: the model raises KeyError: 'y'`."""
    path = Path(file)
    said = needs_values(error, last_frame(error, path)) or f"{what} {first_line(error)}"
    return f"{path}{line_of(error, path)}: {said}"


def bind(
    function: Callable[..., Any],
    settings: ModelSettings,
    outcome: str,
    labels: Mapping[str, Sequence[str] | None],
    common: frozenset[str],
) -> Model:
    """Bind the arguments of a model function to columns.

    Parameters
    ----------
    labels
        Labels of each categorical column, None for numbers; its keys are the columns that exist.
    common
        Columns whose every level is common.

    Raises
    ------
    StudyError
        When an argument has no column, or a setting names no argument.
    """
    parameters = inspect.signature(function).parameters
    named = f"{settings.file}: the function {settings.function}"
    refuse_unknown(parameters, settings, outcome)
    choice = f"model.arguments can name one of {', '.join(labels)}"
    arguments: dict[str, Argument] = {}
    counts: dict[str, str] = {}
    for name, parameter in parameters.items():
        chosen = settings.arguments.get(name, name)
        columns = (chosen,) if isinstance(chosen, str) else tuple(chosen)
        if all(column in labels for column in columns):
            arguments[name] = Argument(columns, matrix=not isinstance(chosen, str))
        elif name == "n_rows":
            continue
        elif name.startswith("n_") and name[2:] in labels:
            counts[name] = name[2:]
            if labels[name[2:]] is None:
                raise StudyError(
                    f"{named}: argument {name} counts the levels of {name[2:]}, which holds numbers"
                    " (data.categories makes them labels)"
                )
        elif is_required(parameter):
            counted = [f"n_{column}" for column, texts in labels.items() if texts is not None]
            hint = did_you_mean(name, counted) if name.startswith("n_") else ""
            raise StudyError(f"{named}: argument {name} has no column{hint or f'; {choice}'}")
    if outcome not in arguments:
        raise StudyError(f"{named}: the outcome {outcome} has no column; {choice}")
    for name, argument in arguments.items():
        if argument.matrix and any(labels[column] is not None for column in argument.columns):
            raise StudyError(
                f"{named}: argument {name} takes several columns, which must all hold numbers"
            )
    n_rows = "n_rows" in parameters and "n_rows" not in arguments
    return Model(function, settings.file, outcome, arguments, counts, n_rows, common)


VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def is_required(parameter: inspect.Parameter) -> bool:
    """Whether a function cannot be called without this parameter."""
    return parameter.default is parameter.empty and parameter.kind not in VARIADIC


def parameters_of(settings: ModelSettings) -> dict[str, bool]:
    """Arguments of the model, and whether each must be given; from its source where that suffices: JAX takes seconds.

    Raises
    ------
    StudyError
        When the file is no Python or lacks the function.
    """
    tree = source.parse(settings.file)
    for node in tree.body:
        if (
            isinstance(node, ast.FunctionDef)
            and node.name == settings.function
            and not node.decorator_list
        ):
            return _required(node.args)
    return {
        name: parameter.default is parameter.empty
        for name, parameter in inspect.signature(load_model(settings)).parameters.items()
        if parameter.kind not in VARIADIC
    }


def _required(arguments: ast.arguments) -> dict[str, bool]:
    plain = [*arguments.posonlyargs, *arguments.args]
    n_required = len(plain) - len(arguments.defaults)
    required = {argument.arg: index < n_required for index, argument in enumerate(plain)}
    by_name = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return required | {argument.arg: default is None for argument, default in by_name}


def refuse_unknown(parameters: Iterable[str], settings: ModelSettings, outcome: str) -> None:
    """Refuse a setting that names an argument which the model lacks.

    Raises
    ------
    StudyError
        The file, the setting and the argument.
    """
    asked = [*((name, "model.arguments") for name in settings.arguments), (outcome, "data.outcome")]
    for argument, key in asked:
        if argument not in parameters:
            raise StudyError(
                f"{settings.file}: the function {settings.function} has no argument {argument}, which {key} names"
                f"{did_you_mean(argument, parameters)}"
            )
