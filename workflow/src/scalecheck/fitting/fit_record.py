"""A sampled batch as what is stored of each fit: an ArviZ DataTree and a record."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scalecheck import ENGINE_VERSION, diagnostics, sampler
from scalecheck.files.posterior_file import ATTRIBUTES, Group
from scalecheck.files.record import (
    FitRecord,
    RecordedGradients,
    RecordedIntegrals,
    RecordedWindow,
    early_end,
)
from scalecheck.fitting import model_scale, site_moments
from scalecheck.fitting.kept_sites import kept_sites, own_values
from scalecheck.fitting.sample_batch import Fitted
from scalecheck.model.batches import Batch
from scalecheck.model.reparam import Reparameterisation
from scalecheck.model.sites import ROWS, Site
from scalecheck.runtime.versions import versions
from scalecheck.sampler.early_stop import beyond, how_it_ended
from scalecheck.study.settings import SamplerSettings

# A metric of more dimensions is recorded by its quantiles: two million numbers per window are no record.
_LONGEST_METRIC = 64


def datasets(fitted: Fitted, number: int, keep: Sequence[str] | None) -> dict[str, Group]:
    """Give the groups of one fit: posterior, unconstrained_posterior, sample_stats, warmup_sample_stats.

    The unconstrained group holds the compared sites as the vector `z` with dims `(chain, draw,
    parameter)`: the scale on which posteriors are compared. Where sites are not kept, posterior_moments
    holds what is left of them, with dims `(statistic, ...)`.
    """
    batch, draws = fitted.batch, fitted.draws
    n_warmup = draws.windows[-1].stop
    moments = (
        {"posterior_moments": site_moments.moments_group(fitted, number, n_warmup)}
        if draws.reduced
        else {}
    )
    return {
        "posterior": _posterior(fitted, number, kept_sites(batch, keep)),
        "unconstrained_posterior": _dataset(
            {"z": (("chain", "draw", "parameter"), packed(fitted, number))},
            {"parameter": list(batch.vector.names)},
            _n_draws(draws, number),
        ),
        "sample_stats": _statistics(fitted, number, slice(n_warmup, None)),
        "warmup_sample_stats": _statistics(fitted, number, slice(None, n_warmup)),
        **moments,
    }


def _n_draws(draws: sampler.Draws, number: int) -> tuple[int, int]:
    """Chains of a fit, and draws of each."""
    n_chains, n_iterations = draws.iterations[number].n_steps.shape
    return n_chains, n_iterations - draws.windows[-1].stop


def packed(fitted: Fitted, number: int) -> np.ndarray:
    """Give the compared parameters of one fit, unconstrained, `(chain, draw, d)`."""
    z = fitted.draws.z[number]
    if not z:
        return np.zeros((*_n_draws(fitted.draws, number), 0))
    return np.asarray(fitted.batch.vector.pack(z, 2))


def _posterior(fitted: Fitted, number: int, kept: Sequence[Site]) -> Group:
    batch, draws = fitted.batch, fitted.draws
    shape = _n_draws(draws, number)
    names = tuple(site.name for site in kept)
    constrained = model_scale.map_draws(
        batch,
        Reparameterisation(batch.function),
        number,
        draws.z[number],
        names,
        shape,
        constrains=True,
    )
    variables: dict[str, Any] = {}
    coords: dict[str, Sequence[str | int]] = {}
    for site in kept:
        values, labels = own_values(batch, number, site, constrained[site.name], 2)
        coords |= labels
        variables[site.name] = (("chain", "draw", *site.dims), values)
    return _dataset(variables, coords, shape)


def _statistics(fitted: Fitted, number: int, part: slice) -> Group:
    seen = {
        name: values[:, part]
        for name, values in fitted.draws.iterations[number]._asdict().items()
        if values is not None
    }
    seen["tree_depth"] = np.ceil(np.log2(seen["n_steps"] + 1)).astype("int64")
    seen["lp"] = -seen.pop("potential_energy")
    variables = {name: (("chain", "draw"), values) for name, values in seen.items()}
    return _dataset(variables, {}, seen["n_steps"].shape)


def _dataset(
    variables: Mapping[str, Any], coords: Mapping[str, Any], shape: tuple[int, int]
) -> Group:
    counted = {"chain": range(shape[0]), "draw": range(shape[1])}
    return Group(variables, {**counted, **coords}, ATTRIBUTES | {"sample_dims": ["chain", "draw"]})


def record(
    fitted: Fitted,
    number: int,
    settings: SamplerSettings,
    sections: Mapping[str, Any],
    device: Mapping[str, Any],
    importing: tuple[float, float],
) -> FitRecord:
    """Give the record of one fit: what was run, on what, and what it took.

    Seconds of warmup and sampling are the batch's, shared out by leapfrogs; those of import and
    compilation are shared evenly.

    Parameters
    ----------
    sections
        The settings that the fit depends on, as given to the program.
    device
        From `device.check_device`.
    importing
        Wall and processor seconds until everything was imported, this fit's share.
    """
    batch, draws = fitted.batch, fitted.draws
    task = batch.tasks[number]
    warmup = settings.warmup
    own = draws.iterations[number]
    discarded = [one for one in draws.discarded if one.fit == number]
    share = {
        "warmup": _share([one.n_steps[:, :warmup] for one in draws.iterations], number),
        "sampling": _share([one.n_steps[:, warmup:] for one in draws.iterations], number),
        "compile": 1 / len(batch.tasks),
    }
    saturated = own.n_steps[:, warmup:] >= 2**settings.max_tree_depth - 1
    names = list(batch.vector.names)
    stopped = draws.stopped_of(number)
    ended = how_it_ended(stopped, own.n_steps, warmup, settings.draws, settings.max_gradients)
    has_draws = ended["status"] == "done"
    integrals = _integrals(fitted, number) if has_draws else None
    is_known = integrals is None or not integrals.reason
    return FitRecord(
        **task.columns,
        status=ended["status"],
        reason=ended["reason"],
        capped=early_end(ended["capped"]),
        stalled=early_end(ended["stalled"]),
        settings=sections,
        engine_version=ENGINE_VERSION,
        versions=versions(),
        **device,
        dtype=settings.precision,
        batch=[other.fit for other in batch.tasks],
        warmup=warmup,
        padded_rows=len(next(iter(batch.arrays.values()))[number]),
        seconds=_seconds(draws.seconds, share, importing[0]),
        cpu_seconds=_seconds(draws.cpu_seconds, share, importing[1]),
        compiled=fitted.compiled.share(len(batch.tasks)),
        draws=max(0, own.n_steps.shape[1] - warmup),
        usable=has_draws and is_known and (not names or diagnostics.usable(packed(fitted, number))),
        seconds_per_gradient=float(fitted.seconds_per_gradient[number]),
        gradients=RecordedGradients(
            warmup=own.n_steps[:, :warmup].sum(axis=1).tolist(),
            sampling=own.n_steps[:, warmup:].sum(axis=1).tolist(),
            discarded=[one.leapfrogs for one in discarded],
            cut=beyond(stopped, own.n_steps),
        ),
        discarded=[one._asdict() for one in discarded],
        step_size=own.step_size[:, -1:].ravel().tolist(),
        moments=site_moments.convergence(fitted, number, warmup) if has_draws else None,
        integrals=integrals,
        divergences=own.diverging[:, warmup:].sum(axis=1).tolist(),
        depth_saturated=float(saturated.mean()) if saturated.size else None,
        windows=[
            RecordedWindow(
                window.stop,
                window.step_size[number].tolist(),
                window.acceptance_rate[number].tolist(),
                _metric(window.inverse_mass_matrix[number]),
            )
            for window in draws.windows
            if window.stop <= own.n_steps.shape[1]
        ],
        parameters=names,
        unit_parameters=_has_unit_parameters(batch),
    )


def _integrals(fitted: Fitted, number: int) -> RecordedIntegrals | None:
    audit = fitted.draws.audits[number] if fitted.draws.audits else None
    if audit is None:
        return None
    names = [one.name for one in dataclasses.fields(RecordedIntegrals)]
    return RecordedIntegrals(**{name: getattr(audit, name) for name in names})


def _has_unit_parameters(batch: Batch) -> bool:
    """Whether parameters grow with the rows: those of units, or of rows."""
    growing = {ROWS, batch.unit}
    return any(site.kind == "latent" and growing & set(site.indexed_by) for site in batch.sites)


def _share(n_steps: Sequence[np.ndarray], number: int) -> float:
    whole = sum(part.sum() for part in n_steps)
    return float(n_steps[number].sum() / whole) if whole else 1 / len(n_steps)


def _seconds(
    elapsed: sampler.Elapsed, share: Mapping[str, float], importing: float
) -> dict[str, float]:
    spent = {name: seconds * share[name] for name, seconds in elapsed._asdict().items()}
    return {"import": importing, **spent}


def _metric(diagonal: np.ndarray) -> list[list[float]]:
    if diagonal.shape[1] > _LONGEST_METRIC:
        diagonal = np.quantile(diagonal, [0, 0.25, 0.5, 0.75, 1], axis=1).T
    return diagonal.tolist()
