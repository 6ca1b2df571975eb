"""From the files and options that a user gives to validated studies."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from scalecheck.errors import StudyError
from scalecheck.study import schema
from scalecheck.study.settings import Study, freeze

# What messages call the options that override study files.
_COMMAND_LINE = "--config"


def build(given: Mapping[str, Any], file: str, *, may_be_made: bool = False) -> Study:
    """Validate settings as given, fill in the defaults and freeze them.

    Parameters
    ----------
    given
        The study as read, nested dictionaries.
    file
        Name of the file that messages should give.
    may_be_made
        Whether rules of another workflow may make the data, and what they were drawn from.

    Raises
    ------
    StudyError
        One line that names the file, the key, the rule and the value.
    """
    _refuse_old_keys(given, file)
    settings = schema.validate(dict(given), file)
    _read_categories(settings["data"]["categories"], file)
    _check_marginalise(settings["sampler"], file)
    _decide_warm(settings, file)
    _check_exact(settings["approximation"], file)
    folder = Path(file).parent
    data, model = settings["data"], settings["model"]
    model["file"] = _find(model["file"], folder, file, "model.file")
    if data["made_by"] is None:
        data["file"] = _find(data["file"], folder, file, "data.file", may_be_made=may_be_made)
    else:
        data["made_by"] = _find(data["made_by"], folder, file, "data.made_by")
        _refuse_elsewhere(data["file"], folder, file)
        data["file"] = str(Path(data["file"]))  # as Snakemake writes the output of a rule
    if data["truth"] is not None:
        data["truth"] = _find(data["truth"], folder, file, "data.truth", may_be_made=may_be_made)
    settings["results"] = str(Path(settings["results"]))  # `results/` would double the slash
    return freeze(Study, settings)


def _refuse_old_keys(given: Mapping[str, Any], file: str) -> None:
    """Refuse `variational`, and an `approximation` that is no section, with the line that says the same now."""
    own = given.get("approximation")
    section = {"when": own} if isinstance(own, str) else own if isinstance(own, Mapping) else {}
    if "variational" in given:
        old = given["variational"] if isinstance(given["variational"], Mapping) else {}
        renamed = {"method" if key == "guide" else key: value for key, value in old.items()}
        what, section = "variational is named approximation now", {**section, **renamed}
    elif isinstance(own, str):
        what = "approximation is a section now"
    else:
        return
    text = yaml.safe_dump(section, default_flow_style=True, sort_keys=False, width=math.inf)
    sign = "=" if file == _COMMAND_LINE else ": "
    raise StudyError(f"{file}: {what}: write approximation{sign}{' '.join(text.split())}")


def _read_categories(categories: list[Any], file: str) -> None:
    """Labels are texts, as a table has them; neither a column nor a label is named twice."""
    ordered = [entry for entry in categories if isinstance(entry, dict)]
    named = [entry for entry in categories if isinstance(entry, str)]
    if twice := _first_twice([*named, *(column for entry in ordered for column in entry)]):
        raise StudyError(f"{file}: data.categories names the column {twice} twice")
    for entry in ordered:
        for column, labels in entry.items():
            entry[column] = [str(label) for label in labels]
            if twice := _first_twice(entry[column]):
                raise StudyError(
                    f"{file}: data.categories gives the label {twice} of {column} twice"
                )


def _first_twice(names: Sequence[str]) -> str | None:
    return next((name for name in names if names.count(name) > 1), None)


def _decide_warm(settings: dict[str, Any], file: str) -> None:
    """Warm starts need the lanes' own warmup, and carry a diagonal metric over."""
    sampler, increments = settings["sampler"], settings["increments"]
    needed = {"engine": "lanes", "metric": "diagonal", "marginalise": None}
    unmet = [key for key, value in needed.items() if sampler[key] != value]
    starts_there = sampler["start"] == "previous"
    if increments["warm"] is None:
        increments["warm"] = not unmet and not starts_there
    elif increments["warm"] and unmet:
        key = unmet[0]
        raise StudyError(
            f"{file}: increments.warm needs sampler.{key} to be {needed[key] or 'null'},"
            f" got {json.dumps(sampler[key])}"
        )
    elif increments["warm"] and starts_there:
        raise StudyError(
            f"{file}: sampler.start is previous, but with increments.warm increments start from the previous"
            " one already: use one of the two"
        )


