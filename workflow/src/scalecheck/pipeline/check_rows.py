"""What is asked of every row before any fit: that float32 holds it, and that the model gives it a density."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from scalecheck.data import disk_columns, store
from scalecheck.errors import StudyError
from scalecheck.files.layout import StudyFolder
from scalecheck.model import binding, density, sites
from scalecheck.model.rows import Rows, make_rows
from scalecheck.runtime import time_limit
from scalecheck.study.plan import Slice

# Rounding to float32 may add this share of a column's standard deviation, root mean square.
_COARSEST = 1e-3
# A row's log likelihood in float32 may be off by this share of its size (at least of 1).
_ROW_TOLERANCE = 1e-2
_CHUNK = 65_536
_STARTS = 4


class StoredRows(NamedTuple):
    """The rows of a study, and the model that is bound to their columns."""

    folder: StudyFolder
    bound: binding.Model
    meta: store.StoreMeta

    def read(self, start: int, stop: int, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """Read some columns of the rows from `start` to `stop`, in the order of arrival: `(rows,)` each."""
        return store.read_rows(self.folder.data, [Slice("arrival", start, stop)], columns)

    def file_row(self, at: int) -> int:
        """Look up the row of the file that an observation stands in."""
        return int(self.read(at, at + 1, [store.FILE_ROW])[store.FILE_ROW][0])

    def read_first(self, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """Read some columns of as many rows as are looked at together: `(rows,)` each."""
        return self.read(0, min(self.meta.n_rows, _CHUNK), columns)

    def first(self) -> Rows:
        """Arrange the same rows in float32."""
        return make_rows(self.bound, self.read_first(self.bound.columns), self.meta.labels)


def check_columns(stored: StoredRows) -> None:
    """Refuse a column such as `y + 1e8`: float32 loses what the model is about, without any error.

    Raises
    ------
    StudyError
        Names the file and the column.
    """
    for column in stored.bound.columns:
        if stored.meta.labels[column] is None:
            _check_column(stored, column)


def _check_column(stored: StoredRows, column: str) -> None:
    file = stored.meta.file
    # Moments block by block: a mean, and sums of squares about it (Chan, Golub and LeVeque, 1983).
    count, mean, squares, lost_squares = 0, 0.0, 0.0, 0.0
    for rows in disk_columns.blocks(stored.meta.n_rows):
        values = stored.read(rows.start, rows.stop, [column])[column].astype("float64")
        with np.errstate(over="ignore"):
            rounded = values.astype("float32")
        if np.isinf(rounded).any():
            at = int(np.flatnonzero(np.isinf(rounded))[0])
            raise StudyError(
                f"{file}: column {column}, row {stored.file_row(rows.start + at)} holds {values[at]:g}, too"
                " large for sampler.precision float32: rescale it, or use float64"
            )
        apart, before = values.mean() - mean, count
        count += len(values)
        mean += apart * len(values) / count
        squares += values.var() * len(values) + apart**2 * before * len(values) / count
        lost_squares += ((rounded - values) ** 2).sum()
    lost, spread = np.sqrt(lost_squares / count), np.sqrt(squares / count)
    if lost > _COARSEST * spread > 0:
        raise StudyError(
            f"{file}: column {column} loses its precision in float32: rounding moves its values by"
            f" {lost:.2g}, their standard deviation is {spread:.2g}: subtract {mean:.6g}, or use"
            " sampler.precision float64"
        )


def check_rows(
    stored: StoredRows,
    function: Callable[..., Any],
    found: Sequence[sites.Site],
    observed: sites.Site,
    precision: str,
    seed: int,
) -> None:
    """Check each row at several draws from the prior: is it in the support, is its density right in float32?

    A row is refused where the answer is no at every one of the draws.

    Parameters
    ----------
    function
        The bound model as a function of its arrays.
    found
        Its sites, among them the observed one.
    precision
        `sampler.precision`.

    Raises
    ------
    StudyError
        Names the file, the row and the site.
    """
    bound, meta = stored.bound, stored.meta
    latent = [site.name for site in found if site.kind == "latent"]
    keys = jax.random.split(jax.random.PRNGKey(seed), _STARTS)
    size = min(_CHUNK, meta.n_rows)
    at_rows = jax.jit(lambda values, arrays: _rows_at(function, observed.name, values, arrays))
    arrays = {name: jnp.asarray(array) for name, array in stored.first().arrays.items()}
    with time_limit.limited(Path(bound.file)):
        drawn = density.prior_draws(function, latent, arrays, keys)
    exact = density.in_double({name: np.asarray(values) for name, values in drawn.items()})
    for begin in range(0, meta.n_rows, size):
        # The last chunk overlaps the one before, so that all have one shape.
        start = min(begin, meta.n_rows - size)
        values = stored.read(start, start + size, bound.columns)
        single = make_rows(bound, values, meta.labels).arrays
        double = make_rows(bound, values, meta.labels, precision="float64").arrays
        with time_limit.limited(Path(bound.file)):
            with jax.enable_x64(True):
                fine, in_double = map(np.asarray, at_rows(exact, double))
            if precision == "float64":
                _refuse(fine, in_double, stored, start, observed)
                continue
            fine, in_single = map(np.asarray, at_rows(drawn, single))
        _refuse(fine, in_single, stored, start, observed)
        _compare_precisions(in_single, in_double, stored, start, observed)


def _rows_at(
    function: Callable[..., Any], site: str, values: Mapping[str, Any], arrays: Mapping[str, Any]
) -> tuple[jax.Array, jax.Array]:
    """Whether each row is in the support, and its log likelihood, at each of some latent values: `(start, rows)`."""

    def at(one: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        substituted = handlers.substitute(function, data=one)
        observed = sites.traced(substituted, arrays, jax.random.key(0))[site]
        # Support and density are asked apart: a distribution gives numbers outside its support, too.
        supported = observed["fn"].support(observed["value"])
        log_prob = observed["fn"].log_prob(observed["value"])
        n_rows = log_prob.shape[0]
        return supported.reshape(n_rows, -1).all(axis=1), log_prob.reshape(n_rows, -1).sum(axis=1)

    return jax.vmap(at, axis_size=_STARTS)(dict(values))  # of a model without latent sites, too


def _refuse(
    fine: np.ndarray,
    log_likelihood: np.ndarray,
    stored: StoredRows,
    start: int,
    observed: sites.Site,
) -> None:
    """Refuse the first row that no draw has in its support, or gives a log likelihood; both `(start, rows)`."""
    outside, undefined = ~fine.any(axis=0), np.isnan(log_likelihood).all(axis=0)
    if not (outside | undefined).any():
        return
    bound = stored.bound
    first = int(np.flatnonzero(outside | undefined)[0])
    at = start + first
    row = f"{stored.meta.file}: row {stored.file_row(at)}"
    if not outside[first]:
        raise StudyError(
            f"{row}: the log likelihood of the site {observed.name} is NaN, whatever is drawn from the prior"
            f" ({bound.file})"
        )
    values = stored.read(at, at + 1, bound.arguments[bound.outcome].columns)
    value = ", ".join(f"{column[0]:g}" for column in values.values())
    raise StudyError(
        f"{row} has {bound.outcome} = {value}, which is outside the support of the observed site {observed.name}"
        f" ({bound.file})"
    )


def _compare_precisions(
    single: np.ndarray,
    double: np.ndarray,
    stored: StoredRows,
    start: int,
    observed: sites.Site,
) -> None:
    with np.errstate(invalid="ignore"):
        off = np.abs(single - double) > _ROW_TOLERANCE * np.maximum(1, np.abs(double))
    lost = (off | (np.isfinite(double) & ~np.isfinite(single))).all(axis=0)
    if lost.any():
        at = int(np.flatnonzero(lost)[0])
        raise StudyError(
            f"{stored.meta.file}: row {stored.file_row(start + at)}: float32 loses the log likelihood of the site"
            f" {observed.name}: {single[0, at]:.6g} where float64 gives {double[0, at]:.6g}: rewrite the model in"
            " logs, or use sampler.precision float64"
        )
