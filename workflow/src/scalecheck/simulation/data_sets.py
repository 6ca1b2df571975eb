"""Data sets in memory, each with the plan of a study."""

from typing import NamedTuple

from scalecheck.evaluation.study_data import Read
from scalecheck.study.plan import PlannedFit


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
