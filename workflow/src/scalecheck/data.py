"""Read a table, check it, encode it: one row per observation."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scalecheck.errors import StudyError
from scalecheck.names import closest
from scalecheck.study import DataSettings

NDArray = np.ndarray[Any, Any]


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


def read_table(settings: DataSettings, named: Sequence[str], possible: Sequence[str] = ()) -> Table:
    """Read the columns that the study uses; check, expand and encode them.

    Parameters
    ----------
    settings
        The section `data` of the study.
    named
        Columns that `model.arguments` names, which must exist.
    possible
        Names of model arguments, which are columns where the table has such a one.

    Raises
    ------
    StudyError
        One line that names the file, the column and the row.
    """
    file = settings.file
    raw = read_frame(file)
    expand = settings.expand or {}
    made = {settings.outcome} if "successes" in expand else set()
    wanted = dict.fromkeys([*named, *(c for c in possible if c in raw.columns)])
    keyed = {c: "model.arguments" for c in wanted if c not in made}
    keyed |= {c: f"data.expand.{key}" for key, c in expand.items()}
    keyed |= {c: "data.categories" for c in settings.categories}
    keyed |= {c: "data.axes" for c in settings.axes if c not in made}
    keyed |= {c: f"data.{key}" for key in ("order", "unit") if (c := getattr(settings, key))}
    for column, key in keyed.items():
        if column not in raw.columns:
            hint = (
                closest(column, map(str, raw.columns))
                or f"; it has {', '.join(map(str, raw.columns))}"
            )
            raise StudyError(f"{file}: no column {column}, which {key} names{hint}")
    if made & set(raw.columns):
        raise StudyError(
            f"{file}: data.expand makes the outcome {settings.outcome}, which must not be a column too"
        )
    raw = raw[list(keyed)]
    labels = set(settings.categories) | ({settings.unit} if settings.unit else set())
    numbers = {name: _numeric(raw[name], name, file) for name in raw if name not in labels}
    text_allowed = {settings.order, *settings.axes, *wanted} - set(expand.values())
    for name, values in numbers.items():
        if values is None and name not in text_allowed:
            raise StudyError(
                f"{file}: column {name} must hold numbers, row 1 is {raw[name].iloc[0]!r}"
            )
    missing, dropped = _missing(raw, numbers, settings)
    keep = np.flatnonzero(~missing)
    if not len(keep):
        raise StudyError(f"{file}: every row has a missing value, so that none is left")
    encoded = {
        name: Column(number[keep], None)
        if (number := numbers.get(name)) is not None
        else _encode(raw[name].iloc[keep])
        for name in raw
    }
    return _expand(Table(file, encoded, keep + 1, dropped), settings)


def read_frame(file: str) -> pd.DataFrame:
    """Read a file by its ending.

    Raises
    ------
    StudyError
        When it cannot be read, is empty, or names a column twice.
    """
    name = file.lower()
    try:
        if name.endswith((".csv", ".csv.gz")):
            header = pd.read_csv(file, header=None, nrows=1, dtype=str).iloc[0]
            for column in header[header.duplicated()]:
                raise StudyError(f"{file}: the column {column} is given twice")
            frame = pd.read_csv(file, low_memory=False)
        elif name.endswith(".parquet"):
            frame = pd.read_parquet(file)
        elif name.endswith(".nc"):
            frame = _read_netcdf(file)
        else:
            raise StudyError(f"{file}: data.file must end in .csv, .csv.gz, .parquet or .nc")
    except (OSError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StudyError(f"{file}: cannot be read: {reason}") from None
    if frame.empty:
        raise StudyError(f"{file}: the table has no rows")
    return frame


def _read_netcdf(file: str) -> pd.DataFrame:
    import xarray as xr  # here, because only this format needs it

    with xr.open_dataset(file) as dataset:
        if len(dataset.dims) != 1:
            raise StudyError(
                f"{file}: must be a Dataset with one dimension, got {', '.join(map(str, dataset.dims))}"
            )
        return dataset.to_dataframe().reset_index()


def _numeric(values: pd.Series, name: str, file: str) -> NDArray | None:
    """Numbers of a column, or None where it holds labels."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.to_numpy("datetime64[ns]").astype("int64") / 86_400e9
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        numbers = (
            values.to_numpy(
                dtype=None if values.dtype.kind in "iub" else "float64", na_value=np.nan
            )
            if values.isna().any()
            else values.to_numpy()
        )
        return np.asarray(numbers.astype("int8") if numbers.dtype == bool else numbers)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return None
    parsed = pd.to_numeric(values, errors="coerce").to_numpy("float64", na_value=np.nan)
    present = values.notna().to_numpy()
    text = present & np.isnan(parsed)
    if text.sum() < present.sum():
        row = int(np.flatnonzero(text)[0])
        raise StudyError(
            f"{file}: column {name}, row {row + 1} is {values.iloc[row]!r} where {int((present & ~text).sum())} rows"
            " hold numbers (labels are named under data.categories)"
        )
    return None


def _missing(
    raw: pd.DataFrame, numbers: Mapping[str, NDArray | None], settings: DataSettings
) -> tuple[NDArray, dict[str, int]]:
    """Rows to leave out, and how many for which reason."""
    leave_out = np.zeros(len(raw), bool)
    dropped: dict[str, int] = {}
    for name in raw:
        values = numbers.get(name)
        nan = (
            raw[name].isna().to_numpy()
            if values is None or values.dtype.kind != "f"
            else np.isnan(values)
        )
        infinite = (
            np.isinf(values)
            if values is not None and values.dtype.kind == "f"
            else np.zeros(len(raw), bool)
        )
        for reason, bad in (("missing", nan), ("infinite", infinite)):
            if not bad.any():
                continue
            if settings.missing == "error":
                rows = ", ".join(str(row + 1) for row in np.flatnonzero(bad)[:5])
                more = f" and {int(bad.sum()) - 5} more" if bad.sum() > 5 else ""
                raise StudyError(
                    f"{settings.file}: column {name} is {reason} in row {rows}{more}"
                    " (data.missing: drop leaves such rows out)"
                )
            dropped[f"{name} {reason}"] = int((bad & ~leave_out).sum())
            leave_out |= bad
    return leave_out, dropped


def _encode(values: pd.Series) -> Column:
    codes, labels = pd.factorize(values, sort=True)
    return Column(codes.astype("int32"), tuple(str(label) for label in labels))


def _expand(table: Table, settings: DataSettings) -> Table:
    """One row per observation, from the counts that aggregated rows hold."""
    if settings.expand is None:
        return table
    counts = {key: _counts(table, column) for key, column in settings.expand.items()}
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
    return values.astype("int64")


def _successes_first(trials: NDArray, successes: NDArray) -> NDArray:
    outcome = np.repeat(
        np.tile(np.array([1, 0], "int8"), len(trials)),
        np.stack([successes, trials - successes], 1).ravel(),
    )
    return outcome
