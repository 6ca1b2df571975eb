"""Data sets in memory, each with the plan of a study."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scalecheck import orders, plan, store
from scalecheck.arrangement import Arrangement, arrange, plan_orders
from scalecheck.data import Column, Table
from scalecheck.evidence import Read
from scalecheck.plan import PlannedFit, Slice
from scalecheck.study import Study

NDArray = np.ndarray


class DataSet(NamedTuple):
    """One data set and its plan.

    Attributes
    ----------
    tasks
        As planned.
    kinds
        Kinds of fits that are made. Levels are the picture of an axis and needed by no verdict.
    read
        `(slices, columns) -> {column: (rows,)}`.
    seed
        Of everything random about it.
    """

    tasks: tuple[PlannedFit, ...]
    kinds: tuple[str, ...]
    read: Read
    seed: int

    @property
    def fitted(self) -> list[PlannedFit]:
        """What is fitted."""
        return [task for task in self.tasks if task.kind in self.kinds]


def from_table(
    settings: Study, columns: Mapping[str, Column], seed: int, kinds: tuple[str, ...]
) -> DataSet:
    """Plan a table that is in memory.

    Parameters
    ----------
    settings
        Of the study.
    columns
        By name; values `(rows,)`.
    seed
        Determines its random orders and its draws.
    kinds
        Kinds of fits to make.
    """
    n_rows = len(next(iter(columns.values())).values)
    table = Table("the simulated table", columns, np.arange(1, n_rows + 1), {})
    axes = {
        name: orders.cut_axis(table, name, settings.subsets.levels) for name in settings.data.axes
    }
    arrival = orders.arrival_order(table, settings.data, seed)
    unit = settings.data.unit
    arranged = arrange(n_rows, columns[unit].values if unit else None, axes, arrival, seed)
    planned = plan.make_plan(
        *plan_orders(n_rows, arranged.unit_ends, arranged.axes, table.file),
        settings.subsets,
        settings.increments,
    )
    return DataSet(tuple(planned), kinds, _reader(columns, arranged), seed)


def _reader(columns: Mapping[str, Column], arranged: Arrangement) -> Read:
    """Read columns of a table in memory as `store.read_rows` reads them."""

    def read(slices: Sequence[Slice], names: Sequence[str]) -> dict[str, NDArray]:
        rows = np.concatenate([arranged.rows[s.order][s.start : s.stop] for s in slices])
        known = {store.OBSERVATION: rows, store.FILE_ROW: rows + 1}
        return {
            name: known[name] if name in known else columns[name].values[rows] for name in names
        }

    return read
