"""What would make a fit fail or lie, found before it starts: names the site, the column and the row."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from scalecheck import density, model, pathfinder, sites, start_function, store
from scalecheck.columns import Rows, make_rows
from scalecheck.errors import StudyError
from scalecheck.names import closest
from scalecheck.plan import Slice
from scalecheck.records import StudyFolder
from scalecheck.study import ModelSettings, SamplerSettings

NDArray = np.ndarray

# Rounding to float32 may add this share of a column's standard deviation, root mean square.
_COARSEST = 1e-3
# A row's log likelihood in float32 may be off by this share of its size (at least of 1).
_ROW_TOLERANCE = 1e-2
_CHUNK = 65_536
_STARTS = 4


def check_study(
    folder: StudyFolder, outcome: str, settings: ModelSettings, sampler: SamplerSettings, seed: int
) -> dict[str, Any]:
    """Check a model against all rows of its data.

    Every row: is the outcome in the support of the observed site, and does float32 give its log
    likelihood as float64 does? Asked at several draws from the prior, and answered with no only
    where it is no at every one of them.

    Returns
    -------
    dict
        The sites of the model and what is compared, for the record.

    Raises
    ------
    StudyError
        One line that names the file, the site or column, and the row.
    """
    meta = store.read_meta(folder.data)
    before = jax.config.read("jax_enable_x64")
    bound = model.bind(model.load(settings), settings, outcome, meta.labels)
    if jax.config.read("jax_enable_x64") and not before and sampler.precision == "float32":
        raise StudyError(
            f"{settings.file}: turns on float64 (enable_x64), but sampler.precision is float32: say float64 there"
        )
    if sampler.precision == "float32":
        _check_columns(folder, bound, meta)
    first = _read(folder, bound, meta, slice(0, min(meta.n_rows, _CHUNK)))
    found = sites.describe(bound, first)
    observed = sites.observed_site(bound, found)
    compared = sites.compared_sites(bound, found, settings.compare)
    if isinstance(sampler.metric, list):
        names = [site.name for site in found if site.kind == "latent"]
        check_metric(sampler.metric, names, settings.file)
    _check_kept(sampler, settings.file, found)
    _check_start(sampler.start, bound, first)
    _check_names(settings.file, found)
    if not compared and any(site.kind == "latent" for site in found):
        raise StudyError(
            f"{settings.file}: no latent site can be compared across fits: all are indexed by a group or by rows"
        )
    function = sites.function_of_arrays(bound, first.counts)
    by_row = density.has_row_likelihood(function, observed.name, first.arrays)
    if by_row:
        _check_prediction(bound, function, observed, first)
        _check_rows(folder, bound, meta, function, found, observed, sampler.precision, seed)
    mean, covariance = _prior(folder, bound, meta, found, compared, seed)
    return {
        "sites": [site._asdict() for site in found],
        "compared": [site.name for site in compared],
        "prior": {"mean": mean.tolist(), "covariance": covariance.tolist()},
        "covariates": list(bound.covariates),
        "by_row": by_row,
    }


def _check_names(file: str, found: Sequence[sites.Site]) -> None:
    for site in found:
        if "/" in site.name or site.name in ("chain", "draw"):
            raise StudyError(
                f"{file}: the site {site.name} cannot be stored under this name: rename it"
                " (numpyro.handlers.scope takes a divider)"
            )


def _check_kept(sampler: SamplerSettings, file: str, found: Sequence[sites.Site]) -> None:
    known = [site.name for site in found if site.kind in ("latent", "deterministic")]
    for name in sampler.keep or ():
        if name not in known:
            raise StudyError(
                f"sampler.keep names {name}, which is no site of {file}{closest(name, known)}"
            )


def _check_start(start: str, bound: model.Model, rows: Rows) -> None:
    if start == "pathfinder":
        pathfinder.require()
    elif start.startswith(start_function.PREFIX):
        start_function.check(bound, start, rows)


def _read(
    folder: StudyFolder,
    bound: model.Model,
    meta: store.Meta,
    rows: slice,
    precision: str = "float32",
) -> Rows:
    part = Slice("arrival", rows.start, min(rows.stop, meta.n_rows))
    values = store.read_rows(folder.data, [part], bound.columns)
    return make_rows(bound, values, meta.labels, precision=precision)


def _check_prediction(
    bound: model.Model, function: Callable[..., Any], observed: sites.Site, rows: Rows
) -> None:
    """The outcome arrives as None when the model is to predict: it must then draw one value per row."""
    arrays = {**rows.arrays, bound.outcome: None}
    try:
        drawn = jax.eval_shape(
            lambda: sites.traced(function, arrays, jax.random.key(0))[observed.name]["value"]
        )
    except Exception as error:
        path = Path(bound.file)
        raise StudyError(
            f"{path}{model.line_of(error, path)}: the model raises {model.first_line(error)} when {bound.outcome}"
            " is None, as it is when it predicts: n_rows and the covariates tell the number of rows"
        ) from error
    if drawn.shape[:1] != (rows.n_rows,):
        raise StudyError(
            f"{bound.file}: the site {observed.name} must have one value per row when {bound.outcome} is None, as it is"
            f" when it predicts, but it has the shape {drawn.shape}: put it into a numpyro.plate of n_rows"
        )


def _prior(
    folder: StudyFolder,
    bound: model.Model,
    meta: store.Meta,
    found: Sequence[sites.Site],
    compared: Sequence[sites.Site],
    seed: int,
) -> tuple[NDArray, NDArray]:
    # Few rows, with few units: the prior of what is compared does not look at them.
    part = Slice("arrival", 0, min(meta.n_rows, 2))
    unit = (meta.unit,) if meta.unit else ()
    values = store.read_rows(folder.data, [part], tuple(dict.fromkeys([*bound.columns, *unit])))
    few = make_rows(bound, values, meta.labels, unit=meta.unit)
    function = sites.function_of_arrays(bound, few.counts)
    vector = density.vector_of(function, compared, few.arrays)
    latent = [site.name for site in found if site.kind == "latent"]
    return density.prior_moments(function, latent, vector, few.arrays, seed)


def _check_columns(folder: StudyFolder, bound: model.Model, meta: store.Meta) -> None:
    """A column such as `y + 1e8` loses in float32 what the model is about, without any error."""
    whole = [Slice("arrival", 0, meta.n_rows)]
    for column in bound.columns:
        if meta.labels[column] is not None:
            continue
        values = store.read_rows(folder.data, whole, [column])[column].astype("float64")
        with np.errstate(over="ignore"):
            rounded = values.astype("float32")
        if np.isinf(rounded).any():
            row = int(np.flatnonzero(np.isinf(rounded))[0])
            raise StudyError(
                f"{meta.file}: column {column} holds {values[row]:g}, too large for sampler.precision float32:"
                " rescale it, or use float64"
            )
        lost, spread = np.sqrt(np.mean((rounded - values) ** 2)), values.std()
        if lost > _COARSEST * spread > 0:
            raise StudyError(
                f"{meta.file}: column {column} loses its precision in float32: rounding moves its values by"
                f" {lost:.2g}, their standard deviation is {spread:.2g}: subtract {values.mean():.6g}, or use"
                " sampler.precision float64"
            )


def _check_rows(
    folder: StudyFolder,
    bound: model.Model,
    meta: store.Meta,
    function: Callable[..., Any],
    found: Sequence[sites.Site],
    observed: sites.Site,
    precision: str,
    seed: int,
) -> None:
    latent = [site.name for site in found if site.kind == "latent"]
    keys = jax.random.split(jax.random.PRNGKey(seed), _STARTS)
    size = min(_CHUNK, meta.n_rows)
    at_rows = jax.jit(lambda values, arrays: _rows_at(function, observed.name, values, arrays))
    drawn: dict[str, jax.Array] | None = None
    for start in range(0, meta.n_rows, size):
        # The last chunk overlaps the one before, so that all have one shape.
        rows = slice(max(0, min(start, meta.n_rows - size)), meta.n_rows)
        rows = slice(rows.start, rows.start + size)
        arrays = {
            name: jnp.asarray(v) for name, v in _read(folder, bound, meta, rows).arrays.items()
        }
        if drawn is None:
            drawn = density.prior_draws(function, latent, arrays, keys)
        exact = _read(folder, bound, meta, rows, "float64").arrays
        in_double = _in_float64(at_rows, drawn, exact)
        in_single = tuple(np.asarray(part) for part in at_rows(drawn, arrays))
        fine = in_single[0] if precision == "float32" else in_double[0]
        _refuse(~fine.any(axis=0), folder, bound, meta, rows.start, observed)
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
    at_rows: Callable[..., Any], drawn: Mapping[str, Any], arrays: Mapping[str, NDArray]
) -> tuple[NDArray, NDArray]:
    with jax.enable_x64(True):
        values = {name: jnp.asarray(np.asarray(value, "float64")) for name, value in drawn.items()}
        double = {name: jnp.asarray(array) for name, array in arrays.items()}
        fine, log_likelihood = at_rows(values, double)
        return np.asarray(fine), np.asarray(log_likelihood)


def _refuse(
    outside: NDArray,
    folder: StudyFolder,
    bound: model.Model,
    meta: store.Meta,
    start: int,
    observed: sites.Site,
) -> None:
    if not outside.any():
        return
    at = start + int(np.flatnonzero(outside)[0])
    columns = bound.arguments[bound.outcome].columns
    values = store.read_rows(
        folder.data, [Slice("arrival", at, at + 1)], [*columns, store.FILE_ROW]
    )
    value = ", ".join(f"{values[column][0]:g}" for column in columns)
    raise StudyError(
        f"{meta.file}: row {values[store.FILE_ROW][0]} has {bound.outcome} = {value}, which is outside the support"
        f" of the observed site {observed.name} ({bound.file})"
    )


def _compare_precisions(
    single: NDArray,
    double: NDArray,
    folder: StudyFolder,
    meta: store.Meta,
    start: int,
    observed: sites.Site,
) -> None:
    with np.errstate(invalid="ignore"):
        off = np.abs(single - double) > _ROW_TOLERANCE * np.maximum(1, np.abs(double))
    lost = (off | (np.isfinite(double) & ~np.isfinite(single))).all(axis=0)
    if lost.any():
        at = int(np.flatnonzero(lost)[0])
        row = store.read_rows(
            folder.data, [Slice("arrival", start + at, start + at + 1)], [store.FILE_ROW]
        )
        raise StudyError(
            f"{meta.file}: row {row[store.FILE_ROW][0]}: float32 loses the log likelihood of the site {observed.name}:"
            f" {single[0, at]:.6g} where float64 gives {double[0, at]:.6g}: rewrite the model in logs, or use"
            " sampler.precision float64"
        )


def check_metric(
    blocks: Iterable[Sequence[str]], known: Iterable[str], file: str = "the model"
) -> None:
    """Refuse a block metric that names a site the model lacks, or one twice.

    Raises
    ------
    StudyError
        Names the site.
    """
    named: set[str] = set()
    for name in (name for block in blocks for name in block):
        if name not in known:
            raise StudyError(
                f"sampler.metric names {name}, which is no latent site of {file}{closest(name, known)}"
            )
        if name in named:
            raise StudyError(f"sampler.metric must name a site once, got {name} twice")
        named.add(name)
