"""What simulated data were drawn from: a table of parameters and their values."""

import csv
import math
from collections.abc import Collection
from pathlib import Path

from scalecheck.errors import StudyError, did_you_mean

_COLUMNS = ("parameter", "value")


def read_truth(path: str | Path) -> dict[str, float]:
    """Read the values by parameter: of a scalar `sigma`, of an element `beta[0]`.

    Raises
    ------
    StudyError
        Names the file, the column or the row.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "is no CSV in UTF-8"
        raise StudyError(f"{path}: cannot be read: {reason}") from None
    for column in _COLUMNS:
        if column not in columns:
            raise StudyError(
                f"{path}: no column {column}, which data.truth needs; it has {', '.join(columns) or 'none'}"
            )
    values: dict[str, float] = {}
    for number, row in enumerate(rows, 1):
        name = row["parameter"]
        if not name:
            raise StudyError(f"{path}: row {number} names no parameter")
        if name in values:
            raise StudyError(f"{path}: row {number} names the parameter {name} a second time")
        values[name] = _number(row["value"], f"{path}: row {number} (parameter {name})")
    return values


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise StudyError(f"{where}: the column value must hold numbers, got {text!r}")
    return value


def check_truth(path: str | Path, parameters: Collection[str]) -> None:
    """Check that the table is sound and names only parameters that are compared across fits.

    Raises
    ------
    StudyError
        Names the file and the row, or the parameter.
    """
    for number, name in enumerate(read_truth(path), 1):
        if name not in parameters:
            raise StudyError(
                f"{path}: row {number} names {name}, which is no parameter that is compared across fits"
                f"{did_you_mean(name, parameters)}"
            )
