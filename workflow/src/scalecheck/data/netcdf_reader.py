"""Read a table of netCDF in pieces: what xarray would make of it, without what xarray would hold of it."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scalecheck.data import disk_columns
from scalecheck.data.table import OpenTable
from scalecheck.errors import StudyError


@contextlib.contextmanager
def open_netcdf(file: str, _labelled: Iterable[str]) -> Iterator[OpenTable]:
    """Open a netCDF file of one dimension, each variable a column.

    Raises
    ------
    StudyError
        When it has another number of dimensions.
    """
    import netCDF4  # here, because only this format needs them
    import xarray as xr
    from xarray.backends import NetCDF4DataStore

    with netCDF4.Dataset(file) as stored:
        for variable in stored.variables.values():
            _make_room_for_chunk(variable)
        # Without indexes, for which xarray would read whole columns; and without texts, of which it reads all to learn
        # that they are some.
        dataset = xr.open_dataset(
            NetCDF4DataStore(stored),
            cache=False,
            create_default_indexes=False,
            mask_and_scale={name: False for name in stored.variables if _is_whole(stored[name])},
            drop_variables=[name for name in stored.variables if _is_text(stored[name])],
        )
        texts = {name: one for name, one in stored.variables.items() if _is_text(one)}
        sizes = {str(dim): size for dim, size in dataset.sizes.items()}
        sizes |= {
            dim: len(stored.dimensions[dim]) for one in texts.values() for dim in one.dimensions
        }
        if len(sizes) != 1:
            raise StudyError(
                f"{file}: must be a Dataset with one dimension, got {', '.join(sizes) or 'none'}"
            )
        ((dim, n_rows),) = sizes.items()
        names = [name for name in stored.variables if name in texts or name in dataset.variables]

        def column(name: str, rows: slice) -> Any:
            if name in texts:
                return _texts(texts[name], rows)
            if name == dim and dim not in dataset.variables:
                return np.arange(rows.start, rows.stop)
            values = dataset.variables[name]
            found = values.isel({dim: rows} if values.dims else {}).values
            found = found.astype(str) if found.dtype.kind == "S" else found
            found = np.broadcast_to(found, rows.stop - rows.start)
            return _masked(found, _marks(stored[name])) if _is_whole(stored[name]) else found

        def pieces(names: Sequence[str]) -> Iterator[pd.DataFrame]:
            for rows in disk_columns.blocks(n_rows):
                yield pd.DataFrame({name: column(name, rows) for name in names})

        yield OpenTable([*dict.fromkeys([dim, *names])], n_rows, pieces)


def _is_text(variable: Any) -> bool:
    """Whether it holds texts of any length, one for each row."""
    return variable.dtype is str and bool(variable.dimensions)


# Attributes by which a variable of netCDF says where there is no value.
_MARKS = ("_FillValue", "missing_value")


def _marks(variable: Any) -> list[Any]:
    return [mark for name in _MARKS for mark in np.ravel(getattr(variable, name, []))]


def _texts(variable: Any, rows: slice) -> np.ndarray:
    """Read texts, without those that stand for none."""
    found = variable[rows]
    found[np.isin(found, _marks(variable))] = None
    return found


def _is_whole(variable: Any) -> bool:
    """Whether there may be gaps among whole numbers, of which xarray makes floats: long identifiers would be equal."""
    has = {*variable.ncattrs()}
    if getattr(variable.dtype, "kind", None) not in {"i", "u"} or not has & {*_MARKS}:
        return False
    # Times, and what is packed otherwise, are xarray's to decode.
    packed = has & {"scale_factor", "add_offset", "_Unsigned", "dtype"}
    return not packed and " since " not in str(getattr(variable, "units", ""))


def _masked(values: np.ndarray, marks: Sequence[Any]) -> Any:
    """Whole numbers with gaps."""
    gaps = np.any([values == mark for mark in marks], axis=0)
    return pd.arrays.IntegerArray(values.astype(values.dtype.newbyteorder("=")), gaps)


def _make_room_for_chunk(variable: Any) -> None:
    """Have the library keep a chunk of a variable, however long: it would unpack it anew for every piece."""
    chunks = variable.chunking()
    if isinstance(chunks, list):
        # Of a text, its place in the file.
        size = math.prod(chunks) * getattr(variable.dtype, "itemsize", 16)
        variable.set_var_chunk_cache(max(size, variable.get_var_chunk_cache()[0]))
