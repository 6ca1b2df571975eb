"""The sites of a bound model: which there are, what indexes them, and which are compared."""

import contextlib
import copy
import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import PRNGKeyArray
from numpyro import handlers
from numpyro.ops.provenance import eval_provenance

from scalecheck.errors import StudyError, did_you_mean
from scalecheck.model.binding import Model, line_of, raised
from scalecheck.model.rows import Rows
from scalecheck.runtime import time_limit

# Rows of the abstract data on which shapes are found; and of the real ones on which is found what depends on what.
_PROBE_ROWS = 1013
_FEW_ROWS = 4

# What indexes rows, among names of columns. It is none of theirs: the levels of a column `rows` would be counted by
# `n_rows`, which is the number of rows. A column `row` is one as others are.
ROWS = "rows"


Function = Callable[..., Any]


class Site(NamedTuple):
    """A site of a model's trace.

    Attributes
    ----------
    name
        As the model has it.
    kind
        `latent`, `deterministic`, `observed` or `factor`.
    shape
        Shape of its value on the data that were traced.
    dims
        Name of each dimension: a column (one entry per level), `row` (`rows` beside a column `row`), or
        `<site>_dim_<i>`.
    indexed_by
        Columns and `rows` that the shape follows, also where it has not one entry for each level.
    plates
        Of a latent site: those of them that have one entry for each level, independent of each other
        given what the distribution depends on, with the number of the dimension. A plate gives them,
        and so does a batch of distributions; not one distribution of vectors, not `scan`.
    parents
        Of a latent or an observed site: the latent sites that its distribution depends on.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    indexed_by: tuple[str, ...] = ()
    plates: tuple[tuple[str, int], ...] = ()
    parents: tuple[str, ...] = ()


class _Probe(NamedTuple):
    """A site on abstract data; `n_batch` leading dimensions are a batch of independent values."""

    kind: str
    shape: tuple[int, ...]
    n_batch: int = 0


class mask_rows(numpyro.primitives.Messenger):  # noqa: N801  (named as NumPyro's handlers are)
    """Leave rows out of the log likelihood of the observed site.

    `numpyro.handlers.mask` would mask the prior too, and `handlers.scale` refuses 0.
    """

    def __init__(self, row_mask: Any) -> None:
        self.row_mask = row_mask
        super().__init__(lambda: None)

    def process_message(self, msg: dict[str, Any]) -> None:
        """Mask what is observed."""
        if msg["type"] == "sample" and msg["is_observed"] and not isinstance(msg["fn"], dist.Unit):
            # By the value: without a plate the distribution itself need not know of the rows.
            n_trailing = jnp.ndim(msg["value"]) - msg["fn"].event_dim - 1
            msg["fn"] = msg["fn"].mask(self.row_mask.reshape(-1, *(1,) * n_trailing))


class give_integers(numpyro.primitives.Messenger):  # noqa: N801  (named as NumPyro's handlers are)
    """Give distributions integers where they take nothing else: columns of numbers are floats.

    The density of `Categorical` is looked up by the value, and `Binomial` draws from a table of its number of
    trials. All that takes floats is left as it is: it keeps every bit, and counts that int32 cannot hold. A
    site whose observed value was cast has what it was before as `uncast`.
    """

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def process_message(self, msg: dict[str, Any]) -> None:
        """Cast what is observed, or the number of trials where an outcome is drawn."""
        if msg["type"] != "sample" or isinstance(msg["fn"], dist.Unit):
            return
        fn, value = msg["fn"], msg["value"]
        if not fn.support.is_discrete:
            return
        if value is None:
            msg["fn"] = of_whole_trials(fn)
        elif msg["is_observed"] and _is_float(value) and not _takes(fn, value):
            msg["uncast"], msg["value"] = value, jnp.asarray(value).astype("int32")


def _is_float(value: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(value), jnp.floating)


def _takes(fn: dist.Distribution, value: Any) -> bool:
    """Whether a distribution gives a density to values of this type."""
    try:
        jax.eval_shape(fn.log_prob, value)
    except (TypeError, IndexError):  # as `jnp.take_along_axis` and an index raise of floats
        return False
    return True


def of_whole_trials(fn: dist.Distribution) -> dist.Distribution:
    """Copy a distribution with integers where it, or one that it is made of, has a number of trials as floats.

    NumPyro draws binomial numbers from integers alone.
    """
    changed: dict[str, Any] = {}
    trials = getattr(fn, "total_count", None)
    if trials is not None and _is_float(trials):
        changed["total_count"] = jnp.asarray(trials).astype("int32")
    if isinstance(base := getattr(fn, "base_dist", None), dist.Distribution):
        changed["base_dist"] = of_whole_trials(base)  # of a mask, of zero inflation
    if all(getattr(fn, name) is new for name, new in changed.items()):
        return fn
    copied = copy.copy(fn)
    vars(copied).update(changed)
    return copied


def function_of_arrays(model: Model, counts: Mapping[str, int]) -> Callable[..., Any]:
    """Give the model as a function of its arrays alone, plus `row_mask` where rows only pad.

    The same function for the same model and counts: what was compiled of it serves all fits of a process.
    """
    return _function_of_arrays(model.function, tuple(sorted(counts.items())))


@functools.lru_cache(maxsize=64)
def _function_of_arrays(
    function: Function, counts: tuple[tuple[str, int], ...]
) -> Callable[..., Any]:
    def bound(row_mask: Any = None, **arrays: Any) -> Any:
        mask = contextlib.nullcontext() if row_mask is None else mask_rows(row_mask)
        with mask, give_integers():
            return function(**arrays, **dict(counts))

    return bound


def describe_sites(model: Model, rows: Rows) -> tuple[Site, ...]:
    """Find every site of a model, and which column or row indexes each of its dimensions.

    The model is traced without computing, on abstract data; a dimension that grows when a column
    gets one level more is indexed by that column.

    Raises
    ------
    StudyError
        When the model raises, has no observed site, or a latent one that is discrete.
    """
    base = _shapes(model, rows, _PROBE_ROWS, rows.counts)
    grown = {
        column: _shapes(model, rows, _PROBE_ROWS, rows.counts | {name: rows.counts[name] + 1})
        for name, column in model.counts.items()
    }
    grown[ROWS] = _shapes(model, rows, _PROBE_ROWS + 1, rows.counts)
    if not any(probe.kind == "observed" for probe in base.values()):
        raise StudyError(
            f"{model.file}: no site is observed: give numpyro.sample(..., obs={model.outcome})"
        )
    for name, probe in base.items():
        if probe.kind == "discrete":
            refuse_obs_mask(model.file, name, base)
            raise StudyError(
                f"{model.file}: the latent site {name} is discrete, which NUTS cannot sample: sum it out"
            )
    entries = {column: rows.counts[name] for name, column in model.counts.items()}
    entries[ROWS] = _PROBE_ROWS
    row_label, parents = row_dim(model), _parents(model, rows)
    sites: list[Site] = []
    for name, (kind, shape, n_batch) in base.items():
        dims = [f"{name}_dim_{i}" for i in range(len(shape))]
        indexed_by: list[str] = []
        plates: list[tuple[str, int]] = []
        for column, other in grown.items():
            for i, (small, large) in enumerate(zip(shape, other[name].shape, strict=True)):
                if small == large:
                    continue
                indexed_by.append(column)
                if kind == "latent" and i < n_batch and small == entries[column]:
                    plates.append((column, i))
                # Labels need one entry per level (contrasts have one less), a dim of their own (correlations
                # have two), and a name that no site has.
                label = row_label if column == ROWS else column
                if small == entries[column] and label not in (*dims, *base):
                    dims[i] = label
        sizes = zip(dims, shape, strict=True)
        actual = tuple(rows.n_rows if dim == row_label else size for dim, size in sizes)
        unique = tuple(dict.fromkeys(indexed_by))
        own = parents.get(name, ()) if kind in ("latent", "observed") else ()
        sites.append(Site(name, kind, actual, tuple(dims), unique, tuple(plates), own))
    return tuple(sites)


def _parents(model: Model, rows: Rows) -> dict[str, tuple[str, ...]]:
    """By sampled site, the latent ones that its distribution depends on; nothing is computed."""
    few = {name: values[:_FEW_ROWS] for name, values in rows.arrays.items()}
    n_rows = {"n_rows": min(_FEW_ROWS, rows.n_rows)} if model.n_rows else {}
    function = function_of_arrays(model, rows.counts | n_rows)

    def sampled(given: dict[str, Any]) -> dict[str, Any]:
        trace = traced(handlers.substitute(function, data=given), few, jax.random.key(0))
        sites = {name: site for name, site in trace.items() if site["type"] == "sample"}
        return {name: site for name, site in sites.items() if not isinstance(site["fn"], dist.Unit)}

    def drawn() -> dict[str, Any]:
        sites = sampled({})
        return {name: one["value"] for name, one in sites.items() if not one["is_observed"]}

    def densities(**given: Any) -> dict[str, Any]:
        return {n: one["fn"].log_prob(one["value"]).sum() for n, one in sampled(given).items()}

    # Where a value may be out of its support is asked of all rows, and said in one line.
    with numpyro.validation_enabled(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = eval_provenance(densities, **jax.eval_shape(drawn))
        except Exception as error:
            what = "the density of the model raises"
            raise StudyError(raised(model.file, what, error)) from error
    return {name: tuple(sorted(up - {name})) for name, up in found.items()}


def refuse_obs_mask(file: str, name: str, known: Iterable[str]) -> None:
    """Refuse a latent site that `obs_mask` made: it has no density where the outcome is observed.

    Parameters
    ----------
    known
        Names of all sites: beside `Y_unobserved` `obs_mask` makes `Y_observed`.

    Raises
    ------
    StudyError
        Names the site.
    """
    outcome = name.removesuffix("_unobserved")
    if outcome != name and f"{outcome}_observed" in known:
        raise StudyError(
            f"{file}: obs_mask makes the latent site {name}, which has no density where {outcome} is observed: leave"
            " obs_mask out and mask the distribution, as in dist.Normal(mean, sd).mask(seen)"
        )


def row_dim(model: Model) -> str:
    """Name a dimension of rows: `row`, unless that is a column whose levels are counted."""
    return ROWS if "row" in model.counts.values() else "row"


def _shapes(model: Model, rows: Rows, n_rows: int, counts: Mapping[str, int]) -> dict[str, _Probe]:
    abstract = {
        name: jax.ShapeDtypeStruct(
            (n_rows, *values.shape[1:]), jax.dtypes.canonicalize_dtype(values.dtype)
        )
        for name, values in rows.arrays.items()
    }
    counts = dict(counts) | ({"n_rows": n_rows} if model.n_rows else {})
    found: dict[str, _Probe] = {}

    def record(arrays: dict[str, jax.Array]) -> None:
        with RefuseClashes(model.file):
            trace = traced(function_of_arrays(model, counts), arrays, jax.random.key(0))
        for name, site in trace.items():
            _refuse_kind(model.file, name, site)
            if site["type"] == "deterministic":
                found[name] = _Probe("deterministic", jnp.shape(site["value"]))
            elif site["type"] == "sample":
                found[name] = _Probe(kind_of(site), jnp.shape(site["value"]), _n_batch(site))

    try:
        with time_limit.limited(Path(model.file)):
            jax.eval_shape(record, abstract)
    except StudyError:
        raise
    except NotImplementedError as error:
        path = Path(model.file)
        raise StudyError(
            f"{path}{line_of(error, path)}: this distribution cannot be drawn from, as an improper one: give a proper"
            " prior"
        ) from error
    except Exception as error:
        raise StudyError(raised(model.file, "the model raises", error)) from error
    return found


class RefuseClashes(numpyro.primitives.Messenger):
    """Refuse a site of the name of a plate, which NumPyro takes for one of them silently."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.kinds: dict[str, str] = {}
        super().__init__(lambda: None)

    def process_message(self, msg: dict[str, Any]) -> None:
        """Look at what has a name.

        Raises
        ------
        StudyError
            When a plate and a site have the same.
        """
        if msg["type"] not in ("sample", "deterministic", "plate", "param"):
            return
        if self.kinds.setdefault(msg["name"], msg["type"]) != msg["type"]:
            raise StudyError(
                f"{self.file}: the name {msg['name']} is that of a plate and of a site: rename one of them"
            )


