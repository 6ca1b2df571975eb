"""What is asked of every row before any fit: that float32 holds it, and that the model gives it a density."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool
from numpyro import handlers
from numpyro.distributions import constraints

from scalecheck.data import disk_columns, store
from scalecheck.errors import StudyError
from scalecheck.files.layout import StudyFolder
from scalecheck.model import binding, density, masks, outcome, sites, support
from scalecheck.model.rows import Rows, make_rows
from scalecheck.runtime import time_limit
from scalecheck.study.plan import Slice

# Rounding to float32 may add this share of a column's standard deviation, root mean square.
_COARSEST = 1e-3
# A row's log likelihood in float32 may be off by this share of its size (at least of 1).
_ROW_TOLERANCE = 1e-2
_CHUNK = 65_536
# Draws from the prior at which all rows are asked, and how often rows that fail are asked at as many more.
_STARTS, _MORE = 4, 64
# Share of the rows beyond which no single row is to blame.
_MOST = 0.5
# Covariates of a refused row that are named.
_SHOWN = 5


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

    def chunks(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Read the model's columns of all rows, some at a time: the first row and `(rows,)` by column."""
        size = min(_CHUNK, self.meta.n_rows)
        for begin in range(0, self.meta.n_rows, size):
            # The last chunk overlaps the one before, so that all have one shape.
            start = min(begin, self.meta.n_rows - size)
            yield start, self.read(start, start + size, self.bound.columns)

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


