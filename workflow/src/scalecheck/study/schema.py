"""The schema of study files: validation with messages in one line, and defaults."""

import copy
import functools
import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from jsonschema import validators

from scalecheck.errors import StudyError, did_you_mean

_INSTALLED = Path(__file__).parent / "study.schema.yaml"
_CHECKOUT = Path(__file__).parents[3] / "schemas" / "study.schema.yaml"


@functools.cache
def load() -> dict[str, Any]:
    """Read the schema that lies in the installed package, or in the checkout it is linked to."""
    path = _INSTALLED if _INSTALLED.is_file() else _CHECKOUT
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def keys(schema: dict[str, Any] | None = None, prefix: str = "") -> dict[str, dict[str, Any]]:
    """List every key of a study file by its dotted name, with its part of the schema."""
    found: dict[str, dict[str, Any]] = {}
    for name, part in (schema or load())["properties"].items():
        found[prefix + name] = part
        if "properties" in part:
            found |= keys(part, f"{prefix}{name}.")
    return found


def validate(settings: dict[str, Any], file: str) -> dict[str, Any]:
    """Check settings against the schema and fill in the defaults.

    Raises
    ------
    StudyError
        For the first broken rule: the file, the key, the rule and the value.
    """
    filled = _with_defaults(load(), copy.deepcopy(settings))
    errors = sorted(
        _Validator(load()).iter_errors(filled), key=lambda error: list(map(str, error.path))
    )
    if errors:
        raise StudyError(f"{file}: {_message(errors[0])}")
    return filled


def _with_defaults(schema: dict[str, Any], value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    for name, part in schema.get("properties", {}).items():
        if name not in value and "default" in part:
            value[name] = copy.deepcopy(part["default"])
        elif value.get(name, 0) is None and part.get("type") == "object":
            # `subsets:` with nothing behind it is null in YAML and means: all defaults.
            value[name] = {}
        if name in value:
            value[name] = _with_defaults(part, value[name])
    return value


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker: Any, value: Any) -> bool:
    return _is_integer(checker, value) or (isinstance(value, float) and math.isfinite(value))


# Stricter than JSON's types: NaN would pass every bound, and 1000.0 rows would not slice an array.
_Validator = validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)

# What rules of one limit ask for.
_RULES = {
    "minimum": "be at least {}",
    "maximum": "be at most {}",
    "exclusiveMinimum": "be greater than {}",
    "exclusiveMaximum": "be less than {}",
    "uniqueItems": "not name anything twice",
    "pattern": "begin with a letter or digit and hold only letters, digits, _ . and -",
}
# As YAML's users call them.
_KINDS = {"object": "mapping", "array": "list", "string": "text", "boolean": "true or false"}


def _message(error: jsonschema.ValidationError) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    instance: Any = error.instance
    value = json.dumps(instance, default=str)
    rule: Any = error.validator
    part: Any = error.schema
    match rule:
        case "additionalProperties":
            known = part.get("properties", {})
            unknown = next(name for name in instance if name not in known)
            inside = f"{key}." if key else ""
            return f"unknown key {inside}{unknown}{did_you_mean(unknown, known)}"
        case "required":
            missing = next(name for name in part["required"] if name not in instance)
            return f"the key {key + '.' if key else ''}{missing} is missing"
        case "type":
            kinds: list[str] = [part["type"]] if isinstance(part["type"], str) else part["type"]
            kind = " or ".join(_KINDS.get(kind, kind) for kind in kinds)
            return f"{key or 'the study'} must be of type {kind}, got {value}"
        case "enum":
            # As the study file has them: null, not None.
            known = ", ".join(json.dumps(one).strip('"') for one in part["enum"])
            return f"{key} must be one of {known}, got {value}"
        case "minItems" | "minLength":
            return f"{key} must not be empty"
        case str() if rule in _RULES:
            return f"{key} must {_RULES[rule].format(part[rule])}, got {value}"
        case _:
            return f"{key} is not what it should be ({part.get('description', rule)}), got {value}"
