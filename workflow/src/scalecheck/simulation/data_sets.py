"""Data sets in memory, each with the plan of a study."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from scalecheck.data import store
from scalecheck.data.levels import cut_axis
from scalecheck.data.orders import Arranged, arrange, plan_orders
from scalecheck.data.table import Column, Table
from scalecheck.evaluation.study_data import Read
from scalecheck.study import plan
from scalecheck.study.plan import PlannedFit, Slice
from scalecheck.study.settings import Study

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
    axes = {name: cut_axis(table, name, settings.subsets.levels) for name in settings.data.axes}
    arranged = {part.order: part for part in arrange(table, settings.data, axes, seed)}
    ends = {order: part.unit_ends for order, part in arranged.items()}
    levels = {name: arranged[f"axis/{name}"].levels or {} for name in axes}
    planned = plan.make_plan(
        *plan_orders(n_rows, ends, levels, table.file),
        settings.subsets,
        settings.increments,
    )
    return DataSet(tuple(planned), kinds, _reader(columns, arranged), seed)


def _reader(columns: Mapping[str, Column], arranged: Mapping[str, Arranged]) -> Read:
    """Read columns of a table in memory as `store.read_rows` reads them."""

    def read(slices: Sequence[Slice], names: Sequence[str]) -> dict[str, NDArray]:
        rows = np.concatenate([arranged[s.order].rows[s.start : s.stop] for s in slices])
        known = {store.OBSERVATION: rows, store.FILE_ROW: rows + 1}
        return {
            name: known[name] if name in known else np.asarray(columns[name].values)[rows]
            for name in names
        }

    return read
