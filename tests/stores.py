"""Stores that tests write and read whole."""

import netCDF4
from tables import settings

from scalecheck.data import store
from scalecheck.data.levels import cut_axis


def write(path, table, *axes, seed=1, **keys):
    """Write a table as it stands, its axes cut into four levels at most."""
    cut = {name: cut_axis(table, name, 4) for name in axes}
    return store.write_store(path, table, settings("data.csv", axes=axes, **keys), cut, seed)


def content(file):
    """Read everything in a store: name of the group and variable -> values, and the attributes."""
    with netCDF4.Dataset(file) as dataset:
        groups = [("", dataset)]
        found = {"meta": dataset.getncattr("meta")}
        while groups:
            name, group = groups.pop()
            found |= {f"{name}/{key}": part[:].tobytes() for key, part in group.variables.items()}
            groups += [(f"{name}/{key}", part) for key, part in group.groups.items()]
    return found