def _refuse_kind(file: str, name: str, site: Mapping[str, Any]) -> None:
    """Refuse sites that would be sampled silently as something else."""
    if site["type"] == "param":
        raise StudyError(
            f"{file}: the site {name} is a numpyro.param, which would stay at its first value: give it a prior by"
            " numpyro.sample"
        )
    if site["type"] == "plate" and site["args"][1] not in (None, site["args"][0]):
        raise StudyError(
            f"{file}: the plate {name} takes {site['args'][1]} rows at random, which NUTS cannot:"
            " leave subsample_size out"
        )


def by_entry(distribution: dist.Distribution) -> dist.Distribution:
    """Undo `to_event`: the distribution whose log density has an entry for each independent value."""
    while isinstance(distribution, dist.Independent):
        distribution = distribution.base_dist
    return distribution


def _n_batch(site: dict[str, Any]) -> int:
    """Leading dimensions that are a batch; none for a site of `scan`, which stands for one after the other."""
    if site.get("_control_flow_done", False):
        return 0
    return len(by_entry(site["fn"]).batch_shape)


def kind_of(site: dict[str, Any]) -> str:
    """Give the kind of a sample site of a trace: `latent`, `discrete`, `observed` or `factor`."""
    if isinstance(site["fn"], dist.Unit):
        return "factor"
    if site["is_observed"]:
        return "observed"
    return "discrete" if site["fn"].support.is_discrete else "latent"


def traced(
    function: Callable[..., Any], arrays: Mapping[str, Any], key: PRNGKeyArray
) -> dict[str, Any]:
    """Trace a model once with a seed: its sites by name, for arrays `(rows, ...)`."""
    return handlers.trace(handlers.seed(function, key)).get_trace(**arrays)


def observed_site(model: Model, sites: Sequence[Site]) -> Site:
    """Give the site that the outcome is observed at.

    Raises
    ------
    StudyError
        When there are several, which no check could tell apart.
    """
    observed = [site for site in sites if site.kind == "observed"]
    if len(observed) > 1:
        names = ", ".join(site.name for site in observed)
        raise StudyError(f"{model.file}: exactly one site must be observed, got {names}")
    return observed[0]


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
                f"sampler.metric names {name}, which is no latent site of {file}{did_you_mean(name, known)}"
            )
        if name in named:
            raise StudyError(f"sampler.metric must name a site once, got {name} twice")
        named.add(name)