def check_latent_masks(
    stored: StoredRows, function: Callable[..., Any], found: Sequence[sites.Site]
) -> None:
    """Refuse a latent site that is masked at any row: it has no density there, so that its chains wander off.

    Parameters
    ----------
    function
        The bound model as a function of its arrays.
    found
        Its sites.

    Raises
    ------
    StudyError
        Names the file and the site.
    """
    latent = [site.name for site in found if site.kind == "latent"]

    def without_density(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
        trace = sites.traced(function, arrays, jax.random.key(0))
        of_sites = {name: masks.entry_mask(trace[name]["fn"]) for name in latent}
        return {name: ~mask.all() for name, mask in of_sites.items() if mask is not None}

    if not jax.eval_shape(without_density, dict(stored.first().arrays)):
        return
    file, program = stored.bound.file, jax.jit(without_density)
    for _, values in stored.chunks():
        answers = program(make_rows(stored.bound, values, stored.meta.labels).arrays)
        for name in (name for name, answer in answers.items() if answer):
            sites.refuse_obs_mask(file, name, [site.name for site in found])
            raise StudyError(
                f"{file}: the latent site {name} is masked, so that it has no density: mask the distribution of the"
                " observed site alone, as in dist.Normal(mean, sd).mask(seen)"
            )


class _Answers(NamedTuple):
    """What a model says of rows at some latent values: `(start, rows)` each.

    Attributes
    ----------
    supported
        Whether the outcome is in the support, or masked.
    log_likelihood
        Of the row; 0 where it is masked.
    counts
        Whether the row has a log likelihood: not where it is masked.
    """

    supported: Any
    log_likelihood: Any
    counts: Any


def check_rows(
    stored: StoredRows,
    function: Callable[..., Any],
    found: Sequence[sites.Site],
    observed: sites.Site,
    precision: str,
    seed: int,
) -> None:
    """Check each row at several draws from the prior.

    Is its outcome in the support, is its log likelihood finite, and does float32 give it as float64
    does? A row is refused where the answer is no at every one of the draws. Rows that the model masks
    are not asked.

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
    at_rows = jax.jit(lambda values, arrays: _rows_at(function, observed.name, values, arrays))

    @jax.jit
    def draw(seed: Any, arrays: dict[str, jax.Array]) -> density.Sites:
        keys = jax.random.split(jax.random.PRNGKey(seed), _STARTS)
        return density.prior_draws(function, latent, arrays, keys)

    with time_limit.limited(Path(bound.file)):
        drawn = draw(np.uint32(seed), stored.first().arrays)
    exact = density.in_double({name: np.asarray(values) for name, values in drawn.items()})
    any_counts = False
    for start, values in stored.chunks():
        double = make_rows(bound, values, meta.labels, precision="float64").arrays
        with time_limit.limited(Path(bound.file)), jax.enable_x64(True):
            in_double = _Answers(*map(np.asarray, at_rows(exact, double)))
            refused = ~_good(in_double)
            if refused.any() and latent:
                refused &= ~_good_elsewhere(at_rows, function, latent, double, seed)
        if refused.any():
            _refuse(refused, in_double, stored, function, observed, exact, start)
        any_counts |= bool(in_double.counts.any())
        if precision == "float32":
            single = make_rows(bound, values, meta.labels).arrays
            with time_limit.limited(Path(bound.file)):
                in_single = _Answers(*map(np.asarray, at_rows(drawn, single)))
            _compare_precisions(
                in_single.log_likelihood, in_double.log_likelihood, stored, start, observed
            )
    if not any_counts:
        raise StudyError(
            f"{bound.file}: the mask of the site {observed.name} leaves out every row of {meta.file}: a mask is True"
            " where the outcome was observed"
        )


def _rows_at(
    function: Callable[..., Any], site: str, values: Mapping[str, Any], arrays: Mapping[str, Any]
) -> _Answers:
    def at(one: dict[str, jax.Array]) -> _Answers:
        substituted = handlers.substitute(function, data=one)
        observed = sites.traced(substituted, arrays, jax.random.key(0))[site]
        fn, log_prob = observed["fn"], observed["fn"].log_prob(observed["value"])
        n_rows = log_prob.shape[0]
        # Support and density are asked apart: a distribution gives numbers outside its support, too.
        supported = _entries_in_support(observed)
        mask, by_row = masks.entry_mask(fn), outcome.row_mask_of(fn, n_rows)
        if mask is not None:
            supported = supported | ~mask
        return _Answers(
            supported.reshape(n_rows, -1).all(axis=1),
            log_prob.reshape(n_rows, -1).sum(axis=1),
            jnp.ones(n_rows, bool) if by_row is None else by_row,
        )

    return jax.vmap(at, axis_size=_STARTS)(dict(values))  # of a model without latent sites, too


def _entries_in_support(observed: Mapping[str, Any]) -> jax.Array:
    """Whether each entry of an observed site is in the support, as it was before it was cast to integers."""
    value = observed.get("uncast", observed["value"])
    entries = support.of_entries(observed["fn"].support)
    found = entries(value)
    # NumPyro's support of counts that have a sum does not ask whether they are whole.
    if isinstance(entries, type(constraints.multinomial(1))):
        found = found & (value == jnp.round(value)).all(axis=-1)
    return found


def _good(answers: _Answers) -> Bool[np.ndarray, " row"]:
    """Whether some draw has the row in its support, and some gives it a finite log likelihood: `(rows,)`."""
    return answers.supported.any(axis=0) & np.isfinite(answers.log_likelihood).any(axis=0)


def _good_elsewhere(
    at_rows: Callable[..., _Answers],
    function: Callable[..., Any],
    latent: Sequence[str],
    arrays: Mapping[str, Any],
    seed: int,
) -> Bool[np.ndarray, " row"]:
    """Ask rows at more draws from the prior, half of them ever nearer to 0 on the unconstrained scale: `(rows,)`.

    Under a wild prior the log likelihood overflows at nearly every draw, and yet the posterior may be sound. A bound
    that is a parameter may lie above an outcome at few draws.
    """

    @jax.jit
    def draw(key: jax.Array, scale: Any, arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
        drawn = density.prior_draws(function, latent, arrays, jax.random.split(key, _STARTS))

        def nearer(values: dict[str, jax.Array]) -> dict[str, jax.Array]:
            z = density.unconstrain(function, values, arrays)
            return density.constrain(function, {n: scale * x for n, x in z.items()}, arrays)

        return jax.vmap(nearer)(drawn)

    keys = jax.random.split(jax.random.fold_in(jax.random.PRNGKey(seed), 1), _MORE)
    found: Any = False
    for step, key in enumerate(keys):
        scale = 0.5 ** (step // 2) if step % 2 else 1.0
        values = draw(key, scale, dict(arrays))
        found = found | _good(_Answers(*map(np.asarray, at_rows(values, arrays))))
    return found


def _refuse(
    refused: Bool[np.ndarray, " row"],
    answers: _Answers,
    stored: StoredRows,
    function: Callable[..., Any],
    observed: sites.Site,
    values: Mapping[str, Any],
    start: int,
) -> None:
    """Refuse the first of some rows that lie outside of the support, or have no finite log likelihood."""
    bound, meta = stored.bound, stored.meta
    first = int(np.flatnonzero(refused)[0])
    chunk = stored.read(start, start + len(refused), bound.columns)
    arrays = make_rows(bound, chunk, meta.labels, precision="float64").arrays
    with time_limit.limited(Path(bound.file)), jax.enable_x64(True):
        row = _describe_row(function, observed.name, values, arrays, first)
    own = {column: f"{column} = {chunk[column][first]:g}" for column in bound.columns}
    numbers = [column for column in bound.covariates if meta.labels[column] is None]
    zeros = [column for column in numbers if chunk[column][first] == 0]
    outcome_values = [
        f"{chunk[column][first]:g}" for column in bound.arguments[bound.outcome].columns
    ]
    given = f"{bound.outcome} = {', '.join(outcome_values)}"
    where = f"{meta.file}: row {stored.file_row(start + first)} has"
    site = f"of the observed site {observed.name}"
    others = _others(int(refused.sum()) - 1, len(refused), meta.n_rows)
    if not answers.supported[:, first].any():
        takes = f": it takes {row.support}" if row.support else ""
        raise StudyError(
            f"{where} {given}, which is outside the support {site} ({bound.file}){takes}{others}"
        )
    kind = _kind(answers.log_likelihood[:, first])
    if refused.mean() > _MOST and numbers:
        raise StudyError(
            f"{bound.file}: the log likelihood {site} is {kind} in {int(refused.sum())} of {len(refused)} rows of"
            f" {meta.file}, whatever is drawn from the prior: centre and scale what the model takes:"
            f" {_scales(chunk, numbers)}"
        )
    whatever, mend = "whatever is drawn from the prior", "mend the model there"
    if not row.can_be_drawn and numbers:
        shown = [own[column] for column in (zeros or numbers)[:_SHOWN]]
        whatever = f"whatever the outcome and {whatever}"
    else:
        shown = [given, *(own[column] for column in zeros[:_SHOWN])]
        if not zeros:
            mend = f"take a distribution that allows the value{row.end}"
    raise StudyError(
        f"{where} {' and '.join(shown)}, where the log likelihood {site} is {kind}, {whatever} ({bound.file}):"
        f" leave such rows out, or {mend}{others}"
    )


def _scales(values: Mapping[str, np.ndarray], columns: Sequence[str]) -> str:
    """Give mean and standard deviation of the columns that are largest."""
    size = {name: np.hypot(values[name].mean(), values[name].std()) for name in columns}
    largest = sorted(columns, key=lambda name: -size[name])[:_SHOWN]
    told = [f"{n} has mean {values[n].mean():.3g} and sd {values[n].std():.3g}" for n in largest]
    return ", ".join(told)


def _others(n: int, n_asked: int, n_rows: int) -> str:
    """Say how many more rows are refused among those that were asked, which are all of a small table."""
    if n == 0:
        return ""
    among = "" if n_asked == n_rows else f" of the {n_asked} that were looked at"
    return f" (and {n} more row{'s' if n > 1 else ''}{among})"


def _kind(log_likelihood: np.ndarray) -> str:
    if np.isnan(log_likelihood).all():
        return "NaN"
    return "not finite" if np.isnan(log_likelihood).any() else "infinite"


class _Row(NamedTuple):
    """What is said of a row that is refused.

    Attributes
    ----------
    can_be_drawn
        Whether an outcome that the model draws there has a finite log likelihood: its own is to blame then.
    support
        Words, empty where none are known.
    end
        Words on an outcome that is an end of the support, empty where it is none.
    """

    can_be_drawn: bool
    support: str
    end: str


def _describe_row(
    function: Callable[..., Any],
    site: str,
    values: Mapping[str, Any],
    arrays: Mapping[str, Any],
    row: int,
) -> _Row:
    entries: list[Any] = []

    @jax.jit
    def look(values: Any, arrays: Any) -> tuple[jax.Array, ...]:
        def at(one: dict[str, jax.Array]) -> tuple[jax.Array, ...]:
            substituted = handlers.substitute(function, data=one)
            observed = sites.traced(substituted, arrays, jax.random.key(0))[site]
            fn, value = observed["fn"], observed["value"]
            entries.append(support.of_entries(fn.support))
            drawn = fn.log_prob(sites.of_whole_trials(fn).sample(jax.random.key(0)))
            ends = (jnp.broadcast_to(x, value.shape)[row] for x in support.ends(entries[-1]))
            return jnp.broadcast_to(drawn, fn.log_prob(value).shape)[row], value[row], *ends

        return jax.vmap(at, axis_size=_STARTS)(values)

    drawn, value, lower, upper = map(np.asarray, look(dict(values), dict(arrays)))
    can_be_drawn = np.isfinite(drawn.reshape(_STARTS, -1)).all(axis=1).any()
    if not all((x == x.flat[0]).all() for x in (lower, upper)):
        return _Row(bool(can_be_drawn), "", "")  # the support depends on parameters
    words = support.in_words(entries[-1], float(lower.flat[0]), float(upper.flat[0]))
    is_end = np.isin(value, [lower.flat[0], upper.flat[0]]).any()
    return _Row(bool(can_be_drawn), words, f", an end of the support ({words})" if is_end else "")


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