def _check_marginalise(sampler: Mapping[str, Any], file: str) -> None:
    """What units share is sampled by lanes, in coordinates and from starts that its mode gives."""
    needed = {"engine": "lanes", "metric": "diagonal", "start": "prior", "reparam": {}}
    unmet = [key for key, value in needed.items() if sampler[key] != value]
    if sampler["marginalise"] and unmet:
        key = unmet[0]
        value = needed[key] if isinstance(needed[key], str) else json.dumps(needed[key])
        raise StudyError(
            f"{file}: sampler.marginalise: units needs sampler.{key} to be {value}, got {json.dumps(sampler[key])}"
        )


def _check_exact(approximation: Mapping[str, Any], file: str) -> None:
    if approximation["exact"] == "nuts" and approximation["method"] not in ("auto", "laplace"):
        raise StudyError(
            f"{file}: approximation.exact: nuts needs approximation.method to be laplace or auto,"
            f" got {json.dumps(approximation['method'])}"
        )


def _find(name: str, folder: Path, file: str, key: str, *, may_be_made: bool = False) -> str:
    """From the working directory, else beside the study file. What may be made need not be there."""
    for candidate in (Path(name), folder / name):
        if candidate.is_file():
            return str(candidate)
    if may_be_made:
        return str(Path(name))
    raise StudyError(f"{file}: {key} must be an existing file, got {name}")


