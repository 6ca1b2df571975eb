"""A sampled batch as what is stored of each fit: an ArviZ DataTree and a record."""

import functools
import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from scalecheck import ENGINE_VERSION, density, diagnose, sampler, store
from scalecheck.batches import Batch
from scalecheck.columns import local_codes
from scalecheck.fit import Fitted
from scalecheck.keeping import kept_sites, reduced_sites
from scalecheck.plan import PlannedFit
from scalecheck.posterior_file import Group
from scalecheck.sites import Site
from scalecheck.study import SamplerSettings

NDArray = np.ndarray

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
    reduced = reduced_sites(batch, keep)
    moments = {"posterior_moments": _moments(fitted, number, reduced)} if reduced else {}
    return {
        "posterior": _posterior(fitted, number, kept_sites(batch, keep)),
        "unconstrained_posterior": _dataset(
            {"z": (("chain", "draw", "parameter"), _packed(fitted, number))},
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


def _packed(fitted: Fitted, number: int) -> NDArray:
    z = fitted.draws.z[number]
    if not z:
        return np.zeros((*_n_draws(fitted.draws, number), 0))
    return np.asarray(fitted.batch.vector.pack(z, 2))


def _posterior(fitted: Fitted, number: int, kept: Sequence[Site]) -> Group:
    batch, draws = fitted.batch, fitted.draws
    n_chains, n_draws = _n_draws(draws, number)
    arrays = {name: values[number] for name, values in batch.arrays.items()}
    constrain = _constrainer(batch.function, tuple(site.name for site in kept), n_draws)
    # One chain at a time bounds the memory that the deterministic sites take on the way.
    # Sites that are not held have no part in those that are kept: any value does.
    missing = {
        name: np.zeros(site.shape, site.dtype)
        for name, site in density.unconstrained(batch.function, arrays).items()
        if name not in draws.z[number]
    }
    by_chain = [
        ({name: z[chain] for name, z in draws.z[number].items()}, missing)
        for chain in range(n_chains)
    ]
    chains = [jax.tree.map(np.asarray, constrain(*part, arrays)) for part in by_chain]
    variables: dict[str, Any] = {}
    coords: dict[str, Sequence[str | int]] = {}
    for site in kept:
        values = np.stack([chain[site.name] for chain in chains])
        values, labels = _own(batch, number, site, values, 2)
        coords |= labels
        variables[site.name] = (("chain", "draw", *site.dims), values)
    return _dataset(variables, coords, (n_chains, n_draws))


def _own(
    batch: Batch, number: int, site: Site, values: NDArray, n_leading: int
) -> tuple[NDArray, dict[str, Sequence[str | int]]]:
    """Leave out what pads the batch of the values of a site; give the labels of its dims, too."""
    coords: dict[str, Sequence[str | int]] = {}
    for axis, dim in enumerate(site.dims):
        labels = _labels(batch, number, dim)
        if labels:
            coords[dim] = labels
            values = values.take(range(len(labels)), axis=axis + n_leading)
    return values, coords


# Of all chains together; low and high are ends of the equal-tailed interval of probability 0.89.
STATISTICS = ("mean", "sd", "low", "median", "high", "rhat")


def _moments(fitted: Fitted, number: int, reduced: Sequence[Site]) -> Group:
    variables: dict[str, Any] = {}
    coords: dict[str, Sequence[str | int]] = {"statistic": STATISTICS}
    for site in reduced:
        values, labels = _own(fitted.batch, number, site, _statistics_of(fitted, number, site), 1)
        coords |= labels
        variables[site.name] = (("statistic", *site.dims), values)
    return Group(variables, coords, _ATTRIBUTES)


def _statistics_of(fitted: Fitted, number: int, site: Site) -> NDArray:
    """`(statistic, ...)` of a site of which only moments are there."""
    found = (fitted.draws.reduced or [])[number]
    mean, variance = found.mean[site.name], found.variance[site.name]
    n = _n_draws(fitted.draws, number)[1]
    sd = np.sqrt(variance.mean(axis=0) + mean.var(axis=0))
    low, median, high = found.quantiles[site.name]
    rhat = diagnose.rhat_of_moments(mean, variance, n)
    return np.stack([mean.mean(axis=0), sd, low, median, high, rhat]).astype(mean.dtype)


@functools.lru_cache(maxsize=8)
def _constrainer(
    function: Callable[..., Any], names: tuple[str, ...], n_draws: int
) -> Callable[..., Any]:
    """Compile draws of one chain `(draw, ...)` to their supports, with deterministic sites."""

    def constrain(
        z: dict[str, jax.Array], missing: dict[str, jax.Array], arrays: dict[str, jax.Array]
    ) -> dict[str, jax.Array]:
        values = density.constrain(function, z | missing, arrays, deterministic=True)
        return {name: values[name] for name in names}

    # Given their number, because a model without parameters has no sites to count them by.
    return jax.jit(jax.vmap(constrain, (0, None, None), axis_size=n_draws))


def _labels(batch: Batch, number: int, dim: str) -> Sequence[str | int]:
    """Labels along a dimension, empty where it has none; of the fit's own units and rows, not of what pads the batch.

    Rows are labelled by their number in the file.
    """
    if dim == "row":
        return batch.values[number][store.FILE_ROW].tolist()
    labels = batch.labels.get(dim)
    if labels is None:
        return []
    if dim == batch.unit:
        own = local_codes(batch.values[number][dim])[1]
        return [str(labels[code]) for code in own]
    return [str(label) for label in labels]


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
    return Group(variables, {**counted, **coords}, _ATTRIBUTES | {"sample_dims": ["chain", "draw"]})


_ATTRIBUTES = {
    "creation_library": "scalecheck",
    "inference_library": "numpyro",
    "inference_library_version": importlib.metadata.version("numpyro"),
}


def record(
    fitted: Fitted,
    number: int,
    settings: SamplerSettings,
    sections: Mapping[str, Any],
    device: Mapping[str, Any],
    importing: tuple[float, float],
) -> dict[str, Any]:
    """Give the record of one fit: what was run, on what, and what it took.

    Seconds of warmup and sampling are the batch's, shared out by leapfrogs; those of import and
    compilation are shared evenly.

    Parameters
    ----------
    sections
        The settings that the fit depends on, as given to the program.
    device
        From `device.confirm`.
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
    return {
        "fit": task.fit,
        "kind": task.kind,
        "axis": task.axis,
        "level": task.level,
        "rows": task.rows,
        "new_rows": task.new_rows,
        "status": "done",
        "reason": "",
        "settings": sections,
        "engine_version": ENGINE_VERSION,
        "versions": versions(),
        **device,
        "dtype": settings.precision,
        "batch": [other.fit for other in batch.tasks],
        "warmup": warmup,
        "padded_rows": len(next(iter(batch.arrays.values()))[number]),
        "seconds": _seconds(draws.seconds, share, importing[0]),
        "cpu_seconds": _seconds(draws.cpu_seconds, share, importing[1]),
        "draws": _n_draws(draws, number)[1],
        "usable": not names or diagnose.usable(_packed(fitted, number)),
        "seconds_per_gradient": float(fitted.seconds_per_gradient[number]),
        "gradients": {
            "warmup": own.n_steps[:, :warmup].sum(axis=1).tolist(),
            "sampling": own.n_steps[:, warmup:].sum(axis=1).tolist(),
            "discarded": [one.leapfrogs for one in discarded],
        },
        "discarded": [one._asdict() for one in discarded],
        "step_size": own.step_size[:, -1].tolist(),
        "moments": _worst_moments(fitted, number, settings.keep),
        "divergences": own.diverging[:, warmup:].sum(axis=1).tolist(),
        "depth_saturated": float(saturated.mean()),
        "windows": [
            {
                "stop": window.stop,
                "step_size": window.step_size[number].tolist(),
                "acceptance_rate": window.acceptance_rate[number].tolist(),
                "inverse_mass_matrix": _metric(window.inverse_mass_matrix[number]),
            }
            for window in draws.windows
        ],
        "parameters": names,
    }


def _worst_moments(
    fitted: Fitted, number: int, keep: Sequence[str] | None
) -> dict[str, Any] | None:
    """Say how well sites that are not kept have converged; None where all are."""
    worst: dict[str, float] = {}
    n_scalars = n_above = 0
    reduced = reduced_sites(fitted.batch, keep)
    for site in reduced:
        rhat, _ = _own(fitted.batch, number, site, _statistics_of(fitted, number, site), 1)
        known = rhat[-1][~np.isnan(rhat[-1])]
        if known.size:
            worst[site.name] = float(known.max())
        n_scalars += known.size
        n_above += int((known > diagnose.HIGHEST_RHAT).sum())
    if not reduced:
        return None
    # No number of JSON is infinite: a scalar that never moved has no R-hat to show.
    highest = {name: value if np.isfinite(value) else None for name, value in worst.items()}
    return {"rhat": highest, "scalars": n_scalars, "above": n_above}


def _share(n_steps: Sequence[NDArray], number: int) -> float:
    whole = sum(part.sum() for part in n_steps)
    return float(n_steps[number].sum() / whole) if whole else 1 / len(n_steps)


def _seconds(
    elapsed: sampler.Elapsed, share: Mapping[str, float], importing: float
) -> dict[str, float]:
    spent = {name: seconds * share[name] for name, seconds in elapsed._asdict().items()}
    return {"import": importing, **spent}


def _metric(diagonal: NDArray) -> list[list[float]]:
    if diagonal.shape[1] > _LONGEST_METRIC:
        diagonal = np.quantile(diagonal, [0, 0.25, 0.5, 0.75, 1], axis=1).T
    return diagonal.tolist()


def skipped_record(task: PlannedFit, sections: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Give the record of an increment that was not fitted."""
    return {
        **{name: value for name, value in task._asdict().items() if name != "slices"},
        "status": "skipped",
        "reason": reason,
        "settings": sections,
        "engine_version": ENGINE_VERSION,
        "versions": versions(),
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what computes."""
    packages = ("scalecheck", "jax", "jaxlib", "numpyro", "numpy", "xarray")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }
