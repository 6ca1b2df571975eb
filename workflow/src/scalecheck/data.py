"""Read a table, check it, encode it: one row per observation."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from scalecheck.errors import StudyError
from scalecheck.frame import read_frame
from scalecheck.names import closest
from scalecheck.study import DataSettings

NDArray = np.ndarray

# Dates, with a time or without, quarters and weeks: what sorts by time when it is sorted as text.
_ISO_DATE = r"\d{4}(-(\d\d|Q[1-4]|W\d\d)(-\d\d?)?([T ]\S+)?)?"


# Rows are numbered in 32 bits.
_MOST_ROWS = 2**31 - 1


class Column(NamedTuple):
    """One checked column of a table.

    Attributes
    ----------
    values
        `(rows,)`: numbers, or integer codes of the labels.
    labels
        Label of each code; None for numbers.
    """

    values: NDArray
    labels: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class Table:
    """A checked table, one row per observation.

    Attributes
    ----------
    file
        Where it came from, for messages.
    columns
        By name; every one has the same rows.
    row
        `(rows,)` the row of the file, counted from 1, that each row stands in.
    dropped
        Rows left out, by reason.
    """

    file: str
    columns: Mapping[str, Column]
    row: NDArray
    dropped: Mapping[str, int]

    @property
    def n_rows(self) -> int:
        """Observations."""
        return len(self.row)


def read_table(
    settings: DataSettings, named: Mapping[str, str], possible: Sequence[str] = ()
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

    Raises
    ------
    StudyError
        One line that names the file, the column and the row.
    """
    raw = read_frame(settings.file)
    for_model = {*named, *(column for column in possible if column in raw.columns)}
    raw = _choose(raw, settings, named, for_model)
    _refuse_nested(raw, settings.file)
    labels = {*settings.categories, settings.unit}
    numbers = {name: _numeric(raw[name], settings.file) for name in raw if name not in labels}
    _refuse_text(raw, numbers, settings, for_model)
    missing, dropped = _missing(raw, numbers, settings)
    keep = np.flatnonzero(~missing)
    if not len(keep):
        raise StudyError(f"{settings.file}: no row is left, because each lacks a value")
    encoded = {
        name: Column(number[keep], None)
        if (number := numbers.get(name)) is not None
        else _encode(raw[name].iloc[keep])
        for name in raw
    }
    return _expand(Table(settings.file, encoded, keep + 1, dropped), settings)


def _choose(
    raw: pd.DataFrame, settings: DataSettings, named: Mapping[str, str], for_model: Iterable[str]
) -> pd.DataFrame:
    """Only the columns that the study uses, all of which must be there."""
    expand = settings.expand or {}
    made = {settings.outcome} if "successes" in expand else set()
    if made & set(raw.columns):
        raise StudyError(
            f"{settings.file}: data.expand makes the outcome {settings.outcome}, which must not be a column too"
        )
    wanted = {column: named.get(column, "the model takes") for column in for_model}
    wanted |= {column: "data.categories names" for column in settings.categories}
    wanted |= {column: "data.axes names" for column in settings.axes}
    wanted |= {column: f"data.expand.{key} names" for key, column in expand.items()}
    for key, column in (("order", settings.order), ("unit", settings.unit)):
        if column is not None:
            wanted[column] = f"data.{key} names"
    known = list(map(str, raw.columns))
    for column, who in wanted.items():
        if column not in known and column not in made:
            hint = closest(column, known) or f"; it has {', '.join(known)}"
            raise StudyError(f"{settings.file}: no column {column}, which {who}{hint}")
    return raw[[column for column in wanted if column not in made]]


def _refuse_nested(raw: pd.DataFrame, file: str) -> None:
    """A column of a typed format holds one kind of value: the first one tells."""
    for name in raw:
        present = np.flatnonzero(raw[name].notna())[:1]
        value = raw[name].iloc[present[0]] if len(present) else None
        if isinstance(value, list | dict | tuple | bytes | np.ndarray):
            said = value.tolist() if isinstance(value, np.ndarray) else value
            raise StudyError(
                f"{file}: column {name} must hold numbers or text, row {present[0] + 1} is {said!r}"
            )


def _numeric(values: pd.Series, file: str) -> NDArray | None:
    """Numbers of a column, dates as days since 1970; None where it holds labels."""
    if pd.api.types.is_datetime64_any_dtype(values):
        days = values.to_numpy("datetime64[us]").astype("int64") / 86_400e6
        return np.where(values.isna(), np.nan, days)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return None
    if pd.api.types.is_numeric_dtype(values):  # truth values, too
        if values.dtype.kind not in "iub" or values.isna().any():
            return values.to_numpy("float64", na_value=np.nan)
        return values.to_numpy("int8" if values.dtype.kind == "b" else None)
    parsed = pd.to_numeric(values, errors="coerce").to_numpy("float64", na_value=np.nan)
    present = values.notna().to_numpy()
    text = present & np.isnan(parsed)
    if text.sum() < present.sum():
        row, n_numbers = int(np.flatnonzero(text)[0]), int((present & ~text).sum())
        raise StudyError(
            f"{file}: column {values.name}, row {row + 1} is {values.iloc[row]!r} where {n_numbers} rows"
            " hold numbers (data.categories names columns of labels)"
        )
    return None


def _refuse_text(
    raw: pd.DataFrame,
    numbers: Mapping[str, NDArray | None],
    settings: DataSettings,
    for_model: Iterable[str],
) -> None:
    """Text is for models, axes and orders, never for counts; an order must sort as it is written."""
    counts = set((settings.expand or {}).values())
    allowed = {settings.order, *settings.axes, *for_model} - counts
    for name, values in numbers.items():
        if values is None and name not in allowed:
            raise StudyError(
                f"{settings.file}: column {name} must hold numbers, row 1 is {raw[name].iloc[0]!r}"
            )
    dates = raw[settings.order] if settings.order in numbers else None
    if dates is not None and numbers[dates.name] is None and not _is_ordered(dates):
        texts = dates.dropna().drop_duplicates().astype(str)
        unsorted = texts[~texts.str.fullmatch(_ISO_DATE)]
        if len(unsorted):
            raise StudyError(
                f"{settings.file}: column {settings.order}, row {unsorted.index[0] + 1} is {unsorted.iloc[0]!r}:"
                " data.order must be a column of numbers or of dates such as 2026-02-19"
            )


def _is_ordered(values: pd.Series) -> bool:
    return isinstance(values.dtype, pd.CategoricalDtype) and bool(values.cat.ordered)


def _missing(
    raw: pd.DataFrame, numbers: Mapping[str, NDArray | None], settings: DataSettings
) -> tuple[NDArray, dict[str, int]]:
    """Rows to leave out, and how many for which reason."""
    leave_out = np.zeros(len(raw), bool)
    dropped: dict[str, int] = {}
    for name in raw:
        for reason, bad in _gaps(raw[name], numbers.get(name)).items():
            if not bad.any():
                continue
            if settings.missing == "error":
                rows = ", ".join(str(row + 1) for row in np.flatnonzero(bad)[:5])
                more = f" and {int(bad.sum()) - 5} more" if bad.sum() > 5 else ""
                raise StudyError(
                    f"{settings.file}: column {name} {_GAPS[reason]} in row {rows}{more}"
                    " (data.missing: drop leaves such rows out)"
                )
            dropped[f"{name} {reason}"] = int((bad & ~leave_out).sum())
            leave_out |= bad
    return leave_out, dropped


_GAPS = {"missing": "has no value (empty or NaN)", "infinite": "is infinite"}


def _gaps(raw: pd.Series, values: NDArray | None) -> dict[str, NDArray]:
    """Rows without a value, and rows with an infinity. `(rows,)` each."""
    if values is None and pd.api.types.is_float_dtype(raw):
        values = raw.to_numpy("float64", na_value=np.nan)  # labels that are written as numbers
    if values is None:  # netCDF writes a missing text as an empty one, as CSV does
        return {"missing": (raw.isna() | (raw == "")).to_numpy(bool)}
    if values.dtype.kind != "f":
        return {"missing": np.zeros(len(raw), bool)}
    return {"missing": np.isnan(values), "infinite": np.isinf(values)}


def _encode(values: pd.Series) -> Column:
    if pd.api.types.is_float_dtype(values) and (values % 1 == 0).all():
        values = values.astype("int64")  # a gap elsewhere in the column has made floats of integers
    elif isinstance(values.dtype, pd.CategoricalDtype) and not _is_ordered(values):
        values = values.astype(values.cat.categories.dtype)  # other formats know no order of these
    codes, labels = pd.factorize(values, sort=True)
    return Column(codes.astype("int32"), tuple(str(label) for label in labels))


def _expand(table: Table, settings: DataSettings) -> Table:
    """One row per observation, from the counts that aggregated rows hold."""
    if settings.expand is None:
        return table
    counts = {key: _counts(table, column) for key, column in settings.expand.items()}
    if counts["repeat" if "repeat" in counts else "trials"].sum(dtype="float64") > _MOST_ROWS:
        raise StudyError(f"{table.file}: data.expand would make more than {_MOST_ROWS} rows")
    if "repeat" in counts:
        repeats, outcome = counts["repeat"], None
    else:
        repeats, successes = counts["trials"], counts["successes"]
        if (successes > repeats).any():
            bad = int(np.flatnonzero(successes > repeats)[0])
            raise StudyError(
                f"{table.file}: row {table.row[bad]} has {successes[bad]} {settings.expand['successes']}"
                f" of only {repeats[bad]} {settings.expand['trials']}"
            )
        outcome = _successes_first(repeats, successes)
    source = np.repeat(np.arange(table.n_rows), repeats)
    if not len(source):
        raise StudyError(f"{table.file}: all counts are 0, so that there are no rows")
    columns = {
        name: Column(column.values[source], column.labels)
        for name, column in table.columns.items()
        if name not in settings.expand.values()
    }
    if outcome is not None:
        columns[settings.outcome] = Column(outcome, None)
    return Table(table.file, columns, table.row[source], table.dropped)


def _counts(table: Table, column: str) -> NDArray:
    values = table.columns[column].values
    bad = np.flatnonzero((values < 0) | (values != np.floor(values)))
    if len(bad):
        row, value = table.row[bad[0]], values[bad[0]]
        raise StudyError(
            f"{table.file}: column {column}, row {row} must be a whole number from 0, got {value}"
        )
    return np.minimum(values, _MOST_ROWS + 1).astype("int64")


def _successes_first(trials: NDArray, successes: NDArray) -> NDArray:
    outcome = np.repeat(
        np.tile(np.array([1, 0], "int8"), len(trials)),
        np.stack([successes, trials - successes], 1).ravel(),
    )
    return outcome
