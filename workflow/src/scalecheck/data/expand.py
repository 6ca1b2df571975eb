"""One row per observation, from the counts that aggregated rows hold."""

import itertools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from scalecheck.data.disk_columns import ColumnFolder, ColumnWriter, blocks
from scalecheck.data.table import MOST_ROWS, Column, Table
from scalecheck.errors import StudyError
from scalecheck.study.settings import DataSettings


class Counts(NamedTuple):
    """Counts of some aggregated rows.

    Attributes
    ----------
    rows
        Which rows of the table.
    repeats
        `(rows,)` observations of each.
    successes
        `(rows,)` how many of them are a 1; None where the outcome is a column.
    """

    rows: slice
    repeats: np.ndarray
    successes: np.ndarray | None


def expand_rows(table: Table, settings: DataSettings, folder: ColumnFolder) -> Table:
    """Write the observations that aggregated rows stand for; a table without counts is as it was.

    Raises
    ------
    StudyError
        Where a count is wrong: names the file, the column and the row.
    """
    if settings.expand is None:
        return table
    for column in settings.expand.values():
        _refuse_broken(table, column)
    total = sum(counts.repeats.sum(dtype="float64") for counts in _counts(table, settings.expand))
    if total > MOST_ROWS:
        raise StudyError(f"{table.file}: data.expand would make more than {MOST_ROWS} rows")
    for counts in _counts(table, settings.expand):
        _refuse_more_successes(table, counts, settings.expand)
    if not total:
        raise StudyError(f"{table.file}: all counts are 0, so that there are no rows")
    kept = {n: c for n, c in table.columns.items() if n not in settings.expand.values()}
    grown, row, outcome = {name: folder.column() for name in kept}, folder.column(), folder.column()
    for counts in _counts(table, settings.expand):
        whole = {name: column.values[counts.rows] for name, column in kept.items()}
        file_row = table.row[counts.rows]
        for source, number in _observations(counts.repeats):
            for name, values in whole.items():
                grown[name].append(values[source])
            row.append(file_row[source])
            if counts.successes is not None:
                outcome.append((number < counts.successes[source]).astype("int8"))
    listed = [name for name, labels in settings.labelled.items() if labels is not None]
    columns = {
        name: _used(grown[name], column.labels, name in listed) for name, column in kept.items()
    }
    if "successes" in settings.expand:
        columns[settings.outcome] = Column(outcome.end(), None)
    return Table(table.file, columns, row.end(), table.dropped)


def _used(grown: ColumnWriter, labels: tuple[str, ...] | None, listed: bool) -> Column:
    """Give a column without the labels that only rows without observations had, unless the study lists them."""
    if labels is None or listed:
        return Column(grown.end(), labels)
    there, codes = np.zeros(len(labels), bool), grown.end()
    for rows in blocks(len(codes)):
        there[codes[rows]] = True
    grown.recode((np.cumsum(there) - 1).astype(codes.dtype))
    return Column(grown.end(), tuple(itertools.compress(labels, there)))


def _counts(table: Table, given: Mapping[str, str]) -> Iterator[Counts]:
    """Read the counts, block by block."""

    def read(key: str, rows: slice) -> np.ndarray:
        values = table.columns[given[key]].values[rows]
        return np.minimum(values, np.float64(MOST_ROWS + 1)).astype("int64")

    for rows in blocks(table.n_rows):
        if "repeat" in given:
            yield Counts(rows, read("repeat", rows), None)
        else:
            yield Counts(rows, read("trials", rows), read("successes", rows))


def _observations(repeats: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each observation, block by block: which row it comes from, and its number within it from 0."""
    ends = np.cumsum(repeats)
    starts = ends - repeats
    for part in blocks(int(ends[-1])):
        within = np.clip(ends, part.start, part.stop) - np.clip(starts, part.start, part.stop)
        source = np.repeat(np.arange(len(repeats)), within)
        yield source, np.arange(part.start, part.stop) - starts[source]


def _refuse_broken(table: Table, column: str) -> None:
    for rows in blocks(table.n_rows):
        values = table.columns[column].values[rows]
        bad = np.flatnonzero((values < 0) | (values != np.floor(values)))[:1]
        if len(bad):
            row, value = table.row[rows][bad[0]], values[bad[0]]
            raise StudyError(
                f"{table.file}: column {column}, row {row} must be a whole number from 0, got {value}"
            )


def _refuse_more_successes(table: Table, counts: Counts, given: Mapping[str, str]) -> None:
    if counts.successes is None:
        return
    bad = np.flatnonzero(counts.successes > counts.repeats)[:1]
    if len(bad):
        row, i = table.row[counts.rows][bad[0]], bad[0]
        raise StudyError(
            f"{table.file}: row {row} has {counts.successes[i]} {given['successes']}"
            f" of only {counts.repeats[i]} {given['trials']}"
        )
