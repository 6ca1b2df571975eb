"""What would make a fit fail or lie, found before it starts: names the site, the column and the row."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro

from scalecheck.data import store
from scalecheck.errors import StudyError, did_you_mean
from scalecheck.evaluation.study_data import likelihood_of
from scalecheck.examine.understanding import understand
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.files.true_values import check_truth
from scalecheck.fitting import resource_model
from scalecheck.fitting.starts import pathfinder, user_function
from scalecheck.model import binding, density, determinism, reparam, roles, sites
from scalecheck.model.batches import stored_columns
from scalecheck.model.coupling import Coupling
from scalecheck.model.find_coupling import find_coupling
from scalecheck.model.rows import Rows, make_rows
from scalecheck.pipeline import check_rows, check_scales
from scalecheck.runtime import time_limit
from scalecheck.runtime.program import Log
from scalecheck.study.settings import ModelSettings, SamplerSettings, Study

_PRIOR_ROWS = 500


def write_model(folder: StudyFolder, study: Study, log: Log) -> None:
    """Check the model of a study, and write model.json: its sites, and what a fit of it takes.

    Parameters
    ----------
    study
        `data`, `model`, `sampler`, `subsets`, `increments` and `seed`.
    """
    model, sampler = study.model, study.sampler
    bound = load_model(folder, study.data.outcome, model, sampler)
    found = check_study(folder, bound, model, sampler, study.seed, study.data.truth)
    found["demand"] = resource_model.demand_of_study(folder, bound, model.compare, sampler)
    coupling = Coupling(found["rows"], found["blocks"])
    likelihood = likelihood_of(folder, bound, model.compare, coupling)
    stored = check_rows.StoredRows(folder, bound, store.read_meta(folder.data))
    values = stored.read_first(bound.columns_with(stored.meta.unit))
    with jax.enable_x64(True), time_limit.limited(Path(model.file)):
        understood = understand(likelihood, study, stored.meta.rarest, values)
    found["understood"] = [one._asdict() for one in understood]
    formats.write_json(folder.model, found)
    for one in understood:
        log(f"{one.topic}: {one.sentence}")


def load_model(
    folder: StudyFolder, outcome: str, settings: ModelSettings, sampler: SamplerSettings
) -> binding.Model:
    """Load a model and bind it to the columns of its study, once for all that is asked of it.

    Raises
    ------
    StudyError
        When it cannot be loaded or bound, or turns on another precision than the sampler's.
    """
    before = jax.config.read("jax_enable_x64")
    meta = store.read_meta(folder.data)
    bound = binding.bind(binding.load_model(settings), settings, outcome, meta.labels, meta.common)
    if jax.config.read("jax_enable_x64") and not before and sampler.precision == "float32":
        raise StudyError(
            f"{settings.file}: turns on float64 (enable_x64), but sampler.precision is float32: say float64 there"
        )
    return bound


def check_study(
    folder: StudyFolder,
    bound: binding.Model,
    settings: ModelSettings,
    sampler: SamplerSettings,
    seed: int,
    truth: str | None = None,
) -> dict[str, Any]:
    """Check a model against all rows of its data.

    Every row: is the outcome in the support of the observed site, is its log likelihood finite, and does
    float32 give it as float64 does? Asked at several draws from the prior, and answered with no only where
    it is no at every one of them.

    Parameters
    ----------
    bound
        From `load_model`.
    truth
        `data.truth`, whose parameters must be compared ones.

    Returns
    -------
    dict
        The sites of the model and what is compared, for the record.

    Raises
    ------
    StudyError
        One line that names the file, the site or column, and the row.
    """
    stored = check_rows.StoredRows(folder, bound, store.read_meta(folder.data))
    if sampler.precision == "float32":
        check_rows.check_columns(stored)
    first = stored.first()
    found = sites.describe_sites(bound, first)
    observed = sites.observed_site(bound, found)
    compared = roles.compared_sites(bound, found, stored.meta.unit, settings.compare)
    if isinstance(sampler.metric, list):
        names = [site.name for site in found if site.kind == "latent"]
        sites.check_metric(sampler.metric, names, settings.file)
    _check_kept(sampler, settings.file, found)
    _check_start(sampler.start, bound, first)
    _check_names(settings.file, found)
    if not compared and any(site.kind == "latent" for site in found):
        raise StudyError(
            f"{settings.file}: no latent site can be compared across fits: all are indexed by rows, by data.unit, or by"
            " levels of which a fit may lack some (model.compare can name those)"
        )
    if truth is not None:
        labels = stored.meta.labels
        check_truth(truth, [n for s in compared for n in density.element_names(s, s.shape, labels)])
    function = sites.function_of_arrays(bound, first.counts)
    with time_limit.limited(Path(settings.file)):
        determinism.check_deterministic(settings.file, function, first.arrays)
        reparam.check_reparam(settings.file, function, first.arrays, sampler.reparam)
        by_row = density.has_row_likelihood(function, observed.name, first.arrays)
        if by_row:
            _check_broadcast(bound, function, observed, first)
        coupling = _coupling(stored, found, compared, observed, seed)
        if by_row:
            _check_prediction(bound, function, observed, first)
    with time_limit.limited(Path(settings.file)):
        check_rows.check_latent_masks(stored, function, found)
    with time_limit.limited(Path(settings.file)):
        mean, covariance = _prior(stored, found, compared, seed)
    if np.isnan(mean).any():
        raise StudyError(
            f"{settings.file}: draws from the prior are not finite: give every site a proper prior"
        )
    if by_row:
        check_rows.check_rows(stored, function, found, observed, sampler.precision, seed)
        with time_limit.limited(Path(settings.file)):
            prior = mean, covariance
            check_scales.check_scales(stored, function, observed, compared, prior, sampler, seed)
    return {
        "sites": [site._asdict() for site in found],
        "compared": [site.name for site in compared],
        "prior": {"mean": mean.tolist(), "covariance": covariance.tolist()},
        "columns": list(bound.columns),
        "covariates": list(bound.covariates),
        "by_row": by_row,
        "rows": coupling.kind,
        "blocks": coupling.blocks,
    }


def _check_names(file: str, found: Sequence[sites.Site]) -> None:
    for site in found:
        if "/" in site.name or site.name in ("chain", "draw"):
            raise StudyError(
                f"{file}: the site {site.name} cannot be stored under this name: rename it"
                " (numpyro.handlers.scope takes a divider)"
            )
        for column in {"chain", "draw", "statistic"} & set(site.dims):
            raise StudyError(
                f"{file}: the levels of the column {column} index the site {site.name}, but posterior.nc has a"
                f" dimension {column} of its own: rename the column"
            )


def _check_kept(sampler: SamplerSettings, file: str, found: Sequence[sites.Site]) -> None:
    known = [site.name for site in found if site.kind in ("latent", "deterministic")]
    for name in sampler.keep or ():
        if name not in known:
            raise StudyError(
                f"sampler.keep names {name}, which is no site of {file}{did_you_mean(name, known)}"
            )


def _check_start(start: str, bound: binding.Model, rows: Rows) -> None:
    if start == "pathfinder":
        pathfinder.require_blackjax()
    elif start.startswith(user_function.PREFIX):
        user_function.check_start_function(bound, start, rows)


def _check_broadcast(
    bound: binding.Model, function: Callable[..., Any], observed: sites.Site, rows: Rows
) -> None:
    """An outcome `(rows,)` beside means `(rows, 1)` is broadcast to every pair of them, without any error."""

    def shape_of(arrays: dict[str, Any]) -> Any:
        site = sites.traced(function, arrays, jax.random.key(0))[observed.name]
        n_batch = jnp.ndim(site["value"]) - site["fn"].event_dim
        return site["fn"].log_prob(site["value"]), jnp.zeros(jnp.shape(site["value"])[:n_batch])

    found, expected = (one.shape for one in jax.eval_shape(shape_of, dict(rows.arrays)))
    if found != expected:
        raise StudyError(
            f"{bound.file}: the site {observed.name} has a log likelihood of shape {found} for outcomes of shape"
            f" {expected}: its distribution has a dimension too many"
        )


def _check_prediction(
    bound: binding.Model, function: Callable[..., Any], observed: sites.Site, rows: Rows
) -> None:
    """The outcome arrives as None when the model is to predict: it must then draw one value per row."""

    # Arrays are arguments: where it can see values, NumPyro raises and names no row.
    def draw(arrays: dict[str, Any]) -> jax.Array:
        return sites.traced(function, arrays, jax.random.key(0))[observed.name]["value"]

    try:
        drawn = jax.eval_shape(draw, {**rows.arrays, bound.outcome: None})
    except Exception as error:
        raise StudyError(
            f"{binding.raised(bound.file, 'the model raises', error)} when {bound.outcome}"
            " is None, as it is when it predicts: n_rows and the covariates tell the number of rows"
        ) from error
    if drawn.shape[:1] != (rows.n_rows,):
        raise StudyError(
            f"{bound.file}: the site {observed.name} must have one value per row when {bound.outcome} is None, as it is"
            f" when it predicts, but it has the shape {drawn.shape}: put it into a numpyro.plate of n_rows"
        )


def _coupling(
    stored: check_rows.StoredRows,
    found: Sequence[sites.Site],
    compared: Sequence[sites.Site],
    observed: sites.Site,
    seed: int,
) -> Coupling:
    """Find how rows depend on each other; refuse a model that takes a statistic of them."""
    bound, meta = stored.bound, stored.meta
    values = stored.read_first(bound.columns_with(meta.unit))
    coupling = find_coupling(bound, values, meta.labels, meta.unit, found, compared, seed)
    if coupling.kind != "statistic":
        return coupling
    of = " and ".join(coupling.arguments)
    which = f"{of} in the other rows (as through {coupling.arguments[0]}.mean())" if of else ""
    columns = [c for name in coupling.arguments for c in bound.arguments[name].columns]
    groups = [c for c in columns if meta.labels[c] is not None and c != meta.unit]
    whole = (
        f"; or name {groups[0]} in data.unit, where each fit is to have whole levels of it"
        if groups
        else ""
    )
    raise StudyError(
        f"{bound.file}: the log likelihood of a row at the site {observed.name} depends on"
        f" {which or 'the number of rows'}, so that parameters mean another thing in every fit: take such numbers from"
        f" the whole file: as a column, or as a constant in the model{whole}"
    )


def _prior(
    stored: check_rows.StoredRows,
    found: Sequence[sites.Site],
    compared: Sequence[sites.Site],
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    # As many rows as a fit often has: a prior may be scaled by them, as Normal(0, 2.5 * y.std()) is.
    bound, meta = stored.bound, stored.meta
    values = stored.read(0, min(meta.n_rows, _PRIOR_ROWS), stored_columns(bound, meta.unit))
    few = make_rows(bound, values, meta.labels, unit=meta.unit)
    function = sites.function_of_arrays(bound, few.counts)
    # Of a row with a bad value NumPyro would say no more than that it is bad; all rows are asked for theirs.
    with numpyro.validation_enabled(False):
        vector = density.vector_of(function, compared, few.arrays, meta.labels)
    latent = [site.name for site in found if site.kind == "latent"]
    return density.prior_moments(function, latent, vector, few.arrays, seed)
