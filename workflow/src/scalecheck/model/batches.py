"""Fits of one shape together: their rows, padded where the model's density does not see it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, Shaped
from numpyro import handlers

from scalecheck.data import store
from scalecheck.files.layout import StudyFolder
from scalecheck.model import binding, density, roles, sites
from scalecheck.model.rows import (
    SHARED_SIZES,
    ByRow,
    RowArrays,
    Rows,
    make_rows,
    pad_rows,
    shared_size,
)
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import ModelSettings

# Rows of a fit on which is tried whether padding leaves a trace in the density, and most fits on which it is.
_FEW, _MOST_FITS = 16, 32

# What they may differ by, in units of the log likelihood of these rows: more than models that cast to float32 do.
_TOLERANCE = 1e-5


class Batch(NamedTuple):
    """Fits of one shape, ready to sample.

    Attributes
    ----------
    tasks
        As planned.
    function
        The model as a function of its arrays.
    arrays
        Model argument -> `(fit, rows, ...)`.
    own
        Each fit's arrays without the padding that only makes small fits share a program.
    values
        Each fit's columns as stored, unpadded.
    sites
        Of the model, with the shapes that the batch has.
    vector
        The compared sites as one vector.
    labels
        Labels of each categorical column.
    unit
        The column of units, if the model's codes of it are local to a fit.
    bound
        The model.
    counts
        What it takes beside its arrays.
    """

    tasks: tuple[PlannedFit, ...]
    function: Callable[..., Any]
    arrays: dict[str, Shaped[np.ndarray, "fit row ..."]]
    own: list[RowArrays]
    values: list[dict[str, ByRow]]
    sites: tuple[sites.Site, ...]
    vector: density.Vector
    labels: Mapping[str, Sequence[str] | None]
    unit: str | None
    bound: binding.Model
    counts: Mapping[str, int]

    def arrays_of(self, number: int = 0) -> RowArrays:
        """Arrays `(rows, ...)` of one fit by model argument."""
        return {name: values[number] for name, values in self.arrays.items()}


def read_batches(
    folder: StudyFolder,
    tasks: Sequence[PlannedFit],
    outcome: str,
    settings: ModelSettings,
    precision: str,
) -> list[Batch]:
    """Read each fit's own slice and bring all to one shape; several, where the model cannot be padded."""
    meta = store.read_meta(folder.data)
    bound = binding.bind(binding.load_model(settings), settings, outcome, meta.labels, meta.common)
    wanted = stored_columns(bound, meta.unit)
    values = [store.read_rows(folder.data, task.slices, wanted) for task in tasks]
    return make_batches(bound, tasks, values, meta.labels, meta.unit, settings.compare, precision)


def stored_columns(bound: binding.Model, unit: str | None) -> tuple[str, ...]:
    """Columns of the store that a batch needs."""
    return bound.columns_with(unit, store.OBSERVATION, store.FILE_ROW)


def make_batches(
    bound: binding.Model,
    tasks: Sequence[PlannedFit],
    values: Sequence[dict[str, Shaped[np.ndarray, " _"]]],
    labels: Mapping[str, Sequence[str] | None],
    unit: str | None,
    compare: Sequence[str] | None,
    precision: str,
) -> list[Batch]:
    """Bring fits to one shape; to several, where the model cannot be padded.

    Parameters
    ----------
    values
        By fit, the columns of its rows, `(rows,)` each; rows of a unit lie together.
    labels
        Labels of each categorical column, None for numbers.
    unit
        The column of units, if any.
    compare
        `model.compare`.
    precision
        float32 or float64.
    """
    arrange = functools.partial(make_rows, bound, labels=labels, precision=precision, unit=unit)
    rows = [arrange(part) for part in values]
    found = sites.describe_sites(bound, rows[0])
    can_pad = _can_pad(bound, rows, found)
    sizes = [shared_size(part.n_rows) if can_pad else part.n_rows for part in rows]
    batches: list[Batch] = []
    for size in dict.fromkeys(sizes):
        members = [i for i, other in enumerate(sizes) if other == size]
        own = [rows[i] for i in members]
        counts = _largest_counts(own) | _row_count(bound, size)
        is_known = rows[0].counts | _row_count(bound, size) == counts
        like = own[0]._replace(counts=counts)
        own_sites = found if is_known else sites.describe_sites(bound, like)
        compared = roles.compared_sites(bound, own_sites, unit, compare)
        function = sites.function_of_arrays(bound, counts)
        arrays = _stack(own, size, is_padded=can_pad and size in SHARED_SIZES)
        first = {name: part[0] for name, part in arrays.items()}
        batches.append(
            Batch(
                tuple(tasks[i] for i in members),
                function,
                arrays,
                [part.arrays for part in own],
                [values[i] for i in members],
                own_sites,
                density.vector_of(function, compared, first, labels),
                labels,
                unit if unit in bound.columns else None,
                bound,
                counts,
            )
        )
    return batches


