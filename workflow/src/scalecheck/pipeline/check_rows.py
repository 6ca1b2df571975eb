"""What is asked of every row before any fit: that float32 holds it, and that the model gives it a density."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from scalecheck.data import store
from scalecheck.data.disk_columns import blocks
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


def first_rows(folder: StudyFolder, bound: binding.Model, meta: store.StoreMeta) -> Rows:
    """Read as many rows of a study, in float32, as are looked at together."""
    rows = slice(0, min(meta.n_rows, _CHUNK))
    return make_rows(bound, _read(folder, bound, rows), meta.labels)


def check_columns(folder: StudyFolder, bound: binding.Model, meta: store.StoreMeta) -> None:
    """Refuse a column such as `y + 1e8`: float32 loses what the model is about, without any error.

    Raises
    ------
    StudyError
        Names the file and the column.
    """
    for column in bound.columns:
        if meta.labels[column] is None:
            _check_column(folder, meta, column)


def _check_column(folder: StudyFolder, meta: store.StoreMeta, column: str) -> None:
    # Moments block by block: a mean, and sums of squares about it (Chan, Golub and LeVeque, 1983).
    count, mean, squares, lost_squares = 0, 0.0, 0.0, 0.0
    for rows in blocks(meta.n_rows):
        part = [Slice("arrival", rows.start, rows.stop)]
        values = store.read_rows(folder.data, part, [column])[column].astype("float64")
        with np.errstate(over="ignore"):
            rounded = values.astype("float32")
        if np.isinf(rounded).any():
            at = int(np.flatnonzero(np.isinf(rounded))[0])
            raise StudyError(
                f"{meta.file}: column {column}, row {_file_row(folder, rows.start + at)} holds {values[at]:g}, too"
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
            f"{meta.file}: column {column} loses its precision in float32: rounding moves its values by"
            f" {lost:.2g}, their standard deviation is {spread:.2g}: subtract {mean:.6g}, or use"
            " sampler.precision float64"
        )


def check_rows(
    folder: StudyFolder,
    bound: binding.Model,
    meta: store.StoreMeta,
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
    latent = [site.name for site in found if site.kind == "latent"]
    keys = jax.random.split(jax.random.PRNGKey(seed), _STARTS)
    size = min(_CHUNK, meta.n_rows)
    at_rows = jax.jit(lambda values, arrays: _rows_at(function, observed.name, values, arrays))
    drawn: dict[str, jax.Array] | None = None
    for start in range(0, meta.n_rows, size):
        # The last chunk overlaps the one before, so that all have one shape.
        rows = slice(max(0, min(start, meta.n_rows - size)), meta.n_rows)
        rows = slice(rows.start, rows.start + size)
        values = _read(folder, bound, rows)
        single = make_rows(bound, values, meta.labels).arrays
        arrays = {name: jnp.asarray(array) for name, array in single.items()}
        if drawn is None:
            with time_limit.limited(Path(bound.file)):
                drawn = density.prior_draws(function, latent, arrays, keys)
        exact = make_rows(bound, values, meta.labels, precision="float64").arrays
        with time_limit.limited(Path(bound.file)):
            in_double = _in_float64(at_rows, drawn, exact)
            fine, log_likelihood = at_rows(drawn, arrays)
            in_single = np.asarray(fine), np.asarray(log_likelihood)
        used = in_single if precision == "float32" else in_double
        _refuse(*used, folder, bound, meta, rows.start, observed)
        if precision == "float32":
            _compare_precisions(in_single[1], in_double[1], folder, meta, rows.start, observed)


def _rows_at(
    function: Callable[..., Any], site: str, values: Mapping[str, Any], arrays: Mapping[str, Any]
) -> tuple[jax.Array, jax.Array]:
    """Whether each row is in the support, and its log likelihood, at each of some latent values: `(start, rows)`."""

    def at(one: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        trace = sites.traced(handlers.substitute(function, data=one), arrays, jax.random.key(0))[
            site
        ]
        # Support and density are asked apart: a distribution gives numbers outside its support, too.
        supported = trace["fn"].support(trace["value"])
        log_prob = trace["fn"].log_prob(trace["value"])
        n_rows = log_prob.shape[0]
        return supported.reshape(n_rows, -1).all(axis=1), log_prob.reshape(n_rows, -1).sum(axis=1)

    return jax.vmap(at, axis_size=_STARTS)(dict(values))  # of a model without latent sites, too


def _in_float64(
    at_rows: Callable[..., Any], drawn: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    with jax.enable_x64(True):
        values = {name: jnp.asarray(np.asarray(value, "float64")) for name, value in drawn.items()}
        double = {name: jnp.asarray(array) for name, array in arrays.items()}
        fine, log_likelihood = at_rows(values, double)
        return np.asarray(fine), np.asarray(log_likelihood)


def _refuse(
    fine: np.ndarray,
    log_likelihood: np.ndarray,
    folder: StudyFolder,
    bound: binding.Model,
    meta: store.StoreMeta,
    start: int,
    observed: sites.Site,
) -> None:
    """Refuse the first row that no draw has in its support, or gives a log likelihood; both `(start, rows)`."""
    outside, undefined = ~fine.any(axis=0), np.isnan(log_likelihood).all(axis=0)
    if not (outside | undefined).any():
        return
    first = int(np.flatnonzero(outside | undefined)[0])
    at = start + first
    columns = bound.arguments[bound.outcome].columns
    values = store.read_rows(
        folder.data, [Slice("arrival", at, at + 1)], [*columns, store.FILE_ROW]
    )
    row = f"{meta.file}: row {values[store.FILE_ROW][0]}"
    if not outside[first]:
        raise StudyError(
            f"{row}: the log likelihood of the site {observed.name} is NaN, whatever is drawn from the prior"
            f" ({bound.file})"
        )
    value = ", ".join(f"{values[column][0]:g}" for column in columns)
    raise StudyError(
        f"{row} has {bound.outcome} = {value}, which is outside the support of the observed site {observed.name}"
        f" ({bound.file})"
    )


def _compare_precisions(
    single: np.ndarray,
    double: np.ndarray,
    folder: StudyFolder,
    meta: store.StoreMeta,
    start: int,
    observed: sites.Site,
) -> None:
    with np.errstate(invalid="ignore"):
        off = np.abs(single - double) > _ROW_TOLERANCE * np.maximum(1, np.abs(double))
    lost = (off | (np.isfinite(double) & ~np.isfinite(single))).all(axis=0)
    if lost.any():
        at = int(np.flatnonzero(lost)[0])
        row = _file_row(folder, start + at)
        raise StudyError(
            f"{meta.file}: row {row}: float32 loses the log likelihood of the site {observed.name}:"
            f" {single[0, at]:.6g} where float64 gives {double[0, at]:.6g}: rewrite the model in logs, or use"
            " sampler.precision float64"
        )


def _file_row(folder: StudyFolder, at: int) -> int:
    """Row of the file that an observation stands in."""
    found = store.read_rows(folder.data, [Slice("arrival", at, at + 1)], [store.FILE_ROW])
    return int(found[store.FILE_ROW][0])


def _read(folder: StudyFolder, bound: binding.Model, rows: slice) -> dict[str, np.ndarray]:
    part = Slice("arrival", rows.start, rows.stop)
    return store.read_rows(folder.data, [part], bound.columns)