def _refuse_elsewhere(name: str, folder: Path, file: str) -> None:
    """What a study writes lies among its own files."""
    if not any(Path(name).resolve().is_relative_to(one.resolve()) for one in (Path(), folder)):
        raise StudyError(
            f"{file}: data.file, which data.made_by writes, must lie below the working directory or the folder of the"
            f" study file, got {name}"
        )


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice, which PyYAML would silently overwrite."""


def _strict_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
        if not isinstance(key, str):
            written = getattr(key_node, "value", None)
            quoted = f", got {written} (write '{written}')" if isinstance(written, str) else ""
            raise _BadYaml(f"a key must be text{quoted}", key_node.start_mark.line)
        if key in seen:
            raise _BadYaml(f"the key {key} is given twice", key_node.start_mark.line)
        seen.add(key)
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


class _BadYaml(Exception):
    def __init__(self, rule: str, line: int) -> None:
        super().__init__(f"line {line + 1}: {rule}")


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _strict_mapping)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping, refusing keys given twice.

    Raises
    ------
    StudyError
        When the file is missing, is no YAML mapping, or has a duplicate key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a subclass of SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise StudyError(f"{path}: cannot be read: {reason}") from None
    except _BadYaml as error:
        raise StudyError(f"{path}: {error}") from None
    except ValueError as error:  # 2026-02-30 looks like a date
        raise StudyError(f"{path}: not valid YAML: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise StudyError(f"{path}: {where}not valid YAML: {problem}") from None
    if not isinstance(content, dict):
        kind = {"list": "a list", "NoneType": "an empty file"}.get(type(content).__name__, "text")
        raise StudyError(f"{path}: a study file must be a mapping of keys, got {kind}")
    return content


def _read_keys(path: str | Path) -> dict[str, Any]:
    """Read a file of keys before any override could hide an old one."""
    content = read_yaml(path)
    _refuse_old_keys(content, str(path))
    return content


def select(
    config: Mapping[str, Any], configfiles: Iterable[str | Path], *, may_be_made: bool = False
) -> dict[str, Study]:
    """Choose what to run from Snakemake's configuration: one study, or several.

    A configfile with the key `study` is itself the study; else `studies` lists study files, else
    `study_file` names one. Other keys (from `--config`) override the study files'. A configuration
    without configfiles, as a module gets it, is a study when it has that key.

    Parameters
    ----------
    config
        Snakemake's merged configuration.
    configfiles
        The files it was merged from; read again, because merging hides keys given twice.
    may_be_made
        As for `build`.

    Returns
    -------
    dict
        Studies by name, in the order given.

    Raises
    ------
    StudyError
        When a file or a key is wrong, or when two studies would be merged into one.
    """
    files = {str(path): _read_keys(path) for path in configfiles}
    whole = [name for name, content in files.items() if "study" in content]
    given = _typed(config, list(files.values()))
    if files:  # old keys in a file were refused above: others are from the command line
        _refuse_old_keys(given, _COMMAND_LINE)
    overrides = {key: part for key, part in given.items() if key not in ("study_file", "studies")}
    if whole:
        _refuse_merging(whole[0], files, given)
        return _by_name([build(overrides, whole[0], may_be_made=may_be_made)])
    names = given.get("studies", given.get("study_file"))
    if names is None and "study" in config:
        return _by_name([build(dict(config), "the configuration", may_be_made=may_be_made)])
    names = [names] if isinstance(names, str) else names
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise StudyError(
            "the configuration must have the key study, study_file or studies=[a.yaml, b.yaml]"
        )
    return _by_name(
        [
            build(_merge(_read_keys(name), overrides), name, may_be_made=may_be_made)
            for name in names
        ]
    )


def read_study(path: str | Path) -> Study:
    """Read one study from its file, or from a configuration that names it.

    Raises
    ------
    StudyError
        As `select`; and where the configuration names several studies.
    """
    studies = select(read_yaml(path), [path])
    if len(studies) > 1:
        raise StudyError(f"{path}: must name one study, got {', '.join(studies)}: give its file")
    return next(iter(studies.values()))


def _refuse_merging(
    whole: str, files: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any]
) -> None:
    """Snakemake merges all configfiles into one: what stands in another one would leak into the study."""
    for name, content in files.items():
        if name != whole and "study" in content:
            raise StudyError(
                f"{name}: would be merged into {whole}: run several studies by --config 'studies=[{whole}, {name}]'"
            )
        for key in content:
            if name != whole and key in given and key not in ("study_file", "studies"):
                raise StudyError(
                    f"{name}: the key {key} would leak into {whole}: write it into a study file, or give it by --config"
                )
    if "studies" in given:
        raise StudyError(
            f"{whole}: has the key study, so that it is what runs: studies cannot be given with it"
        )


def _typed(value: Any, written: Sequence[Any]) -> Any:
    """Read what `--config` gives as text: it leaves `{count: 4}` as text, or the 4 in it.

    What stands in a file, `written`, has its type already.
    """
    if any(value == other and type(value) is type(other) for other in written):
        return value
    match value:
        case Mapping():
            inside = [other for other in written if isinstance(other, Mapping)]
            return {
                key: _typed(part, [other[key] for other in inside if key in other])
                for key, part in value.items()
            }
        case list():
            return [_typed(part, []) for part in value]
        case str():
            return _read_override(value)
        case _:
            return value


def _read_override(text: str) -> Any:
    is_collection = text.lstrip()[:1] in ("{", "[")
    try:
        value = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  (a subclass of SafeLoader)
    except (yaml.YAMLError, _BadYaml, ValueError):
        if is_collection:
            raise StudyError(f"{_COMMAND_LINE}: not valid YAML: {text}") from None
        return text
    # Other YAML is text to us: a date, `a: b`.
    return value if is_collection or isinstance(value, int | float | None) else text


def _by_name(studies: list[Study]) -> dict[str, Study]:
    names = [study.study for study in studies]
    for name in names:
        if names.count(name) > 1:
            raise StudyError(f"two of the studies to run have the same name, study: {name}")
    if len({study.results for study in studies}) > 1:
        raise StudyError(
            "studies that run together must share one folder: give --config results=FOLDER"
        )
    return dict(zip(names, studies, strict=True))


def _merge(study: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    merged = dict(study)
    for key, value in overrides.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
