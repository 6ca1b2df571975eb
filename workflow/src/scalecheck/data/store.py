"""The store of a study's data: every order in which fits read, so that each reads only its slice."""

import contextlib
import functools
import json
import urllib.parse
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import netCDF4
import numpy as np

from scalecheck.data.disk_columns import Values, blocks, in_memory
from scalecheck.data.levels import Axis
from scalecheck.data.orders import OrderedTable, order_table, plan_orders
from scalecheck.data.table import Table
from scalecheck.errors import StudyError
from scalecheck.files import kept
from scalecheck.files.formats import atomic
from scalecheck.files.layout import slug
from scalecheck.study.plan import Levels, Order, Slice
from scalecheck.study.settings import DataSettings

# Of every row beside its columns: which observation it is, and the row of the file it stands in. Of an order: where its
# units end, which would be the name of a column in RESERVED.
OBSERVATION, FILE_ROW, _UNIT_END = "__observation", "__row", "__unit_end"

_LONGEST = 200  # characters of a name; netCDF takes 256

# Share of the rows that every label of a column has whose levels may index compared parameters: 25 of the 500 that a
# subset or the first increment often has. With few, the posterior of a level is its prior in some of the fits.
COMMON = 0.05

# Rows that share a checksum, and are read together. A fit of 500 rows that lie elsewhere in each column reads tens of
# kilobytes of it; 1e8 rows have twelve thousand checksums.
_CHUNK = 8192
# Bytes of chunks that HDF5 keeps of a column while it is written, each chunk once: by default it would keep 64 MB.
_KEPT = 2**20