def _function_of_rows(
    bound: binding.Model, rows: Sequence[Rows], n_rows: int
) -> Callable[..., Any]:
    """Give the model of so many rows of any of some fits: one function, since each is compiled."""
    return sites.function_of_arrays(bound, _largest_counts(rows) | _row_count(bound, n_rows))


def _tried(rows: Sequence[Rows]) -> list[tuple[RowArrays, RowArrays]]:
    """Give a few rows of each of some fits, as they follow each other and turned round."""
    chosen = rows[:: -(-len(rows) // _MOST_FITS)]
    few = [
        {name: values[_few_rows(part)] for name, values in part.arrays.items()} for part in chosen
    ]
    return [(one, {name: values[::-1] for name, values in one.items()}) for one in few]


def _few_rows(rows: Rows) -> Int[np.ndarray, " few"]:
    """Choose rows that are spread over a fit, the first and the last among them; some twice, where there are few.

    A column that is constant in these, and not in all, would tell nothing of its mean: in place of every other
    one of the inner rows come such in which columns differ.
    """
    numbers = np.linspace(0, rows.n_rows - 1, _FEW).round().astype(int)
    odd: set[int] = set()
    for values in rows.arrays.values():
        columns = values.reshape(rows.n_rows, -1)
        still = columns[:, (columns[numbers] == columns[0]).all(axis=0)]
        odd |= set((still != still[0]).argmax(axis=0).tolist())
    places = range(1, _FEW - 1, 2)
    more = sorted(odd - {0})[: len(places)]
    numbers[list(places[: len(more)])] = more
    return np.sort(numbers)


def _largest_counts(rows: Sequence[Rows]) -> dict[str, int]:
    return {name: max(part.counts[name] for part in rows) for name in rows[0].counts}


def _row_count(bound: binding.Model, n_rows: int) -> dict[str, int]:
    return {"n_rows": n_rows} if bound.n_rows else {}


def _stack(
    rows: Sequence[Rows], size: int, *, is_padded: bool
) -> dict[str, Shaped[np.ndarray, "fit row ..."]]:
    """Arrays of all fits as they are sampled."""
    each = [pad_rows(part, size) if is_padded else part.arrays for part in rows]
    return {name: np.stack([part[name] for part in each]) for name in each[0]}


def _can_pad(bound: binding.Model, rows: Sequence[Rows], found: Sequence[sites.Site]) -> bool:
    """Whether rows that are masked leave no trace in the model's density: in no fit, whichever row is repeated."""
    observed = sites.observed_site(bound, found).name
    if any(site.kind == "factor" for site in found):
        return False  # a factor may be a sum over rows, and is not masked
    if any(site.kind == "latent" and sites.ROWS in site.indexed_by for site in found):
        return False
    function = sites.function_of_arrays(bound, rows[0].counts)
    if not density.has_row_likelihood(function, observed, rows[0].arrays):
        return False
    n_padded = 2 * _FEW
    functions = [_function_of_rows(bound, rows, n) for n in (_FEW, n_padded)]
    latent = [site.name for site in found if site.kind == "latent"]
    return all(
        _same_density(functions, latent, arrays, pad_rows(Rows(arrays, {}), n_padded))
        for both in _tried(rows)
        for arrays in both
    )


def _same_density(
    functions: Sequence[Callable[..., Any]],
    latent: Sequence[str],
    own: RowArrays,
    padded: dict[str, Shaped[np.ndarray, "padded ..."]],
) -> bool:
    """Whether a model gives the same density to rows and to the same rows padded: not where it takes their mean.

    Of `functions` the first is the model of its own rows, the second that of the padded ones. The difference is held
    against the log likelihood of the rows, in float64: the prior of thousands of units would hide it.
    """
    energies = _energies(*functions, tuple(latent))
    with jax.enable_x64(True):
        one, other, without_rows = map(
            np.asarray, energies(density.in_double(own), density.in_double(padded))
        )
    with np.errstate(invalid="ignore"):  # infinite where a row is impossible: near to nothing
        is_near = np.isfinite(one) & (abs(one - other) <= _TOLERANCE * abs(one - without_rows))
    return bool((np.isclose(one, other, rtol=1e-9, equal_nan=True) | is_near).all())


@functools.lru_cache(maxsize=16)
def _energies(
    function: Callable[..., Any], of_padded: Callable[..., Any], latent: tuple[str, ...]
) -> Callable[..., Any]:
    """Compile the energies of rows, of the same rows padded, and of the prior, at a few draws from the prior."""
    prior = handlers.block(function, hide_fn=lambda site: site.get("is_observed", False))

    @jax.jit
    def energies(own: dict[str, jax.Array], padded: dict[str, jax.Array]) -> tuple[Any, ...]:
        keys = jax.random.split(jax.random.PRNGKey(0), 4)
        drawn = density.prior_draws(function, latent, own, keys)
        each = functools.partial(jax.vmap, axis_size=len(keys))  # of no latent sites, too
        z = each(lambda values: density.unconstrain(function, values, own))(drawn)
        looked_at = (function, own), (of_padded, padded), (prior, own)
        return tuple(each(density.potential(one)(**arrays))(z) for one, arrays in looked_at)

    return energies
