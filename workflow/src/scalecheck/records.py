"""Every file of a study: where it lies and how it is written, whole or not at all."""

import contextlib
import csv
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
_TEXTS += ("fits", "unit", "window", "statistic", "capped")

LONGEST_TAIL = 2**16  # bytes that are read of a file of lines, which may have grown for days

FULL = 2**16  # bytes that are left of a disk which has no room

PLAN_COLUMNS = ("fit", "kind", "axis", "level", "rows", "new_rows")


class StudyFolder:
    """The results of one study.

    Parameters
    ----------
    path
        `results/<study>`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def data(self) -> Path:
        """The store: checked data in plan order."""
        return self.path / "data.nc"

    @property
    def spool(self) -> Path:
        """Columns of the table while `data` is made of them."""
        return self.path / ".spool"

    @property
    def model(self) -> Path:
        """What `check_study` learned about the model on these data."""
        return self.path / "model.json"

    @property
    def plan(self) -> Path:
        """One row per fit."""
        return self.path / "plan.csv"

    @property
    def verdict(self) -> Path:
        """verdict.json, the contract that other programs read."""
        return self.path / "verdict.json"

    @property
    def report(self) -> Path:
        """report.html, one file that needs no network."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The figures of the page, as files of their own."""
        return self.path / "figures"

    @property
    def cache(self) -> Path:
        """Compiled programs, shared by all studies of a results folder."""
        return self.path.parent / ".jax"

    @property
    def lock(self) -> Path:
        """Whose bytes are claimed by those who write."""
        return self.path.parent / ".locks" / self.path.name

    def record(self, fit: str) -> Path:
        """Settings, versions, timings and gradients of a fit; written last: it exists only when the fit does."""
        return self.path / "fits" / fit / "record.json"

    def posterior(self, fit: str) -> Path:
        """Draws and sampler statistics of a fit."""
        return self.path / "fits" / fit / "posterior.nc"

    def checkpoint(self, fit: str) -> Path:
        """What is kept of a batch while it runs, under the name of its first fit."""
        return self.path / "fits" / fit / "checkpoint"

    def audit_checkpoint(self, fit: str) -> Path:
        """What is kept of the cold fit that an increment is compared with, while it runs."""
        return self.path / "fits" / fit / "checkpoint-cold"

    def manifests(self) -> list[Path]:
        """What the batches of subsets and levels wrote last: the names of their fits."""
        return sorted((self.path / "fits").glob("subsets*.json"))

    def left(self, fit: str) -> Path:
        """What an increment leaves to the next, where those start warm."""
        return self.path / "fits" / fit / "left.npz"

    def progress(self, fit: str) -> Path:
        """How a fit ran, a line of JSON per block: there before the fit is done, and added to as it runs."""
        return self.path / "fits" / fit / "progress.jsonl"

    @property
    def confirmation(self) -> Path:
        """The second fit of the subset that took most leapfrogs, or why there is none."""
        return self.path / "fits" / "confirmation.json"

    @property
    def confirmation_checkpoint(self) -> Path:
        """What is kept of it while it runs."""
        return self.path / "fits" / "confirmation" / "checkpoint"

    @property
    def remedies(self) -> Path:
        """What the search for remedies searched, and the lines to paste."""
        return self.path / "remedies.json"

    @property
    def remedies_table(self) -> Path:
        """A row per candidate of the search for remedies."""
        return self.path / "remedies.csv"

    @property
    def searching(self) -> Path:
        """What is kept of the search for remedies while it runs."""
        return self.path / "searching"

    @property
    def approximation(self) -> Path:
        """The approximation of all rows and whether to believe it, or why there is none."""
        return self.path / "approximation.json"

    @property
    def approximate_posterior(self) -> Path:
        """Draws of the approximation of all rows."""
        return self.path / "approximation.nc"

    def approximating(self, name: str) -> Path:
        """What is kept of an approximation while it runs."""
        return self.path / "approximating" / name

    def table(self, name: str) -> Path:
        """A tidy table of the checks."""
        return self.path / "checks" / f"{name}.csv"


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
    with _removing(temporary), _naming(path):
        yield temporary
        # mkstemp makes files that only their owner can read; results are to be shared.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)


@contextlib.contextmanager
def _removing(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


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


def write_plan(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write plan.csv, its rows in the order of `PLAN_COLUMNS`."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PLAN_COLUMNS)
        writer.writerows(rows)


def read_plan(path: Path) -> list[dict[str, Any]]:
    """Read plan.csv: a dictionary per fit, counts as integers.

    Raises
    ------
    StudyError
        When it is missing, or no plan.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {**row, "rows": int(row["rows"]), "new_rows": int(row["new_rows"])}
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        reason = "not the results of a study, or not planned yet"
        raise StudyError(f"{path.parent}: no plan.csv: {reason}") from None
    except (KeyError, TypeError, ValueError):
        raise StudyError(f"{path}: not a plan of scalecheck: delete it and run again") from None


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