class StoreMeta(NamedTuple):
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
    rarest
        Rows of the rarest label that has any, of each categorical column.
    """

    file: str
    n_rows: int
    labels: dict[str, list[str] | None]
    axes: dict[str, dict[str, list[Any]]]
    dropped: dict[str, int]
    unit: str | None
    rarest: dict[str, int]

    @property
    def common(self) -> frozenset[str]:
        """Categorical columns beside the unit, each label of which has `COMMON` of the rows."""
        return common_columns(self.rarest, self.n_rows, self.unit)


def common_columns(rarest: Mapping[str, int], n_rows: int, unit: str | None) -> frozenset[str]:
    """Columns beside the unit each label of which has `COMMON` of the rows, from the rows of the rarest of each."""
    least = COMMON * n_rows
    return frozenset(name for name, rows in rarest.items() if name != unit and rows >= least)


def write_store(
    path: Path, table: Table, settings: DataSettings, axes: Mapping[str, Axis], seed: int
) -> StoreMeta:
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
        for arranged in order_table(table, settings, axes, seed):
            _write_order(file, arranged, columns, dtypes)
            if arranged.levels is not None:
                levels[arranged.order.removeprefix("axis/")] = arranged.levels
            del arranged  # or it would be held while the next order is made
        meta = StoreMeta(
            table.file,
            table.n_rows,
            labels,
            levels,
            dict(table.dropped),
            settings.unit,
            {name: rarest(columns[name], len(own)) for name, own in labels.items() if own},
        )
        known = json.dumps(meta._asdict())
        file.setncatts({"meta": known, "meta_crc32": f"{zlib.crc32(known.encode()):08x}"})
    return meta


def rarest(codes: Values, n_labels: int) -> int:
    """Rows of the rarest of so many labels that have any, from the codes of a column."""
    rows = np.zeros(n_labels, "int64")
    for part in blocks(len(codes)):
        rows += np.bincount(codes[part], minlength=n_labels)
    return int(rows[rows > 0].min())


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


def _ends(values: np.ndarray) -> tuple[int, int]:
    return int(values.min()), int(values.max())


def _smallest(low: int, high: int) -> np.dtype:
    return np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high))


def _write_order(
    file: netCDF4.Dataset,
    arranged: OrderedTable,
    columns: Mapping[str, Values],
    dtypes: Mapping[str, np.dtype],
) -> None:
    group, rows = file.createGroup(_group(arranged.order)), arranged.rows
    group.createDimension("row", len(rows))
    for name, values in columns.items():
        _write_column(group, name, values, dtypes[name], rows)
    n_rows = len(columns[FILE_ROW])
    observation = _checked(group, _escape(OBSERVATION), _smallest(0, n_rows - 1), "row")
    for part in blocks(len(rows)):
        observation[part] = rows[part]
    if arranged.unit_ends is not None:
        group.createDimension("unit", len(arranged.unit_ends))
        _checked(group, _UNIT_END, np.dtype("i8"), "unit")[:] = arranged.unit_ends


def _write_column(
    group: netCDF4.Group, name: str, values: Values, dtype: np.dtype, rows: np.ndarray
) -> None:
    """One column at a time is in memory, because rows are taken from all over it."""
    whole, variable = in_memory(values, dtype), _checked(group, _escape(name), dtype, "row")
    for part in blocks(len(rows)):
        variable[part] = whole[rows[part]]


def _checked(group: netCDF4.Group, name: str, dtype: np.dtype, dim: str) -> netCDF4.Variable:
    """A variable whose values have checksums, at which HDF5 looks whenever they are read."""
    chunk = max(1, min(_CHUNK, len(group.dimensions[dim])))
    # Whatever is written needs no filling before.
    return group.createVariable(
        name,
        dtype,
        (dim,),
        chunksizes=(chunk,),
        fletcher32=True,
        fill_value=False,
        chunk_cache=_KEPT,
    )


def _escape(column: str) -> str:
    """NetCDF refuses many names that tables have: with a slash, with a space at an end, with a sign in front."""
    name = "_" + urllib.parse.quote(column, safe="")
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}_{zlib.crc32(column.encode()):08x}"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[netCDF4.Dataset]:
    """Open a store. What HDF5 finds damaged is said in one line.

    Raises
    ------
    StudyError
        Where a checksum is another, or the file is not netCDF.
    """
    try:
        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            yield file
    except (OSError, RuntimeError) as error:
        # Those of HDF5 are negative; of the system are files that are missing, or not ours to read.
        if isinstance(error, OSError) and (error.errno or 0) > 0:
            raise
        reason = getattr(error, "strerror", None) or error
        kept.forget(path)
        raise StudyError(f"{path}: damaged ({reason}): delete it and run again") from None


def read_meta(path: Path) -> StoreMeta:
    """Read what the store knows besides the rows."""
    with _opened(path) as file:
        known = getattr(file, "meta", "")
        if f"{zlib.crc32(known.encode()):08x}" != getattr(file, "meta_crc32", ""):
            raise RuntimeError("meta: its checksum is another")
        return StoreMeta(**json.loads(known))


def read_orders(path: Path) -> tuple[Order, Order, dict[str, Levels]]:
    """Read what the plan needs: the orders by arrival and at random, and the levels of each axis."""
    meta = read_meta(path)
    names = ["arrival", "random", *(f"axis/{axis}" for axis in meta.axes)]
    with _opened(path) as file:
        ends = {name: _read_ends(file[_group(name)]) for name in names}
    return plan_orders(meta.n_rows, ends, meta.axes, meta.file)


def _read_ends(group: netCDF4.Group) -> np.ndarray | None:
    return np.asarray(group[_UNIT_END][:]) if _UNIT_END in group.variables else None


def read_rows(path: Path, slices: Sequence[Slice], columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Read only these slices of these columns, one after the other. Values `(rows,)` by column."""
    with reading(path) as read:
        return {
            column: np.concatenate([read(part, column) for part in slices]) for column in columns
        }


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Callable[[Slice, str], np.ndarray]]:
    """Open a store for many slices: a function of a slice and a column gives its values `(rows,)`."""
    with _opened(path) as file:
        yield functools.partial(_read_slice, file)


def _read_slice(file: netCDF4.Dataset, part: Slice, column: str) -> np.ndarray:
    try:
        return np.asarray(file[_group(part.order)][_escape(column)][part.start : part.stop])
    except RuntimeError as error:
        where = f"column {column}, order {part.order}, rows {part.start} to {part.stop}"
        raise RuntimeError(f"{where}: {error}") from None
