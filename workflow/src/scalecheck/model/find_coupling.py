"""Whether rows depend on each other: on statistics of all rows, on their order, or on nothing.

Asked of the density itself, in float64, on some real rows at draws from the prior: what becomes of the log
likelihood of a row when the others are put in another order, or left out?
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpyro import handlers
from numpyro.infer.util import log_density

from scalecheck.model import density, sites
from scalecheck.model.binding import Model
from scalecheck.model.coupling import Coupling
from scalecheck.model.rows import ByRow, Rows, local_codes, make_rows
from scalecheck.model.sites import ROWS, Site

# Rows that are asked; more where the first of them have no likelihood, as before a long lag.
_ROWS, _MORE_ROWS = 64, 1024
# With fewer rows nothing is known.
_FEWEST = 4
# Rows of a unit, and levels of a column of labels, in a sample.
_OF_UNIT, _LEVELS = 8, 4
# Samples of rows, and draws from the prior.
_SAMPLES, _DRAWS = 4, 8
# What a log likelihood may differ by, relative to its size (at least 1), and a sum of them.
_OF_ROW, _OF_ALL = 1e-6, 1e-3
# Where rows are ordered, others change those at an edge; a statistic changes more than this share of them.
_MANY = 0.5

Values = Mapping[str, ByRow]
Labels = Mapping[str, Sequence[str] | None]
Latent = dict[str, np.ndarray]
Numbers = Int[np.ndarray, " _"]
ByDraw = Float[np.ndarray, "draw _"]


def find_coupling(
    model: Model,
    values: Values,
    labels: Labels,
    unit: str | None,
    found: Sequence[Site],
    compared: Sequence[Site],
    seed: int,
) -> Coupling:
    """Find how the rows of a model depend on each other.

    Parameters
    ----------
    values
        Columns `(rows,)` of rows in the order of arrival, units whole, of which samples are asked; others than the
        model's and the unit's are not looked at.
    labels
        Labels of each categorical column, None for numbers.
    unit
        `data.unit`, which stays whole.
    found
        Sites of the model.
    compared
        Those that are compared across fits. The others may be in coordinates that follow the rows, so that a statistic
        is looked for where they are zero.
    seed
        Of what is drawn.
    """
    rng = np.random.default_rng([seed, 4])
    values = {name: values[name] for name in model.columns_with(unit)}
    probe = _Probe(model, values, labels, unit, found, compared)
    with jax.enable_x64(True):
        for n_rows in (_ROWS, _MORE_ROWS):
            samples = _samples(values, labels, unit, n_rows, rng)
            if not samples:
                return Coupling()
            asked = [probe.ask(sample, rng) for sample in samples]
            if asked[0].n_entries in (1, asked[0].n_rows) or asked[0].n_entries > n_rows / 2:
                break
        return _conclude(probe, asked, rng)


# ---- which rows are asked


class _Sample(NamedTuple):
    """Numbers `(rows,)` of some rows in the order of arrival, and how many of each unit: an even number of units."""

    rows: Numbers
    of_unit: int

    @property
    def half(self) -> int:
        """Rows of half of the units."""
        return len(self.rows) // 2


def _samples(
    values: Values, labels: Labels, unit: str | None, n_rows: int, rng: np.random.Generator
) -> list[_Sample]:
    if unit is not None:
        found = [_some_units(values[unit], n_rows, rng) for _ in range(_SAMPLES)]
        if units := [one for one in found if one is not None]:
            return units
    # Of few levels of a column, too: a mean by level is that of a row alone, where each row has a level of its own.
    groups = [name for name in values if labels.get(name) is not None and name != unit]
    pools = [_of_common_levels(values[name], n_rows) for name in groups]
    pools = [np.arange(len(next(iter(values.values())))), *pools]
    found = [
        _some_rows(values, pools[number % len(pools)], n_rows, rng)
        for number in range(max(_SAMPLES, len(pools)))
    ]
    # Of one size, so that one program serves them all.
    most = max(map(len, found))
    return [_Sample(rows, 1) for rows in found if len(rows) == most >= _FEWEST]


def _of_common_levels(codes: ByRow, n_rows: int) -> Numbers:
    """Rows of the commonest levels: as many levels as it takes to have so many rows."""
    sizes = pd.Series(codes).value_counts()
    n_levels = max(_LEVELS, int(np.searchsorted(sizes.cumsum(), n_rows)) + 1)
    return np.flatnonzero(np.isin(codes, sizes.index[:n_levels]))


def _some_rows(values: Values, pool: Numbers, n_rows: int, rng: np.random.Generator) -> Numbers:
    """Choose rows of a pool, different ones first: equal rows show neither their order nor their mean."""
    n_rows = min(n_rows, len(pool)) // 2 * 2
    equal = pd.DataFrame({name: column[pool] for name, column in values.items()}).duplicated()
    order = rng.permutation(len(pool))
    order = order[np.argsort(equal.to_numpy()[order], kind="stable")]
    return np.sort(pool[order[:n_rows]])


def _some_units(codes: ByRow, n_rows: int, rng: np.random.Generator) -> _Sample | None:
    """Choose units, as many rows of each: parts of one shape are compiled once."""
    local, _ = local_codes(codes)
    sizes = np.bincount(local)
    of_unit = int(np.clip(np.median(sizes), 1, _OF_UNIT))
    whole = np.flatnonzero(sizes >= of_unit)
    n_units = min(len(whole), n_rows // of_unit) // 2 * 2
    if n_units < 2 or n_units * of_unit < _FEWEST:
        return None
    chosen = np.sort(rng.choice(whole, n_units, replace=False))
    rows = [np.flatnonzero(local == one)[:of_unit] for one in chosen]
    return _Sample(np.concatenate(rows), of_unit)


def _half_of_units(sample: _Sample, rng: np.random.Generator) -> Numbers:
    """Choose half of the units at random: numbers `(rows,)` within the sample, in its order."""
    units = np.arange(len(sample.rows)) // sample.of_unit
    n_units = len(sample.rows) // sample.of_unit
    return np.flatnonzero(np.isin(units, rng.permutation(n_units)[: n_units // 2]))


def _shuffled(sample: _Sample, rng: np.random.Generator) -> Numbers:
    """Shuffle units, and the rows within each, as random subsets do: numbers `(rows,)` within the sample."""
    n_units = len(sample.rows) // sample.of_unit
    units = np.repeat(rng.permutation(n_units), sample.of_unit)
    return np.lexsort((rng.random(len(units)), units))


# ---- what the model says of them


class _Answer(NamedTuple):
    """What a model says of a sample of rows.

    Attributes
    ----------
    sample, arranged
        The rows, and how the model takes them.
    latent, zero
        Draws of the latent sites, `(draw, ...)` each; the same with all at zero that is not compared.
    by_row, by_row_at_zero
        Log likelihood of each row at these.
    total
        `(draw,)` whole log density.
    """

    sample: _Sample
    arranged: Rows
    latent: Latent
    zero: Latent
    by_row: ByDraw
    by_row_at_zero: ByDraw
    total: Float[np.ndarray, " draw"]

    @property
    def n_rows(self) -> int:
        """Rows that were asked."""
        return len(self.sample.rows)

    @property
    def n_entries(self) -> int:
        """Log likelihoods that it gave: one for each row, or fewer where the first rows have none."""
        return self.by_row.shape[1]


class _Probe:
    """A model, asked on parts of its data; what is compiled is compiled once per shape."""

    def __init__(
        self,
        model: Model,
        values: Values,
        labels: Labels,
        unit: str | None,
        found: Sequence[Site],
        compared: Sequence[Site],
    ) -> None:
        self.model, self.values, self.labels, self.unit = model, values, labels, unit
        self.observed = sites.observed_site(model, found).name
        latent = [site for site in found if site.kind == "latent"]
        names = [site.name for site in compared]
        self.latent = [site.name for site in latent]
        self.hidden = [site for site in latent if site.name not in names]
        label = sites.row_dim(model)
        self.by_row = {site.name: _place(site, ROWS, label) for site in self.hidden}
        self.by_unit = {site.name: _place(site, unit, unit) for site in self.hidden}
        self._programs: dict[Any, Any] = {}

    @property
    def of_rows(self) -> list[Site]:
        """Latent sites that rows index."""
        return [site for site in self.hidden if ROWS in site.indexed_by]

    @property
    def plated(self) -> list[str]:
        """Those of them whose entries are independent of each other."""
        return [site.name for site in self.of_rows if ROWS in dict(site.plates)]

    @property
    def can_part(self) -> bool:
        """Whether what is latent in some rows can be told from what is latent in the others."""
        return not any(
            column in site.indexed_by and places[site.name] is None
            for column, places in ((ROWS, self.by_row), (self.unit, self.by_unit))
            for site in self.hidden
        )

    def arrange(self, rows: Numbers) -> Rows:
        """Arrange rows of the table as the model takes them."""
        some = {name: column[rows] for name, column in self.values.items()}
        return make_rows(self.model, some, self.labels, precision="float64", unit=self.unit)

    def ask(self, sample: _Sample, rng: np.random.Generator) -> _Answer:
        """Ask of all rows of a sample, at draws from the prior."""
        rows = self.arrange(sample.rows)
        draw = self._program("draw", rows, self._draw)
        seed = int(rng.integers(2**31))
        latent, zero = jax.tree.map(np.asarray, draw(seed, rows.arrays))
        by_row, total = self.evaluate(rows, latent)
        return _Answer(sample, rows, latent, zero, by_row, self.evaluate(rows, zero)[0], total)

    def evaluate(self, rows: Rows, latent: Latent) -> tuple[ByDraw, Float[np.ndarray, " draw"]]:
        """Log likelihood of each row, and the whole log density `(draw,)`."""
        by_row, total = self._program("density", rows, self._density)(latent, rows.arrays)
        return np.asarray(by_row), np.asarray(total)

    def products(self, rows: Rows, zero: Latent) -> Float[np.ndarray, "draw entry entry"]:
        """Inner products of the derivatives of log likelihoods by what each row has of its own, where that is zero.

        Whichever root of a covariance a Gaussian process is written with, they are the same.
        """
        return np.asarray(self._program("products", rows, self._products)(zero, rows.arrays))

    def part_of(self, latent: Latent, sample: _Sample, chosen: Numbers) -> Latent:
        """Give the values `(draw, ...)` that belong to some rows of a sample, in their order, and to their units."""
        units = None
        if self.unit is not None:
            codes, _ = local_codes(self.values[self.unit][sample.rows])
            units = local_codes(codes[chosen])[1]
        return _taken(_taken(latent, self.by_row, chosen), self.by_unit, units)

    def _program(self, name: str, rows: Rows, build: Callable[..., Any]) -> Any:
        key = (name, *sorted(rows.counts.items()))
        if key not in self._programs:
            self._programs[key] = build(sites.function_of_arrays(self.model, rows.counts))
        return self._programs[key]

    def _draw(self, function: density.Function) -> Any:
        hidden = {site.name for site in self.hidden}

        def one(key: PRNGKeyArray, arrays: dict[str, jax.Array]) -> tuple[Any, Any]:
            trace = sites.traced(function, arrays, key)
            values = {name: trace[name]["value"] for name in self.latent}
            z = density.unconstrain(function, values, arrays)
            z = {name: jnp.zeros_like(v) if name in hidden else v for name, v in z.items()}
            zero = density.constrain(function, z, arrays)
            return values, {name: zero[name] for name in self.latent}

        def draw(seed: Any, arrays: dict[str, jax.Array]) -> tuple[Any, Any]:
            keys = jax.random.split(jax.random.PRNGKey(seed), _DRAWS)
            return jax.vmap(one, in_axes=(0, None))(keys, arrays)

        return jax.jit(draw)

    def _density(self, function: density.Function) -> Any:
        def one(latent: Any, arrays: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            total, trace = log_density(_seeded(function), (), arrays, latent)
            return self._entries(trace), total

        return jax.jit(jax.vmap(one, in_axes=(0, None), axis_size=_DRAWS))

    def _products(self, function: density.Function) -> Any:
        def one(latent: Any, arrays: dict[str, jax.Array]) -> jax.Array:
            def by_row(own: Any) -> jax.Array:
                return self._entries(
                    log_density(_seeded(function), (), arrays, {**latent, **own})[1]
                )

            found = jax.jacfwd(by_row)({name: latent[name] for name in self.plated})
            flat = [part.reshape(part.shape[0], -1) for part in found.values()]
            matrix = jnp.concatenate(flat, axis=1)
            return matrix @ matrix.T

        return jax.jit(jax.vmap(one, in_axes=(0, None), axis_size=_DRAWS))

    def _entries(self, trace: Mapping[str, Any]) -> Float[Array, " entry"]:
        site = trace[self.observed]
        # Entries that `to_event` adds up are as independent as without it.
        found = density.scaled(site, sites.by_entry(site["fn"]).log_prob(site["value"]))
        return jnp.atleast_1d(found.sum(axis=tuple(range(1, found.ndim))))


def _seeded(function: density.Function) -> density.Function:
    return handlers.seed(function, jax.random.key(0))


def _place(site: Site, column: str | None, label: str | None) -> int | None:
    """Which dimension of a site has an entry for each level of a column; None where none has."""
    if column in (plates := dict(site.plates)):
        return plates[column]
    return site.dims.index(label) if label in site.dims and column in site.indexed_by else None


def _taken(latent: Latent, places: Mapping[str, int | None], index: Any) -> Latent:
    return {
        name: values
        if index is None or (place := places.get(name)) is None
        else np.take(values, index, axis=1 + place)
        for name, values in latent.items()
    }


# ---- what follows from it


def _conclude(probe: _Probe, asked: Sequence[_Answer], rng: np.random.Generator) -> Coupling:
    orders = [_shuffled(one.sample, rng) for one in asked]
    pairs = list(zip(asked, orders, strict=True))
    if any(_minds_order(probe, one, order) for one, order in pairs):
        if probe.plated and all(_is_rotated(probe, one, order) for one, order in pairs):
            return Coupling("joint")
        return _continued(probe, asked)
    if asked[0].n_entries != asked[0].n_rows:
        return Coupling("joint")
    if probe.can_part:
        parts = [(one, _half_of_units(one.sample, rng)) for one in asked for _ in range(_SAMPLES)]
        if any(_changed(probe, one, chosen, chosen).any() for one, chosen in parts):
            return Coupling("statistic", arguments=_arguments(probe, asked))
    return Coupling("joint" if len(probe.plated) < len(probe.of_rows) else "independent")


def _continued(probe: _Probe, asked: Sequence[_Answer]) -> Coupling:
    """Look at rows that are ordered: do later ones change earlier ones, or earlier ones those that follow them?"""
    if not probe.can_part:
        return Coupling("ordered", blocks=False)
    blocks = not probe.of_rows  # a latent series begins anew in each block
    for one in asked:
        half, n_all = one.sample.half, one.n_entries
        n_entries = half - (one.n_rows - n_all)  # the first ones may have none
        first, last = np.arange(n_entries), np.arange(n_all - n_entries, n_all)
        changed = _changed(probe, one, np.arange(half), first) if n_entries > 0 else None
        if changed is None:
            return Coupling("ordered", blocks=False)
        if changed.mean(axis=1).max() > _MANY:
            return Coupling("statistic", arguments=_arguments(probe, asked))
        blocks &= not _changed(probe, one, np.arange(half, one.n_rows), last).any()
    return Coupling("ordered", blocks)


def _differs(one: np.ndarray, other: np.ndarray, tolerance: float, size: Any) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        allowed = tolerance * np.maximum(1.0, np.nan_to_num(np.abs(size), posinf=0.0))
        near = (np.abs(one - other) <= allowed) | (one == other)
    return ~(near | (np.isnan(one) & np.isnan(other)))


def _minds_order(probe: _Probe, asked: _Answer, order: Numbers) -> bool:
    by_row, total = probe.evaluate(
        _reordered(asked, order), _taken(asked.latent, probe.by_row, order)
    )
    size = np.abs(np.nan_to_num(asked.by_row, neginf=0.0)).sum(axis=1)
    if _differs(total, asked.total, _OF_ALL, size).any():
        return True
    if asked.n_entries != asked.n_rows:
        return False
    return bool(_differs(by_row, asked.by_row[:, order], _OF_ROW, asked.by_row[:, order]).any())


def _reordered(asked: _Answer, order: Numbers) -> Rows:
    arrays = {name: values[order] for name, values in asked.arranged.arrays.items()}
    return asked.arranged._replace(arrays=arrays)


def _is_rotated(probe: _Probe, asked: _Answer, order: Numbers) -> bool:
    """Whether another order only rotates standard normal sites of the rows: a process that knows no order."""
    if len(probe.plated) < len(probe.of_rows) or asked.n_entries != asked.n_rows:
        return False
    rows = _reordered(asked, order)
    by_row = probe.evaluate(rows, asked.zero)[0]
    before = asked.by_row_at_zero[:, order]
    products = probe.products(asked.arranged, asked.zero)[:, order][:, :, order]
    size = np.abs(products).max(axis=(1, 2), keepdims=True)
    apart = np.abs(probe.products(rows, asked.zero) - products) > _OF_ROW * size
    return bool((size > 0).all() and not apart.any()) and not bool(
        _differs(by_row, before, _OF_ROW, before).any()
    )


def _changed(probe: _Probe, asked: _Answer, chosen: Numbers, entries: Numbers) -> Any:
    """Which log likelihoods `(draw, entry)` change when only some rows are there; None where they are not of rows."""
    latent = probe.part_of(asked.zero, asked.sample, chosen)
    by_row = probe.evaluate(probe.arrange(asked.sample.rows[chosen]), latent)[0]
    before = asked.by_row_at_zero[:, entries]
    return _differs(by_row, before, _OF_ROW, before) if by_row.shape == before.shape else None


def _arguments(probe: _Probe, asked: Sequence[_Answer]) -> tuple[str, ...]:
    """Model arguments whose values in other rows change a row: there all of them become the least, or the greatest."""
    found = [
        name
        for name, argument in probe.model.arguments.items()
        if probe.unit not in argument.columns and any(_is_taken(probe, one, name) for one in asked)
    ]
    return tuple(found)


def _is_taken(probe: _Probe, asked: _Answer, name: str) -> bool:
    values, half = asked.arranged.arrays[name], asked.sample.half
    kept = np.arange(half - (asked.n_rows - asked.n_entries))
    number = values.reshape(len(values), -1)[:, 0]
    before = asked.by_row_at_zero
    for row in (number.argmin(), number.argmax()):
        mixed = values.copy()
        mixed[half:] = values[row]
        rows = asked.arranged._replace(arrays={**asked.arranged.arrays, name: mixed})
        by_row = probe.evaluate(rows, asked.zero)[0]
        if _differs(by_row, before, _OF_ROW, before)[:, kept].any():
            return True
    return False
