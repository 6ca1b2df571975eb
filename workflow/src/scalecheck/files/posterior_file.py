"""A posterior as an ArviZ DataTree in one netCDF file."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scalecheck.errors import StudyError
from scalecheck.files import formats

if TYPE_CHECKING:
    import netCDF4
    import xarray as xr


class Group(NamedTuple):
    """A group of an ArviZ DataTree.

    Attributes
    ----------
    variables
        Name -> dims and values.
    coords
        Dim -> labels or numbers.
    attributes
        Of the group.
    """

    variables: Mapping[str, tuple[Sequence[str], "np.ndarray"]]
    coords: Mapping[str, Sequence[Any]]
    attributes: Mapping[str, Any]


ATTRIBUTES = {
    "creation_library": "scalecheck",
    "inference_library": "numpyro",
    "inference_library_version": importlib.metadata.version("numpyro"),
}


def write_posterior(path: Path, groups: Mapping[str, Group]) -> None:
    """Write an ArviZ DataTree as netCDF, atomically.

    By netCDF4 and not by xarray, whose import would cost every fit a second.
    """
    import netCDF4

    with (
        formats.atomic(path) as temporary,
        netCDF4.Dataset(temporary, "w", format="NETCDF4") as file,
    ):
        for name, group in groups.items():
            _write_group(file.createGroup(name), group)


def _write_group(target: "netCDF4.Group", group: Group) -> None:
    target.setncatts(dict(group.attributes))
    sizes = {dim: len(labels) for dim, labels in group.coords.items()}
    for dims, values in group.variables.values():
        sizes |= dict(zip(dims, values.shape, strict=True))
    for dim, size in sizes.items():
        target.createDimension(dim, size)
    for dim, labels in group.coords.items():
        text = isinstance(labels[0], str) if len(labels) else True
        variable = target.createVariable(dim, str if text else "i8", (dim,))
        variable[:] = np.array(labels, dtype=object if text else "i8")
    for name, (dims, values) in group.variables.items():
        flag = values.dtype == bool
        dtype = "i1" if flag else values.dtype
        variable = target.createVariable(name, dtype, tuple(dims), fill_value=False)
        if flag:
            variable.setncattr("dtype", "bool")  # as xarray encodes it
        variable[...] = values


def read_posterior(path: Path) -> "xr.DataTree":
    """Read the DataTree of a fit into memory.

    Raises
    ------
    StudyError
        When it is missing or damaged.
    """
    import xarray as xr

    try:
        with xr.open_datatree(path, engine="netcdf4") as tree:
            return tree.load()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StudyError(
            f"{path}: cannot be read ({reason}): delete {path.parents[1]} and run again"
        ) from None


def as_tree(groups: Mapping[str, Group]) -> "xr.DataTree":
    """Give the DataTree that `read_posterior` would read, without a file."""
    import xarray as xr

    datasets = {
        name: xr.Dataset(
            {key: (list(dims), values) for key, (dims, values) in group.variables.items()},
            coords={dim: list(labels) for dim, labels in group.coords.items()},
        )
        for name, group in groups.items()
    }
    return xr.DataTree.from_dict(datasets)
