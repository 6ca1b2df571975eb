"""Every format of a study's files: how they are written, whole or not at all, and read."""

import contextlib
import csv
import dataclasses
import errno
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalecheck.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

# Columns that are text whatever they look like: else a level called 2018 would come back as a number, and NA as none.
_TEXTS = ("fit", "kind", "axis", "level", "parameter", "status", "reason", "family", "message")
_TEXTS += ("fits", "unit", "window", "statistic", "capped", "cause", "worst", "advice", "beside")

LONGEST_TAIL = 2**16  # bytes that are read of a file of lines, which may have grown for days

FULL = 2**16  # bytes that are left of a disk which has no room


@dataclasses.dataclass(frozen=True)
class PlannedRow:
    """A row of plan.csv: a fit, its rows, and those of them that no increment before it has.

    A subset that is a block of neighbours starts after `start` rows in the order of arrival.
    """

    fit: str
    kind: str
    axis: str
    level: str
    rows: int
    new_rows: int
    start: int | None = dataclasses.field(default=None, kw_only=True)

    @property
    def columns(self) -> dict[str, Any]:
        """What every table has of it: all but where it starts."""
        return {name: getattr(self, name) for name in PLAN_COLUMNS}


PLAN_COLUMNS = ("fit", "kind", "axis", "level", "rows", "new_rows")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its name when the block ends without an error.

    Raises
    ------
    OSError
        When it cannot be written: names `path`.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        with _naming(path):
            yield temporary
            # mkstemp makes files that only their owner can read; results are to be shared.
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say of an error which file could not be written; HDF5 says of a full disk that it may not, or `HDF error`."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        if not isinstance(error, OSError) and str(error) != "NetCDF: HDF error":
            raise
        code = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
        if path.parent.exists() and shutil.disk_usage(path.parent).free < FULL:
            code = errno.ENOSPC
        raise OSError(code, os.strerror(code), str(path)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically; NaN and infinities become null, which is all that JSON knows."""
    write_text(path, json.dumps(finite(content), indent=1) + "\n")


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Add a line of JSON to a file in one write, so that a reader sees whole lines or, at its end, a part of one."""
    line = json.dumps(finite(content), separators=(",", ":")) + "\n"
    with path.open("ab+", buffering=0) as file:
        if file.tell() and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
            line = "\n" + line  # what was killed in the middle of a line went on
        file.write(line.encode())


def read_last_line(path: Path) -> dict[str, Any] | None:
    """Read the last whole line of JSON of a file that may be being written; None where there is none."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_TAIL))
        lines = file.read().split(b"\n")
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            if isinstance(found := json.loads(line), dict):
                return found
    return None


def finite(value: Any) -> Any:
    """Give what JSON can hold: null for NaN and infinities, lists for tuples."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: finite(part) for key, part in value.items()}
        case list() | tuple():
            return [finite(part) for part in value]
        case _:
            return value


def read_json(path: Path) -> dict[str, Any]:
    """Read JSON that this program wrote.

    Raises
    ------
    StudyError
        When the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be read: {error.strerror} (was it deleted? delete the folder fits and run again)"
        ) from None
    except json.JSONDecodeError as error:
        raise StudyError(f"{path}: damaged ({error}): delete it and run again") from None


def peek_json(path: Path) -> dict[str, Any] | None:
    """Read an object of JSON that may be missing or damaged, and is None then: whatever needs it says so."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        return found if isinstance(found, dict) else None
    return None


def write_plan(path: Path, fits: Sequence[PlannedRow]) -> None:
    """Write plan.csv."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*PLAN_COLUMNS, "start"])
        writer.writerows([*fit.columns.values(), fit.start] for fit in fits)


def read_plan(path: Path) -> list[PlannedRow]:
    """Read plan.csv.

    Raises
    ------
    StudyError
        When it is missing, or no plan.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_planned_row(row) for row in csv.DictReader(file)]
    except (FileNotFoundError, NotADirectoryError):
        reason = "not the results of a study, or not planned yet"
        raise StudyError(f"{path.parent}: no plan.csv: {reason}") from None
    except OSError as error:
        raise StudyError(f"{path}: cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, ValueError):
        raise StudyError(f"{path}: not a plan of scalecheck: delete it and run again") from None


def _planned_row(row: Mapping[str, str]) -> PlannedRow:
    start = row.get("start")  # plans had none before
    numbers = {"rows": int(row["rows"]), "new_rows": int(row["new_rows"])}
    return PlannedRow(**{**row, **numbers, "start": int(start) if start else None})


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a tidy table atomically; floats round-trip."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def read_table(path: Path) -> "pd.DataFrame":
    """Read a tidy table; empty text stays text."""
    import pandas as pd  # here, because the programs that only fit do without

    try:
        names = pd.read_csv(path, nrows=0).columns
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    kept = {name: object for name in _TEXTS if name in names}
    empty = {name: [""] for name in names if name not in _TEXTS}
    return pd.read_csv(path, dtype=kept, na_values=empty, keep_default_na=False)
