"""Stores that tests write and read whole."""

import netCDF4
import numpy as np

from scalecheck import store
from scalecheck.levels import cut_axis
from scalecheck.study import DataSettings
from scalecheck.table import Column, Table


def plain(**columns):
    """Make a table of numbers."""
    n_rows = len(next(iter(columns.values())))
    made = {name: Column(np.asarray(values), None) for name, values in columns.items()}
    return Table("data.csv", made, np.arange(1, n_rows + 1), {"x missing": 3})


def write(path, table, *axes, seed=1):
    cut = {name: cut_axis(table, name, 4) for name in axes}
    settings = DataSettings("data.csv", "y", None, None, None, (), (), "error")
    return store.write(path, table, settings, cut, seed)


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
