"""Read a table piece by piece, check it, encode it: one row per observation."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from scalecheck.data.column_reader import ColumnReader, ColumnUse
from scalecheck.data.disk_columns import ColumnFolder, ColumnWriter
from scalecheck.data.expand import expand_rows
from scalecheck.data.readers import open_table
from scalecheck.data.table import MOST_ROWS, RESERVED, OpenTable, Table
from scalecheck.errors import StudyError, did_you_mean
from scalecheck.study.settings import DataSettings

# 1,5 or 12,345: whatever the comma stands for, as a label it would be a number that nothing is computed with.
_NUMBER_WITH_COMMA = re.compile(r"[+-]?\d+(,\d+)+(\.\d+)?")


def read_data(
    settings: DataSettings, named: Mapping[str, str], possible: Sequence[str], folder: ColumnFolder
) -> Table:
    """Read the columns that the study uses; check, expand and encode them.

    Parameters
    ----------
    settings
        The section `data` of the study.
    named
        Columns that the model needs, which must exist: column -> who asks for it, for messages.
    possible
        Columns that the model takes where the table has them.
    folder
        Takes the columns, of which only some rows are in memory at a time.

    Raises
    ------
    StudyError
        One line that names the file, the column and the row.
    """
    listed = settings.labelled
    labelled = {*listed, settings.unit} - {None}
    with open_table(settings.file, labelled) as source:
        if source.n_rows > MOST_ROWS:
            raise StudyError(
                f"{settings.file}: must have at most {MOST_ROWS} rows, got {source.n_rows}"
            )
        there = set(source.names) - set((settings.expand or {}).values())
        for_model = dict.fromkeys([*named, *(name for name in possible if name in there)])
        chosen = _choose(source.names, settings, named, for_model)
        others = {*for_model, *settings.axes, *labelled}
        order = {settings.order}
        uses = {
            n: ColumnUse(n in labelled, n in order, n in order - others, listed.get(n))
            for n in chosen
        }
        columns = {name: ColumnReader(use, folder.column()) for name, use in uses.items()}
        row = folder.column()
        _collect(source, columns, row)
        _refuse(columns, settings, {*for_model}, source)
    rows = row.end()
    if not len(rows):
        raise StudyError(f"{settings.file}: no row is left, because each lacks a value")
    checked = {name: column.end() for name, column in columns.items()}
    return expand_rows(Table(settings.file, checked, rows, _dropped(columns)), settings, folder)


def _choose(
    known: Sequence[str],
    settings: DataSettings,
    named: Mapping[str, str],
    for_model: Iterable[str],
) -> list[str]:
    """Only the columns that the study uses, all of which must be there."""
    made = {settings.outcome} if "successes" in (settings.expand or {}) else set()
    if made & set(known):
        raise StudyError(
            f"{settings.file}: data.expand makes the outcome {settings.outcome}, which must not be a column too"
        )
    wanted = _wanted(settings, named, for_model)
    for column, who in wanted.items():
        if column not in known and column not in made:
            hint = did_you_mean(column, known) or f"; it has {', '.join(known)}"
            raise StudyError(f"{settings.file}: no column {column}, which {who}{hint}")
        if column in RESERVED:
            raise StudyError(
                f"{settings.file}: column {column}: scalecheck keeps this name for itself: rename it"
            )
    return [column for column in wanted if column not in made]


def _wanted(
    settings: DataSettings, named: Mapping[str, str], for_model: Iterable[str]
) -> dict[str, str]:
    """Who asks for each column; for those of counts nobody else may, since expansion takes them away."""
    wanted = {
        column: named.get(column, "the model takes")
        for column in sorted(for_model, key=lambda name: name != settings.outcome)
    }
    wanted |= {column: "data.categories names" for column in settings.labelled}
    wanted |= {column: "data.axes names" for column in settings.axes}
    for key, column in (("order", settings.order), ("unit", settings.unit)):
        if column is not None:
            wanted[column] = f"data.{key} names"
    counts = {column: key for key, column in (settings.expand or {}).items()}
    for column, asked in wanted.items():
        if column in counts:
            who, verb = asked.removesuffix("s").rsplit(maxsplit=1)
            raise StudyError(
                f"{settings.file}: {who} must not {verb} a count of data.expand, got {column}"
            )
    return wanted | {column: f"data.expand.{key} names" for column, key in counts.items()}


def _collect(source: OpenTable, columns: Mapping[str, ColumnReader], row: ColumnWriter) -> None:
    """Read all pieces, of which the rows without a gap are kept."""
    start = 0
    for piece in source.pieces([*columns]):
        leave_out = np.zeros(len(piece), bool)
        for name, column in columns.items():
            for reason, bad in column.look(piece[name], start).items():
                column.gaps[reason].add(bad, start, leave_out)
                leave_out |= bad
        kept = np.flatnonzero(~leave_out)
        for column in columns.values():
            column.keep(kept)
        row.append((start + kept + 1).astype("uint32"))
        start += len(piece)


def _refuse(
    columns: Mapping[str, ColumnReader],
    settings: DataSettings,
    for_model: set[str],
    source: OpenTable,
) -> None:
    """Refuse what is wrong, the same first whatever the pieces were."""
    for name, column in columns.items():
        if (nested := column.nested) is not None:
            raise StudyError(
                f"{settings.file}: column {name} must hold numbers or text, row {nested.row} is {nested.value!r}"
            )
    for name, column in columns.items():
        if (text := column.text) is not None and _NUMBER_WITH_COMMA.fullmatch(str(text.value)):
            raise StudyError(
                f"{settings.file}: column {name}, row {text.row} is {text.value!r}: a number is written without a"
                f" comma, such as {_without_comma(str(text.value))} (data.categories names columns of labels)"
            )
        if column.n_numbers and (text := column.text) is not None:
            raise StudyError(
                f"{settings.file}: column {name}, row {text.row} is {text.value!r} where {column.n_numbers} rows"
                " hold numbers (data.categories names columns of labels)"
            )
    _refuse_text(columns, settings, for_model)
    for name, column in columns.items():
        if (label := column.unlisted) is not None:
            listed = settings.labelled[name] or ()
            raise StudyError(
                f"{settings.file}: column {name}, row {label.row} is {label.value!r}, which data.categories does not"
                f" list{did_you_mean(label.value, listed) or f': it lists {", ".join(listed)}'}"
            )
    if settings.missing == "error":
        _refuse_gaps(columns, settings.file, source)


def _without_comma(number: str) -> str:
    """Write a number as it was most likely meant: one comma alone is a decimal mark, others part thousands."""
    decimal = number.count(",") == 1 and "." not in number
    return number.replace(",", "." if decimal else "")


def _refuse_text(
    columns: Mapping[str, ColumnReader], settings: DataSettings, for_model: set[str]
) -> None:
    """Text is for models, axes and orders, never for counts; an order is numbers or dates."""
    allowed = {settings.order, *settings.axes, *for_model} - set((settings.expand or {}).values())
    allowed |= {*settings.labelled, settings.unit}
    for name, column in columns.items():
        if name not in allowed and (text := column.text) is not None:
            raise StudyError(
                f"{settings.file}: column {name} must hold numbers, row {text.row} is {text.value!r}"
            )
    for column in columns.values():
        if (text := column.undated) is not None:
            raise StudyError(
                f"{settings.file}: column {settings.order}, row {text.row} is {text.value!r}:"
                " data.order must be a column of numbers or of dates such as 2026-02-19"
            )


def _refuse_gaps(columns: Mapping[str, ColumnReader], file: str, source: OpenTable) -> None:
    for name, column in columns.items():
        for reason, gap in column.gaps.items():
            if gap.count:
                raise StudyError(
                    f"{file}: column {name} {_gap(name, reason, gap.rows, source)}"
                    f"{f' and {more} more' if (more := gap.count - len(gap.rows)) else ''}"
                    " (data.missing: drop leaves such rows out)"
                )


def _gap(name: str, reason: str, rows: Sequence[int], source: OpenTable) -> str:
    """What is wrong in these rows; of a file of text, with what stands there."""
    listed = ", ".join(map(str, rows))
    if reason == "infinite":
        return f"is infinite in row {listed}"
    if source.written is None:
        return f"has no value (empty or NaN) in row {listed}"
    texts = source.written(name, rows)
    if not any(texts):
        return f"is empty in row {listed}"
    cells = (
        f"{row} ({f'holds {text!r}' if text else 'is empty'})"
        for row, text in zip(rows, texts, strict=True)
    )
    return f"has no value in row {', '.join(cells)}"


def _dropped(columns: Mapping[str, ColumnReader]) -> dict[str, int]:
    """Rows left out, by reason."""
    return {
        f"{name} {reason}": gap.dropped
        for name, column in columns.items()
        for reason, gap in column.gaps.items()
        if gap.count
    }
