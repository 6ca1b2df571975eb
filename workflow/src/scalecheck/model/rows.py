"""Columns of a slice, arranged as a model takes them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Real, Shaped

from scalecheck.model.binding import Model


class Rows(NamedTuple):
    """The data of a fit as its model takes them.

    Attributes
    ----------
    arrays
        Model argument -> `(rows,)` or `(rows, k)`; numbers as floats, labels as int32 codes.
    counts
        Model argument -> integer, which the program is compiled for.
    mask
        `(rows,)` False where a row only pads the batch; None where none does.
    """

    arrays: dict[str, np.ndarray]
    counts: dict[str, int]
    mask: Bool[np.ndarray, " row"] | None

    @property
    def n_rows(self) -> int:
        """Rows, padding included."""
        return len(next(iter(self.arrays.values())))


def make_rows(
    model: Model,
    values: Mapping[str, np.ndarray],
    labels: Mapping[str, Sequence[str] | None],
    *,
    precision: str = "float32",
    unit: str | None = None,
) -> Rows:
    """Arrange the columns of a slice as the model takes them.

    Parameters
    ----------
    values
        `(rows,)` by column.
    unit
        Column whose codes become local to the slice, 0, 1, ... in order of appearance.
    """
    values = dict(values)
    n_levels = {column: len(names) for column, names in labels.items() if names is not None}
    if unit is not None and unit in values:
        values[unit] = local_codes(values[unit])[0]
        n_levels[unit] = int(values[unit].max()) + 1
    arrays: dict[str, np.ndarray] = {}
    for name, argument in model.arguments.items():
        parts = [
            values[column].astype("int32" if labels[column] is not None else precision)
            for column in argument.columns
        ]
        arrays[name] = np.stack(parts, axis=1) if argument.matrix else parts[0]
    counts = {name: n_levels[column] for name, column in model.counts.items()}
    if model.n_rows:
        counts["n_rows"] = len(next(iter(values.values())))
    return Rows(arrays, counts, None)


def local_codes(
    codes: Real[np.ndarray, " row"],
) -> tuple[Int[np.ndarray, " row"], Real[np.ndarray, " code"]]:
    """Number the codes of a slice 0, 1, ... by first appearance: local codes `(rows,)`, and the global code of each."""
    known, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(known), "int32")
    rank[order] = np.arange(len(known), dtype="int32")
    return rank[inverse], known[order]


def pad_rows(rows: Rows, n_rows: int, counts: Mapping[str, int]) -> Rows:
    """Pad a slice to a batch's shape by repeating its last row, and mask what was added."""
    arrays = {name: repeat_last(values, n_rows) for name, values in rows.arrays.items()}
    return Rows(arrays, dict(counts), np.arange(n_rows) < rows.n_rows)


def repeat_last(
    values: Shaped[np.ndarray, " row *shape"], n_rows: int
) -> Shaped[np.ndarray, " rows *shape"]:
    """Repeat the last of `(rows, ...)` until there are so many."""
    return np.concatenate([values, np.repeat(values[-1:], n_rows - len(values), axis=0)])
