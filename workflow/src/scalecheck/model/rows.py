"""Columns of a slice, arranged as a model takes them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int, Real, Shaped

from scalecheck.model.binding import Model

# Sizes to which the rows of fits are padded; above the last one they stay as they are. The programs of one more size
# compile for 4 s of the processor, as long as 40,000 rows of a model of one parameter are sampled, or 4,000 of one
# with ten times the leapfrogs: so small sizes are far apart, and large fits are not padded.
SHARED_SIZES = (256, 1024, 4096, 8192, 16384)

ByRow = Shaped[np.ndarray, " row"]
RowArrays = dict[str, Shaped[np.ndarray, "row ..."]]


class Rows(NamedTuple):
    """The data of a fit as its model takes them.

    Attributes
    ----------
    arrays
        Model argument -> `(rows,)` or `(rows, k)`; numbers as floats, labels as int32 codes.
    counts
        Model argument -> integer, which the program is compiled for.
    """

    arrays: RowArrays
    counts: dict[str, int]

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.arrays.values())))


def make_rows(
    model: Model,
    values: Mapping[str, ByRow],
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
    arrays: RowArrays = {}
    for name, argument in model.arguments.items():
        parts = [
            values[column].astype("int32" if labels[column] is not None else precision)
            for column in argument.columns
        ]
        arrays[name] = np.stack(parts, axis=1) if argument.matrix else parts[0]
    counts = {name: n_levels[column] for name, column in model.counts.items()}
    if model.n_rows:
        counts["n_rows"] = len(next(iter(values.values())))
    return Rows(arrays, counts)


def local_codes(
    codes: Real[np.ndarray, " row"],
) -> tuple[Int[np.ndarray, " row"], Real[np.ndarray, " code"]]:
    """Number the codes of a slice 0, 1, ... by first appearance: local codes `(rows,)`, and the global code of each."""
    local, known = pd.factorize(codes)
    return local.astype("int32"), known


def shared_size(n_rows: int) -> int:
    """Give the number of rows to which so many are padded: by them alone, so that fits and studies share programs."""
    return next((size for size in SHARED_SIZES if n_rows <= size), n_rows)


def pad_rows(rows: Rows, n_rows: int) -> RowArrays:
    """Pad arrays to `n_rows` by repeating the last row; `row_mask` `(n_rows,)` is False where a row was added."""
    arrays = {name: repeat_last(values, n_rows) for name, values in rows.arrays.items()}
    return {**arrays, "row_mask": np.arange(n_rows) < rows.n_rows}


def repeat_last(
    values: Shaped[np.ndarray, " row *shape"], n_rows: int
) -> Shaped[np.ndarray, " rows *shape"]:
    """Repeat the last of `(rows, ...)` until there are so many."""
    return np.concatenate([values, np.repeat(values[-1:], n_rows - len(values), axis=0)])
