"""The store of a study's data: every order in which fits read, so that each reads only its slice."""

import json
import urllib.parse
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import netCDF4
import numpy as np

from scalecheck.arrangement import Arranged, arrange, plan_orders
from scalecheck.blocks import blocks
from scalecheck.levels import Axis
from scalecheck.names import slug
from scalecheck.plan import Levels, Order, Slice
from scalecheck.records import atomic
from scalecheck.spool import Values, in_memory
from scalecheck.study import DataSettings
from scalecheck.table import Table

NDArray = np.ndarray

# Of every row beside its columns: which observation it is, and the row of the file it stands in.
OBSERVATION, FILE_ROW = "__observation", "__row"

_LONGEST = 200  # characters of a name; netCDF takes 256


class Meta(NamedTuple):
    """What the store knows besides the rows.

    Attributes
    ----------
    file
        The table that was read.
    n_rows
        Observations.
    labels
        Labels of each categorical column; None for numbers.
    axes
        Labels and rows of each level, by axis.
    dropped
        Rows left out, by reason.
    unit
        The column of units, if any.
    """

    file: str
    n_rows: int
    labels: dict[str, list[str] | None]
    axes: dict[str, dict[str, list[Any]]]
    dropped: dict[str, int]
    unit: str | None


def write(
    path: Path, table: Table, settings: DataSettings, axes: Mapping[str, Axis], seed: int
) -> Meta:
    """Write a table in all its orders.

    Parameters
    ----------
    settings
        The section `data` of the study.
    axes
        How each axis is cut.
    seed
        Determines the random orders.
    """
    columns = {name: column.values for name, column in table.columns.items()}
    columns[FILE_ROW] = table.row
    dtypes = {name: _compact(values) for name, values in columns.items()}
    labels = {
        name: list(column.labels) if column.labels is not None else None
        for name, column in table.columns.items()
    }
    levels: dict[str, dict[str, list[Any]]] = {}
    with atomic(path) as temporary, netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
        for arranged in arrange(table, settings, axes, seed):
            _write_order(file, arranged, columns, dtypes)
            if arranged.levels is not None:
                levels[arranged.order.removeprefix("axis/")] = arranged.levels
        meta = Meta(table.file, table.n_rows, labels, levels, dict(table.dropped), settings.unit)
        file.setncattr("meta", json.dumps(meta._asdict()))
    return meta


def _group(order: str) -> str:
    """Name of an order's group: an axis may be called what netCDF refuses."""
    return f"axis/_{slug(order[5:])}" if order.startswith("axis/") else order


def _compact(values: Values) -> np.dtype:
    """The smallest type that holds the same values."""
    if values.dtype.kind in "iu":
        ends = [end for part in blocks(len(values)) for end in _ends(values[part])]
        small = _smallest(min(ends), max(ends))
        return small if small.kind in "iu" else values.dtype
    with np.errstate(over="ignore"):
        single = all(
            (values[part].astype("float32") == values[part]).all() for part in blocks(len(values))
        )
    return np.dtype("float32") if single else values.dtype


def _ends(values: NDArray) -> tuple[int, int]:
    return int(values.min()), int(values.max())


def _smallest(low: int, high: int) -> np.dtype:
    return np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high))


def _write_order(
    file: netCDF4.Dataset,
    arranged: Arranged,
    columns: Mapping[str, Values],
    dtypes: Mapping[str, np.dtype],
) -> None:
    group, rows = file.createGroup(_group(arranged.order)), arranged.rows
    group.createDimension("row", len(rows))
    for name, values in columns.items():
        _write_column(group, name, values, dtypes[name], rows)
    n_rows = len(columns[FILE_ROW])
    observation = _variable(group, OBSERVATION, _smallest(0, n_rows - 1))
    for part in blocks(len(rows)):
        observation[part] = rows[part]
    if arranged.unit_ends is not None:
        group.createDimension("unit", len(arranged.unit_ends))
        group.createVariable("__unit_end", "i8", ("unit",))[:] = arranged.unit_ends


def _write_column(
    group: netCDF4.Group, name: str, values: Values, dtype: np.dtype, rows: NDArray
) -> None:
    """One column at a time is in memory, because rows are taken from all over it."""
    whole, variable = in_memory(values, dtype), _variable(group, name, dtype)
    for part in blocks(len(rows)):
        variable[part] = whole[rows[part]]


def _variable(group: netCDF4.Group, name: str, dtype: np.dtype) -> netCDF4.Variable:
    # Without chunks rows follow one another in the file, so that a slice is one read; and whatever is written
    # needs no filling before.
    return group.createVariable(_escape(name), dtype, ("row",), contiguous=True, fill_value=False)


def _escape(column: str) -> str:
    """NetCDF refuses many names that tables have: with a slash, with a space at an end, with a sign in front."""
    name = "_" + urllib.parse.quote(column, safe="")
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}_{zlib.crc32(column.encode()):08x}"


def read_meta(path: Path) -> Meta:
    """Read what the store knows besides the rows."""
    with netCDF4.Dataset(path) as file:
        return Meta(**json.loads(file.getncattr("meta")))


def read_orders(path: Path) -> tuple[Order, Order, dict[str, Levels]]:
    """Read what the plan needs: the orders by arrival and at random, and the levels of each axis."""
    meta = read_meta(path)
    names = ["arrival", "random", *(f"axis/{axis}" for axis in meta.axes)]
    with netCDF4.Dataset(path) as file:
        ends = {name: _read_ends(file[_group(name)]) for name in names}
    return plan_orders(meta.n_rows, ends, meta.axes, meta.file)


def _read_ends(group: netCDF4.Group) -> NDArray | None:
    return np.asarray(group["__unit_end"][:]) if "__unit_end" in group.variables else None


def read_rows(path: Path, slices: Sequence[Slice], columns: Sequence[str]) -> dict[str, NDArray]:
    """Read only these slices of these columns, one after the other. Values `(rows,)` by column."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        return {
            column: np.concatenate([_read_slice(file, part, column) for part in slices])
            for column in columns
        }


def _read_slice(file: netCDF4.Dataset, part: Slice, column: str) -> NDArray:
    return np.asarray(file[_group(part.order)][_escape(column)][part.start : part.stop])
