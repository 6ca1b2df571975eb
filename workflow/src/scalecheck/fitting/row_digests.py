"""Digests of the rows of fits, as their model takes them: each row is read once, and increments are prefixes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scalecheck.data import store
from scalecheck.study.plan import Slice

_BLOCK = 2**20  # rows that are read at once


class TakenColumns(NamedTuple):
    """What a model takes of its rows.

    Attributes
    ----------
    dtypes
        Of each column, as the model takes it: the store may hold it in a smaller one, which other rows decide.
    unit
        The column of units, whose codes are local to a fit; None without.
    unit_labels
        Label of each code of it, where it names entries of sites; empty elsewhere.
    """

    dtypes: Mapping[str, str]
    unit: str | None
    unit_labels: Sequence[str]


class _Values:
    """Digest of a column of numbers, or of codes that all fits share."""

    def __init__(self, dtype: str) -> None:
        self.dtype, self._found = dtype, hashlib.blake2b(digest_size=16)

    def update(self, values: np.ndarray) -> None:
        self._found.update(np.ascontiguousarray(values, self.dtype).data)

    def told(self) -> list[str]:
        return [self.dtype, self._found.hexdigest()]


class _UnitCodes:
    """Digest of codes in order of appearance, and of their labels: the same whatever units other rows have."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._codes, self._labels = _Values("<i4"), labels
        self._names = hashlib.blake2b(digest_size=16)
        self._local: dict[int, int] = {}

    def update(self, values: np.ndarray) -> None:
        every, first, inverse = np.unique(values, return_index=True, return_inverse=True)
        for code in every[np.argsort(first)].tolist():
            if code not in self._local:
                self._local[code] = len(self._local)
                label = self._labels[code] if self._labels else ""
                self._names.update(f"{len(label)} {label}".encode())
        self._codes.update(np.array([self._local[code] for code in every.tolist()])[inverse])

    def told(self) -> list[str]:
        return [*self._codes.told(), self._names.hexdigest()]


def digest_slices(path: Path, slices: Sequence[Slice], taken: TakenColumns) -> dict[Slice, str]:
    """Digest of the rows of each slice of a store.

    Parameters
    ----------
    path
        Of the store.
    slices
        In any order; those that begin at the same row are prefixes of each other.
    """
    ends: dict[tuple[str, int], set[int]] = {}
    for one in slices:
        ends.setdefault((one.order, one.start), set()).add(one.stop)
    found: dict[Slice, str] = {}
    with store.reading(path) as read:
        for (order, start), stops in ends.items():
            found |= _digest_prefixes(read, order, start, sorted(stops), taken)
    return found


def _digest_prefixes(
    read: Callable[[Slice, str], np.ndarray],
    order: str,
    start: int,
    stops: Sequence[int],
    taken: TakenColumns,
) -> Iterator[tuple[Slice, str]]:
    """Digest of the rows from a start to each of some ends, in growing order."""
    columns: dict[str, _Values | _UnitCodes] = {
        name: _Values(dtype) for name, dtype in taken.dtypes.items()
    }
    if taken.unit is not None:
        columns[taken.unit] = _UnitCodes(taken.unit_labels)
    at = start
    for stop in stops:
        for begin in range(at, stop, _BLOCK):
            part = Slice(order, begin, min(begin + _BLOCK, stop))
            for name, column in columns.items():
                column.update(read(part, name))
        at = stop
        told = json.dumps([[name, *column.told()] for name, column in sorted(columns.items())])
        yield Slice(order, start, stop), hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
