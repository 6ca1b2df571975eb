"""The store of a study's data: every order in which fits read, so that each reads only its slice."""

import json
import urllib.parse
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import netCDF4
import numpy as np

from scalecheck.arrangement import arrange, plan_orders
from scalecheck.names import slug
from scalecheck.orders import Axis
from scalecheck.plan import Levels, Order, Slice
from scalecheck.records import atomic

if TYPE_CHECKING:  # pandas, which reads tables, would cost every fit a second
    from scalecheck.data import Table

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
    path: Path,
    table: "Table",
    axes: Mapping[str, Axis],
    arrival: NDArray,
    unit: str | None,
    seed: int,
) -> Meta:
    """Write a table in all its orders.

    Parameters
    ----------
    arrival
        `(rows,)` the order of arrival.
    seed
        Determines the random orders.
    """
    units = table.columns[unit].values if unit else None
    arranged = arrange(table.n_rows, units, axes, arrival, seed)
    columns = {name: _compact(column.values) for name, column in table.columns.items()}
    columns[OBSERVATION] = _compact(np.arange(table.n_rows))
    columns[FILE_ROW] = _compact(table.row)
    labels = {
        name: list(column.labels) if column.labels is not None else None
        for name, column in table.columns.items()
    }
    meta = Meta(table.file, table.n_rows, labels, arranged.axes, dict(table.dropped), unit)
    with atomic(path) as temporary, netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
        for name, rows in arranged.rows.items():
            _write_order(file, _group(name), columns, rows, arranged.unit_ends[name])
        file.setncattr("meta", json.dumps(meta._asdict()))
    return meta


def _group(order: str) -> str:
    """Name of an order's group: an axis may be called what netCDF refuses."""
    return f"axis/_{slug(order[5:])}" if order.startswith("axis/") else order


def _compact(values: NDArray) -> NDArray:
    """The smallest type that holds the same values."""
    if values.dtype.kind in "iu":
        low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
        small = np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high))
        return values.astype(small) if small.kind in "iu" else values
    with np.errstate(over="ignore"):
        single = values.astype("float32")
    return single if (single == values).all() else values


def _write_order(
    file: netCDF4.Dataset,
    name: str,
    columns: Mapping[str, NDArray],
    rows: NDArray,
    unit_ends: NDArray | None,
) -> None:
    group = file.createGroup(name)
    group.createDimension("row", len(rows))
    for column, values in columns.items():
        variable = group.createVariable(_escape(column), values.dtype, ("row",))
        variable[:] = values[rows]
    if unit_ends is not None:
        group.createDimension("unit", len(unit_ends))
        group.createVariable("__unit_end", "i8", ("unit",))[:] = unit_ends


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
