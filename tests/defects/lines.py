"""The table of what was run: a line for each model, defect, strength, n, seed and method.

Lines are appended as they are made, by any number of processes, so that a run that is killed goes
on where it was. A line knows a digest of the code that made it; one of other code is made again.
"""

import csv
import fcntl
import functools
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import methods
import pandas as pd
import scenarios

import scalecheck

KEY = ("model", "defect", "strength", "n", "seed", "method")
COLUMNS = (
    *KEY,
    "p",
    "kind",
    "axis",
    "gradients",
    "row_gradients",
    "cpu_seconds",
    "note",
    "code",
)
Line = dict[str, Any]

_HERE = Path(__file__).parent
# What every line depends on: how tables are simulated and what methods ask of a model.
_SHARED = ("benchmark_models.py", "defect_kinds.py", "truths.py", "more_models.py", "cases.py")
_HELPERS = ("discrepancies.py", "score_tests.py", "split_tables.py", "trees.py")
# Rooms that no verdict of the benchmark depends on: the page, and what approximates or searches for another fit.
_NOT_ASKED = ("report", "laplace", "variational", "remedies")
_CALIBRATION = ("scenarios.py", "models.py", "studies.py", "in_memory.py")


@functools.cache
def code(method: str) -> str:
    """Give a digest of what the lines of a method depend on: of the library its sampler, or what a verdict needs."""
    module = methods.load(method)
    source = Path(module.__file__ or "")
    text = source.read_text(encoding="utf-8")
    helpers = [name for name in _HELPERS if Path(name).stem in text]
    paths = [source, *(_HERE / name for name in (*_SHARED, *helpers))]
    paths += [Path(scenarios.__file__).parent / name for name in _CALIBRATION]
    parts = [str(scalecheck.ENGINE_VERSION).encode(), *(path.read_bytes() for path in paths)]
    if getattr(module, "USES_CHECKS", False):
        root = Path(scalecheck.__file__).parent
        library = sorted(root.rglob("*.py"))
        rooms = [path.relative_to(root).parts[0] for path in library]
        parts += [
            p.read_bytes() for p, room in zip(library, rooms, strict=True) if room not in _NOT_ASKED
        ]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def read(path: Path) -> pd.DataFrame:
    """Read the lines, the newest of each key; texts that are empty stay texts."""
    if not path.exists():
        return pd.DataFrame(columns=list(COLUMNS))
    texts = dict.fromkeys(("model", "defect", "method", "kind", "axis", "note", "code"), str)
    # By default pandas reads "null" as missing.
    table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={"p": [""]})
    return table.drop_duplicates(list(KEY), keep="last").reset_index(drop=True)


def done(path: Path) -> set[tuple[Any, ...]]:
    """Keys of the lines that are there, made by the code as it is."""
    table = read(path)
    return set(table.loc[is_current(table), list(KEY)].itertuples(index=False, name=None))


def is_current(table: pd.DataFrame) -> pd.Series:
    """Tell which lines the code as it is made."""
    known = {method: code(method) for method in methods.names()}
    return table["method"].map(known) == table["code"]


def append(path: Path, lines: Sequence[Line]) -> None:
    """Add lines at the end, one process after the other; what a killed one left of a line goes."""
    with path.open("a+", newline="") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _end_line(file)
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerows(lines)
        file.flush()


def _end_line(file: Any) -> None:
    """Cut off what follows the last line that is whole."""
    file.seek(0)
    text = file.read()
    whole = text.rfind("\n") + 1
    if whole < len(text):
        file.truncate(len(text[:whole].encode()))
    file.seek(0, os.SEEK_END)


def tidy(path: Path, models: Iterable[str]) -> None:
    """Sort the lines, and leave the newest of each key alone."""
    table = read(path)
    order = {name: number for number, name in enumerate(models)}
    place = table["model"].map(order)
    table = table.assign(_place=place).sort_values(["_place", *KEY[1:]], kind="stable")
    partial = path.with_suffix(".partial")
    table.to_csv(partial, columns=list(COLUMNS), index=False, lineterminator="\n")
    partial.replace(path)
